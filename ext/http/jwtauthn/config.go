// SPDX-License-Identifier: Apache-2.0

package jwtauthn

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.jwt_authn"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:   Name,
		Config: &jwtauthnv3.JwtAuthentication{},
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			m, ok := cfg.(*jwtauthnv3.JwtAuthentication)
			if !ok {
				return nil, fmt.Errorf("%s: configuration is a %s, not a JwtAuthentication", Name, cfg.ProtoReflect().Descriptor().FullName())
			}
			return newFilter(m, c)
		},
		Route: &jwtauthnv3.PerRouteConfig{},
		NewRoute: func(cfg proto.Message, _ *extension.Services) (any, error) {
			m, ok := cfg.(*jwtauthnv3.PerRouteConfig)
			if !ok {
				return nil, fmt.Errorf("%s: configuration is a %s, not a PerRouteConfig", Name, cfg.ProtoReflect().Descriptor().FullName())
			}
			if err := m.ValidateAll(); err != nil {
				return nil, err
			}
			return &PerRoute{disabled: m.GetDisabled(), requirement: m.GetRequirementName()}, nil
		},
	}
}

func newFilter(m *jwtauthnv3.JwtAuthentication, c *extension.HTTP) (*Filter, error) {
	if err := supported.Apply(m, "", c.Warn("JWT authentication filter")); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	scope := c.Scope.Scope("jwt_authn")
	if p := m.GetStatPrefix(); p != "" {
		scope = scope.Scope(stats.Sanitize(p))
	}
	f := &Filter{
		name: c.Name, bypass: m.GetBypassCorsPreflight(), strip: m.GetStripFailureResponse(),
		byName: map[string]requirement{}, byState: map[string]requirement{},
		stats: stats.Register[Stats](scope, len(c.Loops)),
	}
	c.Own(f.stats.Close)
	b := &builder{c: c, f: f, providers: map[string]*provider{}, fetches: stats.Register[FetchStats](scope, 1)}
	c.Own(b.fetches.Close)
	if err := b.build(m); err != nil {
		return nil, err
	}
	for _, r := range b.remotes {
		if !c.Checking {
			r.start()
			c.Own(r.close)
		}
	}
	return f, nil
}

// builder compiles one filter.
type builder struct {
	c         *extension.HTTP
	f         *Filter
	providers map[string]*provider
	names     []string // in order
	remotes   []*remote
	fetches   *stats.Sharded[FetchStats]
}

func (b *builder) build(m *jwtauthnv3.JwtAuthentication) error {
	b.names = slices.Sorted(maps.Keys(m.GetProviders()))
	for _, name := range b.names {
		p, err := b.provider(name, m.GetProviders()[name])
		if err != nil {
			return fmt.Errorf("providers[%q].%w", name, err)
		}
		b.providers[name] = p
		b.f.sanitized = append(b.f.sanitized, p.writes()...)
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetRequirementMap())) {
		r, err := b.requirement(m.GetRequirementMap()[name], nil, true, 0)
		if err != nil {
			return fmt.Errorf("requirement_map[%q].%w", name, err)
		}
		b.f.byName[name] = r
	}
	b.f.names = strings.Join(slices.Sorted(maps.Keys(b.f.byName)), ",")
	if err := b.rules(m.GetRules()); err != nil {
		return err
	}
	s := m.GetFilterStateRules()
	b.f.stateName = s.GetName()
	if s != nil && s.GetName() == "" {
		return errors.New("filter_state_rules.name: is empty: say which filter state chooses")
	}
	for _, key := range slices.Sorted(maps.Keys(s.GetRequires())) {
		r, err := b.requirement(s.GetRequires()[key], nil, true, 0)
		if err != nil {
			return fmt.Errorf("filter_state_rules.requires[%q].%w", key, err)
		}
		b.f.byState[key] = r
	}
	return nil
}

// rules compiles the rules into a table of routes, whose names are the rules' numbers.
func (b *builder) rules(list []*jwtauthnv3.RequirementRule) error {
	if len(list) == 0 {
		return nil
	}
	host := &routev3.VirtualHost{Name: "rules", Domains: []string{"*"}}
	for i, r := range list {
		var req requirement
		switch t := r.GetRequirementType().(type) {
		case *jwtauthnv3.RequirementRule_Requires:
			var err error
			if req, err = b.requirement(t.Requires, nil, true, 0); err != nil {
				return fmt.Errorf("rules[%d].requires.%w", i, err)
			}
		case *jwtauthnv3.RequirementRule_RequirementName:
			var ok bool
			if req, ok = b.f.byName[t.RequirementName]; !ok {
				return fmt.Errorf("rules[%d].requirement_name: %q is not in requirement_map: add it there", i, t.RequirementName)
			}
		}
		b.f.rules = append(b.f.rules, req)
		host.Routes = append(host.Routes, &routev3.Route{
			Name: strconv.Itoa(i), Match: r.GetMatch(),
			Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
		})
	}
	t, problems := route.Compile(&routev3.RouteConfiguration{Name: Name, VirtualHosts: []*routev3.VirtualHost{host}}, route.Context{Runtime: b.c.Runtime})
	for _, p := range problems {
		path := strings.Replace(strings.TrimPrefix(p.Path, "virtual_hosts[0]."), "routes[", "rules[", 1)
		if !p.Warning {
			return fmt.Errorf("%s: %s", path, p.Reason)
		}
		b.c.Warn("JWT authentication filter")(path, p.Reason)
	}
	b.f.table = t
	return nil
}

// maxDepth bounds how deep requirements nest.
const maxDepth = 32

// requirement compiles a requirement. What lets requests without a token through looks
// for those of the providers that stand beside it, or of all if it stands alone.
func (b *builder) requirement(m *jwtauthnv3.JwtRequirement, beside []string, alone bool, depth int) (requirement, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("requirements are nested deeper than %d", maxDepth)
	}
	if alone {
		beside = b.names
	}
	switch r := m.GetRequiresType().(type) {
	case nil:
		return nil, nil
	case *jwtauthnv3.JwtRequirement_ProviderName:
		return b.required("provider_name", r.ProviderName, nil)
	case *jwtauthnv3.JwtRequirement_ProviderAndAudiences:
		return b.required("provider_and_audiences.provider_name", r.ProviderAndAudiences.GetProviderName(), r.ProviderAndAudiences.GetAudiences())
	case *jwtauthnv3.JwtRequirement_RequiresAny:
		return b.any(r.RequiresAny.GetRequirements(), depth)
	case *jwtauthnv3.JwtRequirement_RequiresAll:
		var out all
		for i, x := range r.RequiresAll.GetRequirements() {
			c, err := b.requirement(x, nil, false, depth+1)
			if err != nil {
				return nil, fmt.Errorf("requires_all.requirements[%d].%w", i, err)
			}
			if c != nil {
				out = append(out, c)
			}
		}
		return out, nil
	case *jwtauthnv3.JwtRequirement_AllowMissing:
		return &optional{group: b.group(beside)}, nil
	case *jwtauthnv3.JwtRequirement_AllowMissingOrFailed:
		return &optional{group: b.group(beside), failed: true}, nil
	case *jwtauthnv3.JwtRequirement_ExtractOnlyWithoutValidation:
		return b.extract(r.ExtractOnlyWithoutValidation, beside)
	}
	return nil, errors.New("requires_type: is of an unknown kind")
}

func (b *builder) required(path, name string, audiences []string) (requirement, error) {
	p := b.providers[name]
	if p == nil {
		return nil, fmt.Errorf("%s: there is no provider %q: add it to providers", path, name)
	}
	return &required{p: p, audiences: audiences}, nil
}

// any compiles requires_any. Of what lets others through, the last counts, and that for
// failed tokens more than that for missing ones.
func (b *builder) any(list []*jwtauthnv3.JwtRequirement, depth int) (requirement, error) {
	var out either
	var used []string
	var bypass *jwtauthnv3.JwtRequirement
	for i, x := range list {
		switch r := x.GetRequiresType().(type) {
		case *jwtauthnv3.JwtRequirement_ProviderName:
			used = append(used, r.ProviderName)
		case *jwtauthnv3.JwtRequirement_ProviderAndAudiences:
			used = append(used, r.ProviderAndAudiences.GetProviderName())
		case *jwtauthnv3.JwtRequirement_AllowMissing, *jwtauthnv3.JwtRequirement_AllowMissingOrFailed:
			if bypass == nil || bypass.GetAllowMissing() != nil {
				bypass = x
			}
			continue
		case nil:
			return nil, nil // Anything does.
		}
		c, err := b.requirement(x, nil, false, depth+1)
		if err != nil {
			return nil, fmt.Errorf("requires_any.requirements[%d].%w", i, err)
		}
		if c == nil {
			return nil, nil
		}
		out = append(out, c)
	}
	if bypass != nil {
		c, err := b.requirement(bypass, used, false, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// unverifiedName is the header that marks tokens which were not verified.
const unverifiedName = "x-jwt-signature-verified"

func (b *builder) extract(m *jwtauthnv3.ExtractOnlyWithoutValidation, beside []string) (requirement, error) {
	e := &extractOnly{group: b.group(beside)}
	name := m.GetVerificationStatusHeader()
	if name == "" {
		name = unverifiedName
	}
	if name != "-" {
		e.mark = header.NewName(strings.ToLower(name))
		b.f.sanitized = append(b.f.sanitized, e.mark)
	}
	b.c.Log("jwt").Warn("claims of tokens are taken that nobody has verified: anybody can write them (extract_only_without_validation)")
	return e, nil
}
