// SPDX-License-Identifier: Apache-2.0

package build

import (
	"math"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A Home has requests stay in the zone of the proxy, as Envoy's force_local_zone does. Envoy itself needs a cluster of
// the proxies for it; priorities need none.
type Home struct {
	// Least is how many endpoints there have to be in all, and Here how many in the zone: with fewer all
	// endpoints are alike.
	Least, Here uint64
	// Percent is the share of requests that stay, up to 100. The others go to all endpoints alike.
	Percent uint32
}

// mostFactor bounds the overprovisioning factor, in percent: proxies multiply it by numbers of endpoints.
const mostFactor = 10_000

// on gives endpoints the priorities or, if not all requests stay, the weights that they have for a proxy in a place.
//
// While so many endpoints of the zone as have to be there are healthy, they get everything: the overprovisioning
// factor says how many that are. Then the others take what is missing.
func (h *Home) on(m *endpointv3.ClusterLoadAssignment, p Place) {
	own := func(l *endpointv3.LocalityLbEndpoints) bool {
		at := l.GetLocality()
		return p.Zone != "" && at.GetZone() == p.Zone && alikeRegion(at, p.locality())
	}
	var here, all, ownWeight, weight uint64
	for _, l := range m.GetEndpoints() {
		n := uint64(len(l.GetLbEndpoints()))
		all, weight = all+n, weight+weightOf(l)
		if own(l) {
			here, ownWeight = here+n, ownWeight+weightOf(l)
		}
	}
	stays := here > 0 && here >= h.Here && all >= h.Least
	if h.Percent < 100 {
		shares := make([]float64, len(m.GetEndpoints()))
		for i, l := range m.GetEndpoints() {
			shares[i] = float64(weightOf(l))
			if !stays {
				continue
			}
			if shares[i] *= float64(100 - h.Percent); own(l) {
				shares[i] += float64(h.Percent) * float64(weight) * float64(weightOf(l)) / float64(ownWeight)
			}
		}
		weigh(m.GetEndpoints(), shares)
		return
	}
	if !stays || here == all {
		return
	}
	for _, l := range m.GetEndpoints() {
		if !own(l) {
			l.Priority = 1
		}
	}
	policy := &endpointv3.ClusterLoadAssignment_Policy{}
	if m.GetPolicy() != nil {
		policy = proto.CloneOf(m.GetPolicy())
	}
	least := max(1, h.Here)
	policy.OverprovisioningFactor = wrapperspb.UInt32(uint32(min(mostFactor, (100*here+least-1)/least)))
	m.Policy = policy
}

// byZone gives localities the weights of their zones, and leaves out those whose zone weighs nothing. Several in one
// zone share what it weighs by their endpoints.
func byZone(all []*endpointv3.LocalityLbEndpoints, weights map[string]uint32) []*endpointv3.LocalityLbEndpoints {
	sums := map[string]uint64{}
	for _, l := range all {
		sums[l.GetLocality().GetZone()] += weightOf(l)
	}
	var out []*endpointv3.LocalityLbEndpoints
	var shares []float64
	for _, l := range all {
		zone := l.GetLocality().GetZone()
		weight, listed := weights[zone]
		if !listed {
			weight = 1
		}
		if weight > 0 && len(l.GetLbEndpoints()) > 0 {
			out = append(out, l)
			shares = append(shares, float64(weight)*float64(weightOf(l))/float64(sums[zone]))
		}
	}
	weigh(out, shares)
	return out
}

// weigh gives localities weights in proportion to shares, and these themselves if they are whole numbers that Envoy
// takes: in sum less than 1<<32.
func weigh(all []*endpointv3.LocalityLbEndpoints, shares []float64) {
	const most = 1 << 31
	sum, scale := 0.0, 1.0
	for _, s := range shares {
		if sum += s; s != math.Trunc(s) {
			scale = finer
		}
	}
	if sum*scale > most {
		scale = most / sum
	}
	for i, l := range all {
		l.LoadBalancingWeight = wrapperspb.UInt32(uint32(max(1, math.Round(shares[i]*scale))))
	}
}

// unhinted takes from endpoints what says for whom they are meant.
func unhinted(all []*endpointv3.LocalityLbEndpoints) {
	for _, l := range all {
		for _, e := range l.GetLbEndpoints() {
			if delete(e.GetMetadata().GetFilterMetadata(), hintsKey); len(e.GetMetadata().GetFilterMetadata()) == 0 {
				e.Metadata = nil
			}
		}
	}
}
