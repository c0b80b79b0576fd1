// SPDX-License-Identifier: Apache-2.0

package previouspriorities

import (
	"testing"

	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/balancertest"
)

// levels is a set of one priority for each number of hosts, of which those that are
// listed as sick are not healthy.
func levels(counts []int, sick ...int) *upstream.PrioritySet {
	var hosts []*upstream.Host
	for p, n := range counts {
		for range n {
			h := balancertest.Host(len(hosts), 1)
			h.Priority = p
			hosts = append(hosts, h)
		}
	}
	for _, i := range sick {
		hosts[i].SetFlags(upstream.FailedActiveHC, 0)
	}
	return upstream.NewPrioritySet(hosts, upstream.SetOptions{PanicThreshold: 50})
}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name  string
		every int
		set   *upstream.PrioritySet
		tried []int // hosts
		want  []uint32
	}{
		{"first try", 1, levels([]int{1, 1, 1}), nil, []uint32{100, 0, 0}},
		{"one tried", 1, levels([]int{1, 1, 1}), []int{0}, []uint32{0, 100, 0}},
		{"two tried", 1, levels([]int{1, 1, 1}), []int{0, 1}, []uint32{0, 0, 100}},
		{"all tried", 1, levels([]int{1, 1, 1}), []int{0, 1, 2}, []uint32{100, 0, 0}},
		{"around", 1, levels([]int{1, 1, 1}), []int{0, 1, 2, 0}, []uint32{0, 100, 0}},
		{"not yet", 2, levels([]int{1, 1}), []int{0}, []uint32{100, 0}},
		{"now", 2, levels([]int{1, 1}), []int{0, 0}, []uint32{0, 100}},
		{"and still", 2, levels([]int{1, 1}), []int{0, 0, 1}, []uint32{0, 100}},
		{"a priority that is down", 1, levels([]int{1, 1, 1}, 1), []int{0}, []uint32{0, 0, 100}},
		{"spread over what is left", 1, levels([]int{1, 4, 2}, 1, 2, 3), []int{0}, []uint32{0, 35, 65}},
		{"nobody is up", 1, levels([]int{1, 1}, 0, 1), []int{0}, []uint32{50, 50}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := New(&previousprioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: int32(c.every)})
			if err != nil {
				t.Fatal(err)
			}
			var attempted []*upstream.Host
			for _, i := range c.tried {
				attempted = append(attempted, c.set.Hosts[i])
			}
			if d := cmp.Diff(c.want, p.Load(c.set, &c.set.Load, attempted).Healthy); d != "" {
				t.Errorf("load (-want +got):\n%s", d)
			}
		})
	}
	if _, err := New(&previousprioritiesv3.PreviousPrioritiesConfig{}); err == nil {
		t.Error("an update_frequency of 0 passes")
	}
}

// TestJoined: over an aggregate cluster priorities are those of the whole.
func TestJoined(t *testing.T) {
	a, b := levels([]int{1}), levels([]int{1, 1})
	all := upstream.JoinLevels(append(a.Levels, b.Levels...), upstream.SetOptions{})
	got := every(1).Load(all, &all.Load, []*upstream.Host{a.Hosts[0], b.Hosts[0]})
	if d := cmp.Diff([]uint32{0, 0, 100}, got.Healthy); d != "" {
		t.Errorf("load (-want +got):\n%s", d)
	}
}
