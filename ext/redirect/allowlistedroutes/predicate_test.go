// SPDX-License-Identifier: Apache-2.0

package allowlistedroutes

import (
	"testing"

	allowlistedroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/allow_listed_routes/v3"

	"weir.dev/weir/proxy/route"
)

func TestPredicate(t *testing.T) {
	p, err := New(&allowlistedroutesv3.AllowListedRoutesConfig{AllowedRouteNames: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a": true, "b": true, "c": false, "": false} {
		if got := p(&route.RedirectTarget{To: name}); got != want {
			t.Errorf("route %q: followed is %v", name, got)
		}
	}
	if _, err := New(&allowlistedroutesv3.AllowListedRoutesConfig{AllowedRouteNames: []string{""}}); err == nil {
		t.Error("an empty name passes")
	}
}
