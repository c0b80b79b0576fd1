// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/match/cel"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// maxDepth bounds how deep rules nest.
const maxDepth = 64

// Compile compiles rules. An error names the path of the field.
func Compile(m *rbacv3.RBAC) (*Engine, error) {
	if err := supported.Apply(m, "", nil); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	e := &Engine{action: Action(m.GetAction())}
	c := &compiler{}
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		p, err := c.policy(name, m.GetPolicies()[name])
		if err != nil {
			return nil, fmt.Errorf("policies[%q].%w", name, err)
		}
		e.policies = append(e.policies, p)
	}
	return e, nil
}

// CompileTree compiles a matcher whose actions are envoy.config.rbac.v3.Action.
// What it does not match is denied.
func CompileTree(m *xdsmatcherv3.Matcher, rt match.Runtime) (*Engine, error) {
	c := &compiler{}
	tree, err := match.CompileTree(m, match.TreeContext[verdict]{
		Runtime: rt,
		Input: func(e *xdscorev3.TypedExtensionConfig) (match.Input, error) {
			if err := c.setUp(); err != nil {
				return nil, err
			}
			return c.cel.Input(e)
		},
		Matcher: func(e *xdscorev3.TypedExtensionConfig) (match.Matcher, error) {
			if err := c.setUp(); err != nil {
				return nil, err
			}
			return c.cel.Matcher(e)
		},
		Action: func(a match.ActionConfig) (verdict, error) {
			var x rbacv3.Action
			if err := a.Any().UnmarshalTo(&x); err != nil {
				return verdict{}, fmt.Errorf("%s is not an action of RBAC: use envoy.config.rbac.v3.Action", a.Any().MessageName())
			}
			return verdict{name: x.GetName(), action: Action(x.GetAction())}, nil
		},
	})
	if err != nil {
		return nil, err
	}
	return &Engine{tree: tree}, nil
}

// compiler compiles one set of rules. CEL is set up when the first condition, or
// predicate, asks for it.
type compiler struct{ cel *cel.Compiler }

func (c *compiler) setUp() error {
	if c.cel != nil {
		return nil
	}
	var err error
	if c.cel, err = cel.NewCompiler(); err != nil {
		return fmt.Errorf("set up CEL: %w", err)
	}
	return nil
}

func (c *compiler) policy(name string, m *rbacv3.Policy) (policy, error) {
	p := policy{name: name}
	for i, x := range m.GetPermissions() {
		r, err := c.permission(x, 0)
		if err != nil {
			return p, fmt.Errorf("permissions[%d].%w", i, err)
		}
		p.permissions = append(p.permissions, r)
	}
	for i, x := range m.GetPrincipals() {
		r, err := c.principal(x, 0)
		if err != nil {
			return p, fmt.Errorf("principals[%d].%w", i, err)
		}
		p.principals = append(p.principals, r)
	}
	expr := m.GetCondition()
	if m.GetCheckedCondition() != nil {
		if expr != nil {
			return p, errors.New("checked_condition: cannot be given beside condition: remove one")
		}
		// Checked anew: the types it was checked against need not be these.
		expr = m.GetCheckedCondition().GetExpr()
	}
	if expr == nil {
		return p, nil
	}
	err := c.setUp()
	if err == nil {
		p.condition, err = c.cel.CompileExpr(expr)
	}
	if err != nil {
		return p, fmt.Errorf("condition: %w", err)
	}
	return p, nil
}

var errDepth = fmt.Errorf("rules are nested deeper than %d", maxDepth)

func (c *compiler) permission(m *rbacv3.Permission, depth int) (rule, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch r := m.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		l, err := each(r.AndRules.GetRules(), depth+1, c.permission)
		return and(l), in("and_rules.rules", err)
	case *rbacv3.Permission_OrRules:
		l, err := each(r.OrRules.GetRules(), depth+1, c.permission)
		return or(l), in("or_rules.rules", err)
	case *rbacv3.Permission_NotRule:
		x, err := c.permission(r.NotRule, depth+1)
		return not{x}, in("not_rule.", err)
	case *rbacv3.Permission_Any:
		return anything{}, nil
	case *rbacv3.Permission_Header:
		x, err := match.CompileHeader(r.Header)
		return headerIs{x}, in("header: ", err)
	case *rbacv3.Permission_UrlPath:
		x, err := match.CompilePath(r.UrlPath)
		return pathIs{x}, in("url_path: ", err)
	case *rbacv3.Permission_DestinationIp:
		return addressRule(localEnd, "destination_ip: ", r.DestinationIp)
	case *rbacv3.Permission_DestinationPort:
		return portIs{int64(r.DestinationPort), int64(r.DestinationPort) + 1}, nil
	case *rbacv3.Permission_DestinationPortRange:
		return portIs{int64(r.DestinationPortRange.GetStart()), int64(r.DestinationPortRange.GetEnd())}, nil
	case *rbacv3.Permission_Metadata:
		return metadata(r.Metadata, false)
	case *rbacv3.Permission_SourcedMetadata:
		return sourced(r.SourcedMetadata)
	case *rbacv3.Permission_RequestedServerName:
		x, err := match.CompileString(r.RequestedServerName)
		return nameIs{x}, in("requested_server_name: ", err)
	}
	return nil, errors.New("rule: one of the rules is required")
}

func (c *compiler) principal(m *rbacv3.Principal, depth int) (rule, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch r := m.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		l, err := each(r.AndIds.GetIds(), depth+1, c.principal)
		return and(l), in("and_ids.ids", err)
	case *rbacv3.Principal_OrIds:
		l, err := each(r.OrIds.GetIds(), depth+1, c.principal)
		return or(l), in("or_ids.ids", err)
	case *rbacv3.Principal_NotId:
		x, err := c.principal(r.NotId, depth+1)
		return not{x}, in("not_id.", err)
	case *rbacv3.Principal_Any:
		return anything{}, nil
	case *rbacv3.Principal_Authenticated_:
		n := r.Authenticated.GetPrincipalName()
		if n == nil {
			return peerIs{}, nil
		}
		x, err := match.CompileString(n)
		return peerIs{x}, in("authenticated.principal_name: ", err)
	case *rbacv3.Principal_SourceIp: //nolint:staticcheck // Still found in people's files.
		return addressRule(sourceEnd, "source_ip: ", r.SourceIp)
	case *rbacv3.Principal_DirectRemoteIp:
		return addressRule(directEnd, "direct_remote_ip: ", r.DirectRemoteIp)
	case *rbacv3.Principal_RemoteIp:
		return addressRule(remoteEnd, "remote_ip: ", r.RemoteIp)
	case *rbacv3.Principal_Header:
		x, err := match.CompileHeader(r.Header)
		return headerIs{x}, in("header: ", err)
	case *rbacv3.Principal_UrlPath:
		x, err := match.CompilePath(r.UrlPath)
		return pathIs{x}, in("url_path: ", err)
	case *rbacv3.Principal_Metadata:
		return metadata(r.Metadata, false)
	case *rbacv3.Principal_SourcedMetadata:
		return sourced(r.SourcedMetadata)
	case *rbacv3.Principal_FilterState:
		x, err := match.CompileFilterState(r.FilterState)
		return stateIs{x}, in("filter_state: ", err)
	}
	return nil, errors.New("identifier: one of the identifiers is required")
}

func each[M interface {
	*rbacv3.Permission | *rbacv3.Principal
}](list []M, depth int, compile func(M, int) (rule, error)) ([]rule, error) {
	var out []rule
	for i, m := range list {
		r, err := compile(m, depth)
		if err != nil {
			return nil, fmt.Errorf("[%d].%w", i, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// in puts the path of a field before an error.
func in(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s%w", path, err)
}

func addressRule(e end, path string, m *corev3.CidrRange) (rule, error) {
	var p netip.Prefix
	p, err := match.CompilePrefix(m)
	return addressIs{e, p}, in(path, err)
}

func metadata(m *matcherv3.MetadataMatcher, route bool) (rule, error) {
	x, err := match.CompileMetadata(m)
	return metadataIs{x, route}, in("metadata: ", err)
}

func sourced(m *rbacv3.SourcedMetadata) (rule, error) {
	r, err := metadata(m.GetMetadataMatcher(), m.GetMetadataSource() == rbacv3.MetadataSource_ROUTE)
	return r, in("sourced_metadata.", err)
}
