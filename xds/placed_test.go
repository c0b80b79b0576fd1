// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"math/rand/v2"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// Placed made of the one before is what it would be made anew, and makes no more of it anew than has changed.
func TestPlaced(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	made := 0
	near := func(m *endpointv3.ClusterLoadAssignment) *endpointv3.ClusterLoadAssignment {
		made++
		if len(m.GetClusterName())%2 == 0 {
			return m
		}
		return &endpointv3.ClusterLoadAssignment{ClusterName: m.GetClusterName() + " near"}
	}
	now := (&Builder{}).Build("0")
	placed := Placed(now, nil, nil, near)
	for step := range 300 {
		b, changes := now.Edit(), r.IntN(3)
		for range changes {
			name, m := fmt.Sprint("c", r.IntN(8)), &endpointv3.ClusterLoadAssignment{ClusterName: fmt.Sprint(r.IntN(200))}
			switch r.IntN(8) {
			case 0, 1:
				b.Endpoints().Delete(name)
			case 2:
				b.Clusters().Delete(name)
			case 3:
				b.Clusters().Put(name, &clusterv3.Cluster{Name: name}, Origin{Object: name})
			case 4, 5:
				b.Clusters().Put(name, &clusterv3.Cluster{Name: name, LoadAssignment: m}, Origin{Object: name})
			default:
				b.Endpoints().Put(name, m, Origin{Object: name})
			}
		}
		next := b.Build(fmt.Sprint(step))
		made = 0
		got := Placed(next, now, placed, near)
		if made > changes {
			t.Fatalf("step %d: %d were made for %d changes", step, made, changes)
		}
		if want := Placed(next, nil, nil, near); len(Changes(got, want)) > 0 || got.Version() != next.Version() {
			t.Fatalf("step %d: it differs by %v", step, Changes(got, want))
		}
		now, placed = next, got
	}
}
