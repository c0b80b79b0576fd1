// SPDX-License-Identifier: Apache-2.0

package envoyproxy

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
)

const filterPrefix = "envoy.filters.http."

// movable are the filters that filterOrder may speak of, without the prefix: Envoy Gateway's.
func movable() []string {
	return []string{
		"api_key_auth", "bandwidth_limit", "basic_auth", "buffer", "compressor", "cors", "credential_injector", "csrf", "custom_response",
		"dynamic_forward_proxy", "dynamic_modules", "ext_authz", "ext_proc", "fault", "geoip", "grpc_stats", "grpc_web", "header_mutation", "health_check",
		"jwt_authn", "local_ratelimit", "lua", "oauth2", "ratelimit", "rbac", "stateful_session", "wasm",
	}
}

// unknown are those of them that there are none of here.
func unknown() []string {
	return []string{filterPrefix + "dynamic_modules", filterPrefix + "geoip", filterPrefix + "lua", filterPrefix + "wasm"}
}

// moves reads another order of HTTP filters.
func (x *reader) moves(list []api.FilterPosition) {
	for i, p := range list {
		path, bad := fmt.Sprintf("filterOrder[%d]", i), len(x.Refused)
		if (p.Before == nil) == (p.After == nil) {
			x.Bad(path, "give one of before and after")
			continue
		}
		next, where := ptr.Deref(p.Before, ""), ".before"
		if p.After != nil {
			next, where = *p.After, ".after"
		}
		x.movable(path+".name", p.Name)
		x.movable(path+where, next)
		if len(x.Refused) > bad {
			continue
		}
		x.out.Moves = append(x.out.Moves, graph.Move{Filter: p.Name, Next: next, After: p.After != nil})
	}
}

func (x *reader) movable(path, name string) {
	short, ok := strings.CutPrefix(name, filterPrefix)
	switch {
	case name == build.Router:
		x.Bad(path, "%s is the last, and stays it", name)
	case !ok || !slices.Contains(movable(), short):
		x.Bad(path, "%q is not a filter: there are %s and then %s", name, filterPrefix, strings.Join(movable(), ", "))
	case slices.Contains(unknown(), name):
		x.Note(path, "has no effect: there is no %s here", name)
	}
}
