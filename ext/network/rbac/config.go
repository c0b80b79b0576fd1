// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	_ "embed"
	"fmt"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/rbac"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds/ledger"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.rbac"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{Name: Name, Config: &networkrbacv3.RBAC{}, New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.Network) (conn.Filter, error) {
	m := cfg.(*networkrbacv3.RBAC)
	if err := supported.Apply(m, "", c.Warn("RBAC filter", "listener", c.Listener)); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	f := &Filter{
		delay: m.GetDelayDeny().AsDuration(), continuous: m.GetEnforcementType() == networkrbacv3.RBAC_CONTINUOUS,
		shadowPrefix: m.GetShadowRulesStatPrefix(),
	}
	var err error
	if f.enforced, err = rules(c, "matcher", m.GetMatcher(), "rules", m.GetRules()); err != nil {
		return nil, err
	}
	if f.shadow, err = rules(c, "shadow_matcher", m.GetShadowMatcher(), "shadow_rules", m.GetShadowRules()); err != nil {
		return nil, err
	}
	scope := c.Stats.Scope(stats.Sanitize(m.GetStatPrefix())).Scope("rbac")
	f.stats = stats.Register[Stats](scope, len(c.Loops))
	c.Own(f.stats.Close)
	if p := f.shadowPrefix; p != "" {
		scope = scope.Scope(stats.Sanitize(p))
	}
	f.shadowStats = stats.Register[ShadowStats](scope, len(c.Loops))
	c.Own(f.shadowStats.Close)
	return f, nil
}

// rules compiles a matcher, or the rules if there is none; nil if neither.
func rules(c *extension.Network, treePath string, tree *xdsmatcherv3.Matcher, listPath string, list *rbacv3.RBAC) (*rbac.Engine, error) {
	var e *rbac.Engine
	var err error
	switch {
	case tree != nil:
		if e, err = rbac.CompileTree(tree, c.Runtime); err != nil {
			return nil, fmt.Errorf("%s: %w", treePath, err)
		}
	case list != nil:
		if e, err = rbac.Compile(list); err != nil {
			return nil, fmt.Errorf("%s.%w", listPath, err)
		}
	}
	return e, nil
}
