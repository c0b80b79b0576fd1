// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math/rand/v2"

	"weir.dev/weir/proxy/streaminfo"
)

// ZoneOptions are zone_aware_lb_config. The zero value routes by no zone.
type ZoneOptions struct {
	// Enabled is the share of requests in percent, 100 by default in Envoy's
	// configuration; 0 is none.
	Enabled uint32
	// MinClusterSize is the number of healthy hosts below which zones do not count; 6
	// by default in Envoy's configuration.
	MinClusterSize uint64
	// ForceLocal, if not 0, sends everything to the own zone when it has so many healthy
	// hosts (force_local_zone, force_locality_direct_routing).
	ForceLocal uint64
	// ByWeight compares zones by the weights of their hosts rather than their number.
	ByWeight bool
}

// zonePlan is how requests of one host set are spread over zones, as Envoy's document
// on zone aware routing describes it: each zone of proxies first uses up its own zone
// of hosts, and what is too much for that goes to the zones that have room.
type zonePlan struct {
	route bool // by zone at all
	// direct sends all to the own zone, which is the first.
	direct bool
	// own is the share of requests for the own zone, of 10,000.
	own uint64
	// room is the running sum of what each zone can take from others.
	room []uint64

	enabled     uint32
	peersPanic  bool
	failOnPanic bool
	// What was wrong, for the statistics.
	badPeers, tooSmall bool
}

// planZones decides for priority 0.
func planZones(o *ZoneOptions, set *PrioritySet, s *HostSet) *zonePlan {
	p := &zonePlan{enabled: o.Enabled, peersPanic: set.inPanic(set.Peers)}
	zones, peers := s.Localities, set.Peers
	if len(zones) < 2 || len(peers.Localities) < 2 && o.ForceLocal == 0 {
		return p
	}
	if !peers.HasLocal(set.Local) || len(peers.Localities[0].Hosts) == 0 {
		p.badPeers = true
		return p
	}
	if uint64(len(s.Healthy)) < o.MinClusterSize {
		p.tooSmall = true
		return p
	}
	p.route = true
	local := zoneShares(o, peers)
	shares := zoneShares(o, s)
	own := s.HasLocal(set.Local)
	if own {
		have, need := shares[zones[0].Locality], local[zones[0].Locality]
		if have > 0 && have >= need || o.ForceLocal > 0 && uint64(len(zones[0].Healthy)) >= o.ForceLocal {
			p.direct = true
			return p
		}
		if need > 0 {
			p.own = have * 10000 / need
		}
	}
	sum := uint64(0)
	for i, z := range zones {
		have, need := shares[z.Locality], local[z.Locality]
		if !(own && i == 0) && len(z.Healthy) > 0 && have > need {
			sum += have - need
		}
		p.room = append(p.room, sum)
	}
	return p
}

// zoneShares is each zone's part of the healthy hosts, of 10,000.
func zoneShares(o *ZoneOptions, s *HostSet) map[streaminfo.Locality]uint64 {
	size := func(hosts []*Host) uint64 {
		if o.ByWeight {
			return sumWeights(hosts)
		}
		return uint64(len(hosts))
	}
	total, out := size(s.Healthy), map[streaminfo.Locality]uint64{}
	for i := range s.Localities {
		if total > 0 {
			out[s.Localities[i].Locality] = 10000 * size(s.Localities[i].Healthy) / total
		}
	}
	return out
}

// count tells the statistics of a plan that a loop begins to use.
func (p *zonePlan) count(st *Stats) {
	st.LBRecalculateZones.Inc()
	if p.badPeers {
		st.LBLocalClusterNotOK.Inc()
	}
	if p.tooSmall {
		st.LBZoneClusterTooSmall.Inc()
	}
}

// choose returns the zone for a request, -1 for any; fail tells to use no host.
func (p *zonePlan) choose(r *rand.Rand, st *Stats) (zone int, fail bool) {
	if p.enabled < 100 && uint32(r.Uint64N(100)) >= p.enabled {
		return -1, false
	}
	if p.peersPanic {
		st.LBLocalClusterNotOK.Inc()
		return -1, p.failOnPanic
	}
	if p.direct {
		st.LBZoneRoutingAllDirectly.Inc()
		return 0, false
	}
	if r.Uint64N(10000) < p.own {
		st.LBZoneRoutingSampled.Inc()
		return 0, false
	}
	st.LBZoneRoutingCrossZone.Inc()
	total := p.room[len(p.room)-1]
	if total == 0 {
		// Nothing but rounding can bring this about.
		st.LBZoneNoCapacityLeft.Inc()
		return r.IntN(len(p.room)), false
	}
	at, i := r.Uint64N(total), 0
	for at >= p.room[i] {
		i++
	}
	return i, false
}
