// SPDX-License-Identifier: Apache-2.0

package match

import (
	"fmt"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
)

// CompileHeaderRules compiles HeaderMutationRules.
func CompileHeaderRules(m *mutationv3.HeaderMutationRules) (*HeaderRules, error) {
	r := &HeaderRules{
		routing: m.GetAllowAllRouting().GetValue(), envoy: m.GetAllowEnvoy().GetValue(),
		noSystem: m.GetDisallowSystem().GetValue(), none: m.GetDisallowAll().GetValue(), Fatal: m.GetDisallowIsError().GetValue(),
	}
	var err error
	if e := m.GetAllowExpression(); e != nil {
		if r.allow, err = CompileRegex(e); err != nil {
			return nil, fmt.Errorf("allow_expression: %w", err)
		}
	}
	if e := m.GetDisallowExpression(); e != nil {
		if r.disallow, err = CompileRegex(e); err != nil {
			return nil, fmt.Errorf("disallow_expression: %w", err)
		}
	}
	return r, nil
}
