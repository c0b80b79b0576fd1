// SPDX-License-Identifier: Apache-2.0

package previoushosts

import (
	"testing"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
)

func TestPredicate(t *testing.T) {
	h := balancertest.Hosts(1, 1, 1)
	for _, c := range []struct {
		attempted []*upstream.Host
		refused   bool
	}{{nil, false}, {h[1:2], false}, {h[:1], true}, {h, true}} {
		if got := predicate(h[0], c.attempted); got != c.refused {
			t.Errorf("after %d tries: refused is %v", len(c.attempted), got)
		}
	}
	// What discovery says anew of a host makes it no other.
	again := *h[0]
	if !predicate(&again, h[:1]) {
		t.Error("a host that was updated passes for another")
	}
}
