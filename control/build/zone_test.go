// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"math"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// near is what a proxy in a place is served of endpoints that are spread so.
func near(t *testing.T, s Spread, endpoints []string, at string) *endpointv3.ClusterLoadAssignment {
	t.Helper()
	var all []Endpoint
	for _, e := range endpoints {
		all = append(all, placed(e))
	}
	m := Endpoints("x", all)
	ParseSpread(s.Text()).On(m)
	before := m.String()
	got := Near(m, PlaceOf(at))
	if m.String() != before {
		t.Errorf("it changed what it was given to %v", m)
	}
	return got
}

func TestHome(t *testing.T) {
	five := []string{"a1 a", "a2 a", "b1 b", "b2 b", "b3 b"}
	for _, tt := range []struct {
		name      string
		home      Home
		endpoints []string
		at        string
		want      string
		factor    uint32
	}{
		{"it stays", Home{Least: 1, Here: 1, Percent: 100}, five, "a", "0:a1 0:a2 1:b1 1:b2 1:b3", 200},
		{"it stays elsewhere", Home{Least: 5, Here: 2, Percent: 100}, five, "b", "1:a1 1:a2 0:b1 0:b2 0:b3", 150},
		{"while all of the zone are healthy", Home{Here: 2, Percent: 100}, five, "a", "0:a1 0:a2 1:b1 1:b2 1:b3", 100},
		{"nobody asks how many there are", Home{Percent: 100}, five, "a", "0:a1 0:a2 1:b1 1:b2 1:b3", 200},
		{"too few in the zone", Home{Here: 3, Percent: 100}, five, "a", "0:a1 0:a2 0:b1 0:b2 0:b3", 0},
		{"too few in all", Home{Least: 6, Here: 1, Percent: 100}, five, "a", "0:a1 0:a2 0:b1 0:b2 0:b3", 0},
		{"none in the zone", Home{Percent: 100}, five, "c", "0:a1 0:a2 0:b1 0:b2 0:b3", 0},
		{"where the proxy is is not known", Home{Percent: 100}, five, "", "0:a1 0:a2 0:b1 0:b2 0:b3", 0},
		{"where the proxy is is not known, nor where an endpoint is", Home{Percent: 100}, []string{"a1 a", "x1 //"}, "", "0:a1 0:x1", 0},
		{"all in the zone", Home{Percent: 100}, []string{"a1 a", "a2 a"}, "a", "0:a1 0:a2", 0},
		{"none at all", Home{Percent: 100}, nil, "a", "", 0},
		{"a zone of another region", Home{Percent: 100}, []string{"a1 eu/a", "a2 us/a"}, "eu/a", "0:a1 1:a2", 100},
		{"regions that nobody knows", Home{Percent: 100}, []string{"a1 a", "b1 us/b"}, "eu/a", "0:a1 1:b1", 100},
		{"parts of a zone", Home{Here: 2, Percent: 100}, []string{"a1 eu/a/1", "a2 eu/a/2", "b1 eu/b"}, "eu/a/1", "0:a1 0:a2 1:b1", 100},
		// Of 100 requests 80 stay; of the other 20 each of the five takes 4.
		{"a share of it", Home{Here: 1, Percent: 80}, five, "a", "0:a1 0:a2*440 0:b1 0:b2 0:b3*60", 0},
		{"no share of it", Home{Here: 1, Percent: 0}, five, "a", "0:a1 0:a2*200 0:b1 0:b2 0:b3*300", 0},
		{"a share of it in parts of a zone", Home{Percent: 50}, []string{"a1 eu/a/1", "a2 eu/a/2", "b1 eu/b"}, "eu/a", "0:a1*125 0:a2*125 0:b1*50", 0},
		{"a share of what is too few", Home{Here: 3, Percent: 80}, five, "a", "0:a1 0:a2*2 0:b1 0:b2 0:b3*3", 0},
		{"a share for who knows not where", Home{Percent: 80}, five, "", "0:a1 0:a2*2 0:b1 0:b2 0:b3*3", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := near(t, Spread{Home: &tt.home}, tt.endpoints, tt.at)
			if s := weighed(got); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
			if f := got.GetPolicy().GetOverprovisioningFactor().GetValue(); f != tt.factor {
				t.Errorf("the overprovisioning factor is %d, want %d", f, tt.factor)
			}
		})
	}
}

// However many endpoints a zone has, the factor that proxies multiply by numbers of them stays small.
func TestHomeFactor(t *testing.T) {
	all := []string{"b0 b"}
	for i := range 1000 {
		all = append(all, fmt.Sprintf("a%d a", i))
	}
	got := near(t, Spread{Home: &Home{Here: 1, Percent: 100}}, all, "a")
	if f := got.GetPolicy().GetOverprovisioningFactor().GetValue(); f != mostFactor {
		t.Errorf("the overprovisioning factor is %d", f)
	}
}

func TestZones(t *testing.T) {
	three := []string{"a1 a", "b1 b", "b2 b", "c1 c"}
	for _, tt := range []struct {
		name      string
		zones     map[string]uint32
		endpoints []string
		want      string
	}{
		{"weights", map[string]uint32{"a": 70, "b": 30}, three, "0:a1*70 0:b1 0:b2*30 0:c1*1"},
		{"a zone without endpoints", map[string]uint32{"a": 70, "z": 30}, three, "0:a1*70 0:b1 0:b2*1 0:c1*1"},
		{"a zone that is to get nothing", map[string]uint32{"a": 70, "b": 0, "c": 30}, three, "0:a1*70 0:c1*30"},
		{"nothing for anybody", map[string]uint32{"a": 0, "b": 0, "c": 0}, three, ""},
		{"endpoints of no zone", map[string]uint32{"a": 2, "": 3}, []string{"a1 a", "x1 //"}, "0:a1*2 0:x1*3"},
		{"parts of a zone", map[string]uint32{"a": 4, "b": 1}, []string{"a1 eu/a/1", "a2 eu/a/2", "b1 eu/b"}, "0:a1*2 0:a2*2 0:b1*1"},
		{"uneven parts of a zone", map[string]uint32{"a": 1, "b": 1}, []string{"a1 eu/a/1", "a2 eu/a/2", "b1 eu/b"}, "0:a1*500 0:a2*500 0:b1*1000"},
		{"weights that Envoy's sum has no room for", map[string]uint32{"a": math.MaxUint32, "b": math.MaxUint32}, []string{"a1 a", "b1 b"}, "0:a1*1073741824 0:b1*1073741824"},
		{"a weight that is nothing beside another", map[string]uint32{"a": math.MaxUint32, "b": 1}, []string{"a1 a", "b1 b"}, "0:a1*2147483648 0:b1*1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, at := range []string{"", "a", "b"} {
				if s := weighed(near(t, Spread{Zones: tt.zones}, tt.endpoints, at)); s != tt.want {
					t.Errorf("at %q: got %q, want %q", at, s, tt.want)
				}
			}
		})
	}
}

// What a policy says of zones wins over what hints say.
func TestZonesAndHints(t *testing.T) {
	for _, tt := range []struct {
		spread Spread
		want   string
	}{
		{Spread{Zones: map[string]uint32{"a": 3}}, "0:e1*3 0:e2*1"},
		{Spread{Home: &Home{Least: 6, Percent: 100}}, "0:e1 0:e2"},
	} {
		m := Endpoints("x", []Endpoint{meant("e1 a n1"), meant("e2 b n2")})
		tt.spread.On(m)
		if got := weighed(Near(m, Place{Zone: "a", Node: "n1"})); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		for _, l := range m.GetEndpoints() {
			for _, e := range l.GetLbEndpoints() {
				if e.Metadata != nil {
					t.Errorf("%v is left", e.Metadata)
				}
			}
		}
	}
}

func TestWeighs(t *testing.T) {
	for _, tt := range []struct {
		spread Spread
		want   bool
	}{
		{Spread{}, false},
		{Spread{Home: &Home{Percent: 100}}, false},
		{Spread{Home: &Home{Percent: 99}}, true},
		{Spread{Home: &Home{}}, true},
		{Spread{Zones: map[string]uint32{"a": 0}}, true},
	} {
		if got := tt.spread.Weighs(); got != tt.want {
			t.Errorf("%s: %v", tt.spread.Text(), got)
		}
	}
}
