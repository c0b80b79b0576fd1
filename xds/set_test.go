// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// A Set behaves as a map does, whatever is done to it, and the sets made before stay
// as they were.
func TestSetIsAMapThatKeepsItsPast(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type past struct {
		s    *Snapshot
		want map[string]*clusterv3.Cluster
	}
	want := map[string]*clusterv3.Cluster{}
	s := (&Builder{}).Build("")
	all := []past{{s, map[string]*clusterv3.Cluster{}}}
	for range 300 {
		b := s.Edit()
		for range r.IntN(8) {
			name := fmt.Sprint("c", r.IntN(100))
			if r.IntN(3) == 0 {
				b.Clusters().Delete(name)
				delete(want, name)
				continue
			}
			c := &clusterv3.Cluster{Name: name, AltStatName: fmt.Sprint(r.IntN(2))}
			b.Clusters().Put(name, c, Origin{Object: c.AltStatName})
			want[name] = c
		}
		s = b.Build("")
		all = append(all, past{s, maps.Clone(want)})
	}
	for i, p := range all {
		got := p.s.Clusters()
		if names := slices.Sorted(maps.Keys(p.want)); !slices.Equal(got.Names(), names) || got.Len() != len(names) {
			t.Fatalf("set %d has %v, want %v", i, got.Names(), names)
		}
		for name, c := range p.want {
			if m, ok := got.Get(name); !ok || m != c || got.Origin(name).Object != c.AltStatName {
				t.Fatalf("set %d has %v for %s", i, m, name)
			}
		}
		q := all[r.IntN(len(all))]
		after := maps.Clone(q.want)
		for _, c := range Changes(q.s, p.s) {
			if c.Kind != KindCluster {
				t.Fatalf("change of a %s", c.Kind)
			}
			if c.Message == nil {
				delete(after, c.Name)
			} else {
				after[c.Name] = c.Message.(*clusterv3.Cluster)
			}
		}
		same := func(a, b *clusterv3.Cluster) bool { return a.AltStatName == b.AltStatName }
		if !maps.EqualFunc(after, p.want, same) {
			t.Fatalf("changes from one set do not lead to set %d", i)
		}
	}
}

// What a change costs does not grow with what does not change.
func TestChangesLookOnlyAtWhatChanged(t *testing.T) {
	b := &Builder{}
	for i := range 10_000 {
		name := fmt.Sprint("c", i)
		b.Clusters().Put(name, &clusterv3.Cluster{Name: name}, Origin{})
	}
	old := b.Build("1")
	e := old.Edit()
	e.Clusters().Put("c5000", &clusterv3.Cluster{Name: "c5000", AltStatName: "x"}, Origin{})
	e.Clusters().Put("c1", &clusterv3.Cluster{Name: "c1"}, Origin{}) // Equal, though another message.
	next := e.Build("2")
	var got []Change
	// Some dozens of nodes of the path and what the split around it copies.
	if n := testing.AllocsPerRun(10, func() { got = Changes(old, next) }); n > 100 {
		t.Errorf("%v allocations", n)
	}
	if len(got) != 1 || got[0].Name != "c5000" || got[0].Old == nil {
		t.Errorf("changes: %v", got)
	}
}
