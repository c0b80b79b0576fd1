// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// doing is a part of what a filter does that another of its list may do, too.
type doing string

const (
	rewritesHost doing = "rewrites the host name"
	rewritesPath doing = "rewrites the path"
	matches      doing = "has matches"
	redirects    doing = "redirects"
	answers      doing = "answers"
	mirrors      doing = "mirrors requests"
)

// clashes are what cannot be done beside a part.
func (d doing) clashes() []doing {
	switch d {
	case redirects:
		return []doing{answers, mirrors}
	case answers:
		return []doing{answers, redirects, mirrors}
	case mirrors:
		return []doing{answers, redirects}
	}
	return []doing{d}
}

// incompatible finds the filters of a list that cannot be beside earlier ones, and whether
// requests are answered 500 for them. The problems' paths are within the list's owner.
func (d *Dialect) incompatible(c *memo.Ctx, route source.Key, filters []gwapiv1.HTTPRouteFilter) (problems []graph.Problem, broken bool) {
	if len(filters) < 2 {
		return nil, false
	}
	before := map[doing]int{}
	for i, f := range filters {
		for _, does := range d.doings(c, route, f) {
			for _, other := range does.clashes() {
				j, ok := before[other]
				if !ok {
					continue
				}
				message := fmt.Sprintf("%s, and filters[%d] %s: leave one of them out", does, j, other)
				if does == other && does != answers {
					message += "; requests are answered 500"
					broken = true
				}
				problems = append(problems, graph.Problemf(fmt.Sprintf(".filters[%d]", i), string(gwapiv1.RouteReasonIncompatibleFilters), "%s", message))
				break
			}
			before[does] = i
		}
	}
	return problems, broken
}

// doings are the parts of what a filter does.
func (d *Dialect) doings(c *memo.Ctx, route source.Key, f gwapiv1.HTTPRouteFilter) []doing {
	switch {
	case f.RequestRedirect != nil:
		return []doing{redirects}
	case f.RequestMirror != nil:
		return []doing{mirrors}
	case f.URLRewrite != nil:
		return rewrites(f.URLRewrite.Hostname != nil, f.URLRewrite.Path != nil)
	case f.ExtensionRef == nil:
		return nil
	}
	effect, _ := d.extension(c, route, f.ExtensionRef, attach.Place{Route: route})
	if effect == nil {
		return nil
	}
	a, _ := effect.Forward.Message.(*routev3.RouteAction)
	out := rewrites(a.GetHostRewriteSpecifier() != nil, a.GetRegexRewrite() != nil)
	if len(effect.Cookies) > 0 {
		out = append(out, matches)
	}
	if effect.Answer != nil {
		out = append(out, answers)
	}
	return out
}

func rewrites(host, path bool) (out []doing) {
	if host {
		out = append(out, rewritesHost)
	}
	if path {
		out = append(out, rewritesPath)
	}
	return out
}
