// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"math"
	"testing"

	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
)

// zoned makes hosts of zones: n of each, with the locality's weight. Numbers begin at from.
func zoned(from int, weights map[string]uint32, zones ...string) []*upstream.Host {
	var out []*upstream.Host
	for i, z := range zones {
		e := balancertest.Host(from+i, 1).Endpoint
		e.Locality, e.LocalityWeight = streaminfo.Locality{Zone: z}, weights[z]
		out = append(out, upstream.NewHost(e, nil, 1))
	}
	return out
}

func byZone(b upstream.Balancer, n int) map[string]int {
	out := map[string]int{}
	for h, k := range balancertest.Count(b, n) {
		if h != nil {
			out[h.Locality.Zone] += k
		}
	}
	return out
}

func checkShares(t *testing.T, got map[string]int, want map[string]float64) {
	t.Helper()
	total := 0
	for _, n := range got {
		total += n
	}
	for z, w := range want {
		if s := float64(got[z]) / float64(total); math.Abs(s-w) > 0.015 {
			t.Errorf("zone %s took %.3f, want %.3f: %v", z, s, w, got)
		}
	}
}

func TestLocalityWeights(t *testing.T) {
	weights := map[string]uint32{"a": 1, "b": 2, "none": 0}
	for _, tt := range []struct {
		name string
		down []int
		want map[string]float64
	}{
		{"all healthy", nil, map[string]float64{"a": 1.0 / 3, "b": 2.0 / 3, "none": 0}},
		// Three of four are 105 percent with overprovisioning.
		{"one fails", []int{4}, map[string]float64{"a": 1.0 / 3, "b": 2.0 / 3}},
		// Two of four are 70 percent: b weighs 1.4.
		{"two fail", []int{4, 5}, map[string]float64{"a": 1 / 2.4, "b": 1.4 / 2.4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hosts := zoned(0, weights, "a", "a", "a", "a", "b", "b", "b", "b", "none")
			for _, i := range tt.down {
				hosts[i].SetFlags(upstream.FailedActiveHC, 0)
			}
			b := balancertest.Balancer(upstream.Layered(turns{}, upstream.LayerOptions{ByLocality: true}), 1, hosts...)
			checkShares(t, byZone(b, 20_000), tt.want)
		})
	}
	t.Run("no weights", func(t *testing.T) {
		b := balancertest.Balancer(upstream.Layered(turns{}, upstream.LayerOptions{ByLocality: true}), 1, zoned(0, nil, "a", "b", "b", "b")...)
		checkShares(t, byZone(b, 8000), map[string]float64{"a": 0.25, "b": 0.75})
	})
}

func TestZoneAwareRouting(t *testing.T) {
	home := streaminfo.Locality{Zone: "a"}
	on := upstream.ZoneOptions{Enabled: 100, MinClusterSize: 6}
	for _, tt := range []struct {
		name         string
		zones        upstream.ZoneOptions
		hosts, peers []string
		want         map[string]float64
		stat         func(*upstream.Stats) uint64
	}{
		{"as many as peers", on, []string{"a", "a", "a", "b", "b", "b"}, []string{"a", "b"}, map[string]float64{"a": 1},
			func(s *upstream.Stats) uint64 { return s.LBZoneRoutingAllDirectly.Value() }},
		// Half of the peers share a third of the hosts: two thirds stay.
		{"fewer than peers", on, []string{"a", "a", "b", "b", "c", "c"}, []string{"a", "a", "b", "c"}, map[string]float64{"a": 0.667, "b": 0.167, "c": 0.167},
			func(s *upstream.Stats) uint64 { return s.LBZoneRoutingCrossZone.Value() }},
		{"too small", on, []string{"a", "a", "b", "b"}, []string{"a", "b"}, map[string]float64{"a": 0.5, "b": 0.5},
			func(s *upstream.Stats) uint64 { return s.LBZoneClusterTooSmall.Value() }},
		{"no peer here", on, []string{"a", "a", "a", "b", "b", "b"}, []string{"b", "c"}, map[string]float64{"a": 0.5, "b": 0.5},
			func(s *upstream.Stats) uint64 { return s.LBLocalClusterNotOK.Value() }},
		{"half of the time", upstream.ZoneOptions{Enabled: 50}, []string{"a", "b"}, []string{"a", "b"}, map[string]float64{"a": 0.75, "b": 0.25},
			func(s *upstream.Stats) uint64 { return s.LBZoneRoutingAllDirectly.Value() }},
		{"forced", upstream.ZoneOptions{Enabled: 100, ForceLocal: 1}, []string{"a", "b", "b", "b"}, []string{"a"}, map[string]float64{"a": 1},
			func(s *upstream.Stats) uint64 { return s.LBZoneRoutingAllDirectly.Value() }},
		{"not forced with so few", upstream.ZoneOptions{Enabled: 100, ForceLocal: 2}, []string{"a", "b", "b", "b"}, []string{"a", "b"}, map[string]float64{"a": 0.5, "b": 0.5},
			func(s *upstream.Stats) uint64 { return s.LBZoneRoutingSampled.Value() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			peers := upstream.NewPrioritySet(zoned(1000, nil, tt.peers...), upstream.SetOptions{Local: home})
			set := upstream.NewPrioritySet(zoned(0, nil, tt.hosts...), upstream.SetOptions{PanicThreshold: 50, Local: home, Peers: peers.Levels[0]})
			env := balancertest.Env(1)
			b := upstream.Layered(turns{}, upstream.LayerOptions{Zones: tt.zones}).Build(set).Balancer(env)
			checkShares(t, byZone(b, 20_000), tt.want)
			if tt.stat(env.Stats) == 0 || env.Stats.LBRecalculateZones.Value() != 1 {
				t.Error("the statistics do not tell")
			}
		})
	}
	t.Run("peers in panic", func(t *testing.T) {
		list := zoned(1000, nil, "a", "b", "b")
		for _, h := range list[1:] {
			h.SetFlags(upstream.FailedActiveHC, 0)
		}
		peers := upstream.NewPrioritySet(list, upstream.SetOptions{Local: home})
		set := upstream.NewPrioritySet(zoned(0, nil, "a", "b"), upstream.SetOptions{PanicThreshold: 50, Local: home, Peers: peers.Levels[0]})
		p := upstream.Layered(turns{}, upstream.LayerOptions{Zones: upstream.ZoneOptions{Enabled: 100}})
		checkShares(t, byZone(p.Build(set).Balancer(balancertest.Env(1)), 4000), map[string]float64{"a": 0.5, "b": 0.5})
	})
}
