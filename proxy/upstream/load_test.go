// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"weir.dev/weir/proxy/upstream"
)

// level is one priority: healthy, degraded and failed hosts.
type level struct{ healthy, degraded, failed int }

func setOf(o upstream.SetOptions, levels ...level) *upstream.PrioritySet {
	var hosts []*upstream.Host
	for p, l := range levels {
		for i := range l.healthy + l.degraded + l.failed {
			e := at(byte(len(hosts)))
			e.Priority = p
			h := upstream.NewHost(e, nil, 1)
			switch {
			case i >= l.healthy+l.degraded:
				h.SetFlags(upstream.FailedActiveHC, 0)
			case i >= l.healthy:
				h.SetFlags(upstream.DegradedActiveHC, 0)
			}
			hosts = append(hosts, h)
		}
	}
	return upstream.NewPrioritySet(hosts, o)
}

// The tables of Envoy's documentation on priority levels, panic threshold and degraded
// endpoints.
func TestDocumentedLoad(t *testing.T) {
	tests := map[string]struct {
		panicAt           float64
		levels            []level
		healthy, degraded []uint32
		panics            []bool
	}{
		"all at P0":                      {50, []level{{100, 0, 0}, {100, 0, 0}}, []uint32{100, 0}, []uint32{0, 0}, []bool{false, false}},
		"P0 72%":                         {50, []level{{72, 0, 28}, {72, 0, 28}}, []uint32{100, 0}, []uint32{0, 0}, []bool{false, false}},
		"P0 71%":                         {50, []level{{71, 0, 29}, {71, 0, 29}}, []uint32{99, 1}, []uint32{0, 0}, []bool{false, false}},
		"P0 50%":                         {50, []level{{50, 0, 50}, {50, 0, 50}}, []uint32{70, 30}, []uint32{0, 0}, []bool{false, false}},
		"P0 25%, P1 100%":                {50, []level{{25, 0, 75}, {100, 0, 0}}, []uint32{35, 65}, []uint32{0, 0}, []bool{false, false}},
		"P0 25%, P1 25%":                 {50, []level{{25, 0, 75}, {25, 0, 75}}, []uint32{50, 50}, []uint32{0, 0}, []bool{true, true}},
		"P0 gone":                        {50, []level{{0, 0, 100}, {100, 0, 0}}, []uint32{0, 100}, []uint32{0, 0}, []bool{false, false}},
		"three levels":                   {0, []level{{25, 0, 75}, {25, 0, 75}, {25, 0, 75}}, []uint32{35, 35, 30}, []uint32{0, 0, 0}, []bool{false, false, false}},
		"scaled up":                      {0, []level{{20, 0, 80}, {20, 0, 80}, {10, 0, 90}}, []uint32{40, 40, 20}, []uint32{0, 0, 0}, []bool{false, false, false}},
		"total panic by number of hosts": {50, []level{{0, 0, 30}, {0, 0, 10}}, []uint32{75, 25}, []uint32{0, 0}, []bool{true, true}},
		"nobody, no panic":               {0, []level{{0, 0, 10}, {0, 0, 10}}, []uint32{100, 0}, []uint32{0, 0}, []bool{false, false}},
		"degraded takes the rest":        {50, []level{{50, 50, 0}, {0, 0, 0}}, []uint32{70, 0}, []uint32{30, 0}, []bool{false, false}},
		"healthy elsewhere goes first":   {50, []level{{0, 100, 0}, {100, 0, 0}}, []uint32{0, 100}, []uint32{0, 0}, []bool{false, false}},
		"degraded only":                  {50, []level{{0, 100, 0}, {0, 0, 0}}, []uint32{0, 0}, []uint32{100, 0}, []bool{false, false}},
		"empty":                          {50, nil, []uint32{100}, []uint32{0}, []bool{true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			levels := tt.levels
			// A priority without hosts exists only below one that has some.
			for len(levels) > 0 && levels[len(levels)-1] == (level{}) {
				levels = levels[:len(levels)-1]
			}
			s := setOf(upstream.SetOptions{PanicThreshold: tt.panicAt}, levels...)
			n := len(s.Levels)
			if !slices.Equal(s.Load.Healthy, tt.healthy[:n]) || !slices.Equal(s.Load.Degraded, tt.degraded[:n]) || !slices.Equal(s.Panic, tt.panics[:n]) {
				t.Errorf("load %v degraded %v panic %v, want %v %v %v", s.Load.Healthy, s.Load.Degraded, s.Panic, tt.healthy[:n], tt.degraded[:n], tt.panics[:n])
			}
		})
	}
}

func TestLoadProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		levels := make([]level, 1+r.IntN(4))
		for i := range levels {
			levels[i] = level{r.IntN(12), r.IntN(4), r.IntN(12)}
		}
		o := upstream.SetOptions{
			PanicThreshold: float64(r.IntN(4) * 25),
			AssignmentPolicy: upstream.AssignmentPolicy{
				WeightedPriorityHealth: r.IntN(2) == 0, OverprovisioningFactor: uint32(100 + r.IntN(100)),
			},
		}
		s := setOf(o, levels...)
		sum, available := uint32(0), uint32(0)
		for i := range s.Levels {
			sum += s.Load.Healthy[i] + s.Load.Degraded[i]
			available += s.HealthPercent[i] + s.DegradedPercent[i]
			l := s.Levels[i]
			if !s.Panic[i] && s.Load.Degraded[i] > 0 && len(l.Degraded) == 0 {
				t.Fatalf("%+v: load on degraded hosts that are not: %+v", levels, s.Load)
			}
			if available > 0 && !s.Panic[i] && s.Load.Healthy[i] > 0 && len(l.Healthy) == 0 {
				t.Fatalf("%+v %+v: load on healthy hosts that are not: %+v", levels, o, s.Load)
			}
			if s.Panic[i] && o.PanicThreshold == 0 {
				t.Fatalf("%+v: panic without a threshold", levels)
			}
		}
		if sum != 100 {
			t.Fatalf("%+v %+v: load adds up to %d: %+v", levels, o, sum, s.Load)
		}
		if s.HealthPercent[0] == 100 && s.Load.Healthy[0] != 100 {
			t.Fatalf("%+v: a full P0 takes %d %%", levels, s.Load.Healthy[0])
		}
	}
}

func TestExcludedHostsDoNotCount(t *testing.T) {
	var hosts []*upstream.Host
	for i := range byte(4) {
		hosts = append(hosts, upstream.NewHost(at(i), nil, 1))
	}
	for _, h := range hosts[1:] {
		h.SetFlags(upstream.PendingActiveHC|upstream.FailedActiveHC, 0)
	}
	for _, ignore := range []bool{false, true} {
		s := upstream.NewPrioritySet(hosts, upstream.SetOptions{PanicThreshold: 50, IgnoreNewHosts: ignore})
		if s.Panic[0] == ignore {
			t.Errorf("with ignore_new_hosts_until_first_hc %v panic is %v", ignore, s.Panic[0])
		}
	}
}
