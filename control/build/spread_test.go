// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"strings"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// placed makes an endpoint of "NAME REGION/ZONE/SUBZONE LABEL=VALUE,…".
func placed(text string) Endpoint {
	words := strings.Fields(text)
	p := PlaceOf(words[1])
	e := Endpoint{Address: Address(words[0], 80, false), Region: p.Region, Zone: p.Zone, SubZone: p.SubZone}
	if len(words) > 2 {
		e.Labels = map[string]string{}
		for pair := range strings.SplitSeq(words[2], ",") {
			k, v, _ := strings.Cut(pair, "=")
			e.Labels[k] = v
		}
	}
	return e
}

// weighed is the addresses by priority, and the weights of their localities.
func weighed(m *endpointv3.ClusterLoadAssignment) string {
	var out []string
	for _, l := range m.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			out = append(out, fmt.Sprintf("%d:%s", l.GetPriority(), e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()))
		}
		if w := l.GetLoadBalancingWeight(); w != nil {
			out[len(out)-1] += fmt.Sprintf("*%d", w.GetValue())
		}
	}
	return strings.Join(out, " ")
}

func TestSpread(t *testing.T) {
	shares := func(all ...PlaceShares) Spread { return Spread{Shares: all} }
	eu := []string{"e1 eu/a/1", "e2 eu/a/2", "e3 eu/b", "e4 us/a", "e5 ap/a"}
	for _, tt := range []struct {
		name      string
		spread    Spread
		endpoints []string
		at        string
		want      string
	}{
		{"where the proxy is is not known", Spread{Fail: true}, eu, "", "0:e1 0:e2 0:e3 0:e4 0:e5"},
		{"near first", Spread{Fail: true}, eu, "eu/a/1", "0:e1 1:e2 2:e3 3:e4 3:e5"},
		{"nothing near", Spread{Fail: true}, []string{"e4 us/a", "e5 ap/a"}, "eu/a", "0:e4 0:e5"},
		{"zones whose region nobody knows", Spread{Fail: true}, []string{"e1 a", "e2 b"}, "b", "1:e1 0:e2"},
		{"a zone is in the region of the proxy that is in it", Spread{Fail: true}, []string{"e1 a", "e2 b"}, "eu/b", "1:e1 0:e2"},
		{"the next region", Spread{Fail: true, Regions: []RegionFailover{{"eu", "ap"}}}, eu, "eu/b", "1:e1*1 1:e2*1 0:e3*1 3:e4*1 2:e5*1"},
		{"the next of another region", Spread{Fail: true, Regions: []RegionFailover{{"us", "ap"}}}, eu, "eu/b", "1:e1*1 1:e2*1 0:e3*1 2:e4*1 2:e5*1"},
		{
			"shares", shares(PlaceShares{"eu/a/*", map[string]uint32{"eu/a/*": 80, "eu/b/*": 20}}), eu, "eu/a",
			"0:e1*40000 0:e2*40000 0:e3*20000",
		},
		{
			"shares of the first that is meant", shares(PlaceShares{"us", map[string]uint32{"us": 100}}, PlaceShares{"*", map[string]uint32{"eu": 100}}), eu, "",
			"0:e1*33333 0:e2*33333 0:e3*33333",
		},
		{"shares of others", shares(PlaceShares{"us", map[string]uint32{"us": 100}}), eu, "eu/a", "0:e1*1 0:e2*1 0:e3*1 0:e4*1 0:e5*1"},
		{"a share without endpoints", shares(PlaceShares{"eu", map[string]uint32{"us": 50, "sa": 50}}), eu, "eu/a", "0:e4*50000"},
		{"shares of zones whose region nobody knows", shares(PlaceShares{"eu/a", map[string]uint32{"eu/a": 90, "eu/b/*": 10}}), []string{"e1 a", "e2 b"}, "a", "0:e1*90000 0:e2*10000"},
		{
			"labels", Spread{Labels: []string{LabelZone, "version=v1"}}, []string{"e1 eu/a version=v1", "e2 eu/a version=v2", "e3 eu/b version=v1", "e4 eu/a"}, "eu/a",
			"0:e1*1 1:e2 1:e4*2 2:e3*1",
		},
		{"labels alone", Spread{Labels: []string{"version=v1"}}, []string{"e1 eu/a version=v2", "e2 eu/a version=v1"}, "", "1:e1*1 0:e2*1"},
		{
			"labels, and then places", Spread{Labels: []string{"version=v1"}, Regions: []RegionFailover{{"eu", "us"}}},
			[]string{"e1 us/a version=v1", "e2 eu/a version=v1", "e3 eu/a version=v2"}, "eu/a", "1:e1*1 0:e2*1 2:e3*1",
		},
		{"the node", Spread{Labels: []string{LabelNode}}, []string{"e1 a kubernetes.io/hostname=n1", "e2 a kubernetes.io/hostname=n2"}, "a", "1:e1*1 0:e2*1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all []Endpoint
			for _, e := range tt.endpoints {
				all = append(all, placed(e))
			}
			m := Endpoints("x", all)
			ParseSpread(tt.spread.Text()).On(m)
			p := PlaceOf(tt.at)
			if tt.name == "the node" {
				p.Node = "n2"
			}
			before := m.String()
			got := Near(m, p)
			if s := weighed(got); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
			if m.String() != before {
				t.Errorf("it changed what it was given to %v", m)
			}
		})
	}
}

// A Spread that nobody asked for leaves what hints say.
func TestFaintSpread(t *testing.T) {
	m := Endpoints("x", []Endpoint{meant("e1 a -"), meant("e2 b -")})
	s := &Spread{Fail: true, Faint: true}
	before := m.String()
	if s.On(m); m.String() != before {
		t.Errorf("it made %v", m)
	}
	if s := (&Spread{}).Text(); s != "" {
		t.Errorf("the empty Spread is %q", s)
	}
}
