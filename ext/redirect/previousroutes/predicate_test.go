// SPDX-License-Identifier: Apache-2.0

package previousroutes

import (
	"testing"

	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
)

func TestPredicate(t *testing.T) {
	st := streaminfo.FilterState{}
	for i, c := range []struct {
		from, to string
		want     bool
	}{{"a", "b", true}, {"b", "a", true}, {"a", "b", false}, {"a", "c", true}, {"a", "a", true}, {"a", "a", false}} {
		if got := predicate(&route.RedirectTarget{From: c.from, To: c.to, State: st}); got != c.want {
			t.Errorf("%d: %s to %s: followed is %v", i, c.from, c.to, got)
		}
	}
	if got := st[key+"a"].Text; got != "b,c,a" {
		t.Errorf("the filter state says %q", got)
	}
}
