// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"

	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
)

// What Envoy asks for where a policy does not say: endpoints in all, and in the zone that requests are to stay in.
const (
	leastEndpoints = 6
	leastInZone    = 1
)

// Spread is how settings have requests spread over zones, as graph.ClusterID has it; empty is by none.
func Spread(from *api.ClusterSettings) string { return spreadOf(from.LoadBalancer).Text() }

func spreadOf(l *api.LoadBalancer) *build.Spread {
	out := &build.Spread{}
	if l == nil || l.ZoneAware == nil {
		return out
	}
	if p := l.ZoneAware.PreferLocal; p != nil && p.Force != nil {
		out.Home = &build.Home{
			Least: ptr.Deref(p.MinEndpointsThreshold, leastEndpoints), Here: uint64(ptr.Deref(p.Force.MinEndpointsInZoneThreshold, leastInZone)),
			Percent: ptr.Deref(p.PercentageEnabled, 100),
		}
	}
	for _, z := range l.ZoneAware.WeightedZones {
		if out.Zones == nil {
			out.Zones = map[string]uint32{}
		}
		out.Zones[z.Zone] = z.Weight
	}
	return out
}

// zones checks what is said of zones, and returns what the balancer has to know of it: where endpoints are is in these.
func (x *settings) zones(at string, l *api.LoadBalancer) *build.Locality {
	z := l.ZoneAware
	if z == nil {
		return nil
	}
	if p := z.PreferLocal; p != nil {
		switch l.Type {
		case "ConsistentHash", "BackendUtilization":
			x.Bad(at+".preferLocal", "is for the types LeastRequest, RoundRobin and Random: use weightedZones, which are for %s, too", l.Type)
		}
		if n := ptr.Deref(p.PercentageEnabled, 0); n > 100 {
			x.Bad(at+".preferLocal.percentageEnabled", "%d is not a number from 0 to 100", n)
		}
		if p.Force == nil {
			x.Note(at+".preferLocal", "is not supported without force: how much each zone then takes depends on how many proxies are in each, "+
				"which they do not know; add force, or use trafficDistribution of the Service")
		}
		if len(z.WeightedZones) > 0 {
			x.Bad(at, "has both preferLocal and weightedZones: only one of them can be")
		}
	}
	seen := map[string]bool{}
	for i, w := range z.WeightedZones {
		if seen[w.Zone] {
			x.Bad(fmt.Sprintf("%s.weightedZones[%d].zone", at, i), "%q is there already: a zone has one weight", w.Zone)
		}
		seen[w.Zone] = true
	}
	if spreadOf(l).Weighs() {
		return build.ByZone()
	}
	return nil
}
