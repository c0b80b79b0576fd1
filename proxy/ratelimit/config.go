// SPDX-License-Identifier: Apache-2.0

package ratelimit

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"weir.dev/weir/proxy/route"
)

// CompileOwn compiles the rate_limits of a filter's configuration, which have neither a
// stage nor a disable_key; none is nil. Errors begin with the field.
func CompileOwn(list []*routev3.RateLimit, ctx route.Context) ([]route.RateLimit, error) {
	for i, l := range list {
		switch {
		case l.GetStage() != nil:
			return nil, fmt.Errorf("rate_limits[%d].stage: has no meaning here: leave it out", i)
		case l.GetDisableKey() != "":
			return nil, fmt.Errorf("rate_limits[%d].disable_key: has no meaning here: leave it out", i)
		}
	}
	out, problems := route.CompileRateLimits(list, ctx)
	for _, p := range problems {
		if !p.Warning {
			return nil, fmt.Errorf("%s: %s", p.Path, p.Reason)
		}
	}
	return out, nil
}
