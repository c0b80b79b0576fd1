// SPDX-License-Identifier: Apache-2.0

package random

import (
	"testing"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
)

func TestConformance(t *testing.T) {
	balancertest.Run(t, New(Config{}), balancertest.Options{})
}

func TestSeedDecides(t *testing.T) {
	hosts := balancertest.Hosts(1, 1, 1, 1, 1, 1, 1, 1)
	a := balancertest.Balancer(New(Config{}), 1, hosts...)
	b := balancertest.Balancer(New(Config{}), 1, hosts...)
	c := &upstream.PickContext{}
	for i := range 100 {
		if a.Pick(c) != b.Pick(c) {
			t.Fatalf("pick %d differs under the same seed", i)
		}
	}
}
