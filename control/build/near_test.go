// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"strings"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// meant makes an endpoint of "NAME ZONE,ZONE NODE,NODE": its zones and nodes are those that it is meant for, and
// it is in the first of the zones; "-" is none.
func meant(text string) Endpoint {
	words := strings.Fields(text)
	list := func(s string) []string {
		if s == "-" {
			return nil
		}
		return strings.Split(s, ",")
	}
	e := Endpoint{Address: Address(words[0], 80, false), ForZones: list(words[1]), ForNodes: list(words[2])}
	if len(e.ForZones) > 0 {
		e.Zone = e.ForZones[0]
	}
	return e
}

// shown is the addresses by priority.
func shown(m *endpointv3.ClusterLoadAssignment) string {
	var out []string
	for _, l := range m.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			out = append(out, fmt.Sprintf("%d:%s", l.GetPriority(), e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()))
		}
	}
	return strings.Join(out, " ")
}

func TestNear(t *testing.T) {
	for _, tt := range []struct {
		name      string
		endpoints []string
		zone      string
		node      string
		want      string
	}{
		{"nothing is known", []string{"e1 a -", "e2 b -"}, "", "", "0:e1 0:e2"},
		{"no hints", []string{"e1 - -", "e2 - -"}, "a", "n", "0:e1 0:e2"},
		{"the own zone first", []string{"e1 a -", "e2 b -", "e3 a -"}, "a", "n", "0:e1 0:e3 1:e2"},
		{"not the zone that it is in but those that it is for", []string{"e1 a,b -", "e2 b -"}, "b", "", "0:e1 0:e2"},
		{"all of one zone", []string{"e1 a -", "e2 a -"}, "a", "", "0:e1 0:e2"},
		{"none in the zone", []string{"e1 a -", "e2 b -"}, "c", "", "0:e1 0:e2"},
		{"one without hints", []string{"e1 a -", "e2 - -"}, "a", "", "0:e1 0:e2"},
		{"the node, then the zone", []string{"e1 a n1", "e2 a n2", "e3 b n3"}, "a", "n2", "0:e2 1:e1 2:e3"},
		{"none on the node", []string{"e1 a n1", "e2 b n2"}, "b", "n9", "0:e2 1:e1"},
		{"one that is for no node", []string{"e1 a n1", "e2 a -", "e3 b n3"}, "b", "n1", "0:e3 1:e1 1:e2"},
		{"a node without a zone", []string{"e1 a n1", "e2 b n2"}, "", "n2", "0:e2 1:e1"},
		{"nodes only", []string{"e1 - n1", "e2 - n2"}, "a", "n2", "0:e2 1:e1"},
		{"no endpoints", nil, "a", "n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all []Endpoint
			for _, e := range tt.endpoints {
				all = append(all, meant(e))
			}
			m := Endpoints("x", all)
			before := m.String()
			if got := shown(Near(m, Place{Zone: tt.zone, Node: tt.node})); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if m.String() != before {
				t.Errorf("it changed what it was given to %v", m)
			}
		})
	}
}

// Of backends that share a cluster by weights each keeps its weight, and has its nearest endpoints.
func TestNearOfShares(t *testing.T) {
	part := func(of ...string) *endpointv3.ClusterLoadAssignment {
		var all []Endpoint
		for _, e := range of {
			all = append(all, meant(e))
		}
		return Endpoints(of[0], all)
	}
	m := Weighted("x", []*endpointv3.ClusterLoadAssignment{part("e1 a -", "e2 b -"), part("e3 b -"), part("e4 a -", "e5 - -")}, []uint32{9, 5, 1})
	got := Near(m, Place{Zone: "a"})
	if want := "0:e1 0:e3 0:e4 0:e5"; shown(got) != want {
		t.Errorf("got %q, want %q", shown(got), want)
	}
	for i, w := range []uint32{9, 5, 1} {
		if of := got.GetEndpoints()[i].GetLoadBalancingWeight(); of.GetValue() != w {
			t.Errorf("locality %d weighs %v, want %v", i, of, wrapperspb.UInt32(w))
		}
	}
}
