// SPDX-License-Identifier: Apache-2.0

package previousroutes

import (
	"strings"

	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
)

// key and a route's name make the key of the filter state that has the routes to which
// the route has redirected.
const key = "envoy.internal_redirect.previous_routes_predicate_state."

func predicate(t *route.RedirectTarget) bool {
	at := key + t.From
	seen, _ := t.State[at].Value.(map[string]bool)
	if seen[t.To] {
		return false
	}
	if seen == nil {
		seen = map[string]bool{}
	}
	seen[t.To] = true
	text := strings.TrimPrefix(t.State[at].Text+","+t.To, ",")
	t.State[at] = streaminfo.StateObject{Value: seen, Text: text}
	return true
}
