// SPDX-License-Identifier: Apache-2.0

package safecrossscheme

import (
	"testing"

	"weir.dev/weir/proxy/route"
)

func TestPredicate(t *testing.T) {
	for _, c := range []struct{ from, to, want bool }{
		{false, false, true}, {true, true, true}, {true, false, true}, {false, true, false},
	} {
		if got := predicate(&route.RedirectTarget{FromHTTPS: c.from, ToHTTPS: c.to}); got != c.want {
			t.Errorf("https %v to %v: followed is %v", c.from, c.to, got)
		}
	}
}
