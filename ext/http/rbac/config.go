// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	_ "embed"
	"fmt"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/rbac"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.rbac"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:   Name,
		Config: &httprbacv3.RBAC{},
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			m, ok := cfg.(*httprbacv3.RBAC)
			if !ok {
				return nil, fmt.Errorf("%s: configuration is a %s, not a RBAC", Name, cfg.ProtoReflect().Descriptor().FullName())
			}
			own, err := compile(m, c.Services)
			if err != nil {
				return nil, err
			}
			scope := c.Scope.Scope("rbac")
			f := &Filter{name: c.Name, own: own, rules: prefixed(scope, m.GetRulesStatPrefix()), shadow: prefixed(scope, m.GetShadowRulesStatPrefix())}
			f.stats = stats.Register[Stats](f.rules, len(c.Loops))
			c.Own(f.stats.Close)
			f.shadowStats = stats.Register[ShadowStats](f.shadow, len(c.Loops))
			c.Own(f.shadowStats.Close)
			return f, nil
		},
		Route: &httprbacv3.RBACPerRoute{},
		NewRoute: func(cfg proto.Message, s *extension.Services) (any, error) {
			m, ok := cfg.(*httprbacv3.RBACPerRoute)
			if !ok {
				return nil, fmt.Errorf("%s: configuration is a %s, not a RBACPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
			}
			if m.GetRbac() == nil {
				return &Rules{}, nil // Everybody may.
			}
			r, err := compile(m.GetRbac(), s)
			if err != nil {
				return nil, fmt.Errorf("rbac.%w", err)
			}
			return r, nil
		},
	}
}

func prefixed(s *stats.Scope, prefix string) *stats.Scope {
	if prefix == "" {
		return s
	}
	return s.Scope(stats.Sanitize(prefix))
}

func names(prefix string) told {
	return told{prefix + "engine_result", prefix + "effective_policy_id"}
}

func compile(m *httprbacv3.RBAC, s *extension.Services) (*Rules, error) {
	if err := supported.Apply(m, "", s.Warn("RBAC filter")); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	r := &Rules{
		told: names(m.GetRulesStatPrefix() + "enforced_"), shadowTold: names(m.GetShadowRulesStatPrefix() + "shadow_"),
		each: m.GetTrackPerRuleStats(),
	}
	var err error
	if r.enforced, err = engine("matcher", m.GetMatcher(), "rules", m.GetRules(), s.Runtime); err != nil {
		return nil, err
	}
	r.shadow, err = engine("shadow_matcher", m.GetShadowMatcher(), "shadow_rules", m.GetShadowRules(), s.Runtime)
	return r, err
}

// engine compiles a matcher, or the rules if there is none; nil if neither.
func engine(treePath string, tree *xdsmatcherv3.Matcher, listPath string, list *rbacv3.RBAC, rt match.Runtime) (*rbac.Engine, error) {
	var e *rbac.Engine
	var err error
	switch {
	case tree != nil:
		if e, err = rbac.CompileTree(tree, rt); err != nil {
			return nil, fmt.Errorf("%s: %w", treePath, err)
		}
	case list != nil:
		if e, err = rbac.Compile(list); err != nil {
			return nil, fmt.Errorf("%s.%w", listPath, err)
		}
	}
	return e, nil
}
