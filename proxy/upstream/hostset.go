// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"slices"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
)

// A LocalitySet is the hosts of one priority that are in one locality.
type LocalitySet struct {
	Locality streaminfo.Locality
	// Weight is the locality's load balancing weight, 0 if none was given.
	Weight   uint32
	Hosts    []*Host
	Healthy  []*Host
	Degraded []*Host
	// Excluded counts the hosts left out of the computation of load.
	Excluded int
}

// A HostSet is the hosts of one priority, sorted by health. It is immutable.
type HostSet struct {
	Priority int
	Hosts    []*Host
	Healthy  []*Host
	Degraded []*Host
	// Excluded counts the hosts that are left out of the computation of load and
	// panic: those that wait for their first health check.
	Excluded       int
	ExcludedWeight uint64
	// Localities are in the order of their names; the local one, if known, is first.
	Localities []LocalitySet
	// OverprovisioningFactor in percent.
	OverprovisioningFactor uint32
}

// HasLocal tells whether the first locality is the proxy's own.
func (s *HostSet) HasLocal(local streaminfo.Locality) bool {
	return local != (streaminfo.Locality{}) && len(s.Localities) > 0 && s.Localities[0].Locality == local
}

// SetOptions is what a PrioritySet is computed with.
type SetOptions struct {
	AssignmentPolicy
	// PanicThreshold in percent of hosts that must be available, 50 by default; 0 is
	// never to panic.
	PanicThreshold float64
	// IgnoreNewHosts leaves hosts that wait for their first active health check out of
	// the computation of load and panic.
	IgnoreNewHosts bool
	// Local is the proxy's own locality.
	Local streaminfo.Locality
	// Peers are the proxies like this one, the hosts of local_cluster, for zone aware
	// routing; nil if they are not known.
	Peers *HostSet
}

// AssignmentPolicy is the policy of a load assignment.
type AssignmentPolicy struct {
	// OverprovisioningFactor in percent; 0 is Envoy's 140.
	OverprovisioningFactor uint32
	// WeightedPriorityHealth counts weights instead of hosts.
	WeightedPriorityHealth bool
	// Drops are what is asked to be dropped.
	Drops []Drop
}

// A Drop is one category of requests to drop: Share of 0 to 1.
type Drop struct {
	Category string
	Share    float64
}

func (p *AssignmentPolicy) equal(o *AssignmentPolicy) bool {
	return p.OverprovisioningFactor == o.OverprovisioningFactor && p.WeightedPriorityHealth == o.WeightedPriorityHealth && slices.Equal(p.Drops, o.Drops)
}

// A PrioritySet is all hosts of a cluster at one moment. It is immutable.
type PrioritySet struct {
	SetOptions
	// Version counts the sets of one cluster from 1.
	Version uint64
	// Hosts are all hosts of all priorities.
	Hosts []*Host
	// Levels are the host sets by priority, without gaps.
	Levels []*HostSet
	// Load is how a request's priority is drawn.
	Load PriorityLoad
	// Panic tells for each priority that too few of its hosts are available, so that
	// any of them may be used.
	Panic []bool
	// HealthPercent and DegradedPercent are the availability of each priority,
	// 0 to 100, after overprovisioning.
	HealthPercent, DegradedPercent []uint32

	byAddress map[address.Addr]*Host
	byKey     map[string]*Host // nil if no host has a key
}

// maxPriority is Envoy's limit of LocalityLbEndpoints.priority.
const maxPriority = 128

// NewPrioritySet sorts hosts by priority, locality and their health now. A priority above
// 128 counts as 128.
func NewPrioritySet(hosts []*Host, o SetOptions) *PrioritySet {
	if o.OverprovisioningFactor == 0 {
		o.OverprovisioningFactor = 140
	}
	p := &PrioritySet{SetOptions: o, Hosts: hosts, byAddress: make(map[address.Addr]*Host, len(hosts))}
	levels := 1
	for _, h := range hosts {
		p.byAddress[h.Address] = h
		if h.Key != "" {
			if p.byKey == nil {
				p.byKey = map[string]*Host{}
			}
			p.byKey[h.Key] = h
		}
		levels = max(levels, min(h.Priority, maxPriority)+1)
	}
	groups := make([][]*Host, levels)
	for _, h := range hosts {
		i := max(0, min(h.Priority, maxPriority))
		groups[i] = append(groups[i], h)
	}
	for i, g := range groups {
		p.Levels = append(p.Levels, newHostSet(i, g, o))
	}
	p.computeLoad()
	return p
}

// JoinLevels makes one set of the levels of several sets, in their order: an aggregate
// cluster's. Each level keeps its overprovisioning factor.
func JoinLevels(levels []*HostSet, o SetOptions) *PrioritySet {
	p := &PrioritySet{SetOptions: o}
	for i, l := range levels {
		c := *l
		c.Priority = i
		p.Levels, p.Hosts = append(p.Levels, &c), append(p.Hosts, l.Hosts...)
	}
	if len(p.Levels) == 0 {
		p.Levels = []*HostSet{{}}
	}
	p.computeLoad()
	return p
}

// find returns the host that an endpoint tells of, or nil.
func (p *PrioritySet) find(e *Endpoint) *Host {
	if e.Key != "" {
		return p.byKey[e.Key]
	}
	if h := p.byAddress[e.Address]; h != nil && h.Key == "" {
		return h
	}
	return nil
}

// ByAddress returns the host with an address, or nil.
func (p *PrioritySet) ByAddress(a address.Addr) *Host { return p.byAddress[a] }

// ByKey returns the host with a key, or nil.
func (p *PrioritySet) ByKey(key string) *Host { return p.byKey[key] }

// PriorityOf returns the priority at which a host stands in the set, -1 if it does not.
func (p *PrioritySet) PriorityOf(h *Host) int {
	return slices.IndexFunc(p.Levels, func(l *HostSet) bool { return slices.ContainsFunc(l.Hosts, h.Same) })
}

// Counts are the numbers of hosts by health, as in the membership_* gauges.
func (p *PrioritySet) Counts() (total, healthy, degraded, excluded int) {
	for _, l := range p.Levels {
		total += len(l.Hosts)
		healthy += len(l.Healthy)
		degraded += len(l.Degraded)
		excluded += l.Excluded
	}
	return total, healthy, degraded, excluded
}

func newHostSet(priority int, hosts []*Host, o SetOptions) *HostSet {
	s := &HostSet{Priority: priority, Hosts: hosts, OverprovisioningFactor: o.OverprovisioningFactor}
	// Read each host's flags once: they may change while the lists are built.
	flags := make(map[*Host]HealthFlags, len(hosts))
	for _, h := range hosts {
		f := h.Flags()
		flags[h] = f
		if excluded(f, o.IgnoreNewHosts) {
			s.Excluded++
			s.ExcludedWeight += uint64(h.Weight)
		}
	}
	s.Healthy, s.Degraded = byHealth(hosts, flags)
	places := map[streaminfo.Locality]int{}
	for _, h := range hosts {
		i, ok := places[h.Locality]
		if !ok {
			i = len(s.Localities)
			places[h.Locality] = i
			s.Localities = append(s.Localities, LocalitySet{Locality: h.Locality, Weight: h.LocalityWeight})
		}
		s.Localities[i].Hosts = append(s.Localities[i].Hosts, h)
		if excluded(flags[h], o.IgnoreNewHosts) {
			s.Localities[i].Excluded++
		}
	}
	for i := range s.Localities {
		l := &s.Localities[i]
		l.Healthy, l.Degraded = byHealth(l.Hosts, flags)
	}
	slices.SortFunc(s.Localities, func(a, b LocalitySet) int { return compareLocality(a.Locality, b.Locality, o.Local) })
	return s
}

func excluded(f HealthFlags, ignoreNew bool) bool {
	return f&(ExcludedViaImmediateHCFail|EDSStatusDraining) != 0 || ignoreNew && f&PendingActiveHC != 0
}

// byHealth shares the slice when all hosts are healthy, which they mostly are.
func byHealth(hosts []*Host, flags map[*Host]HealthFlags) (healthy, degraded []*Host) {
	n := 0
	for _, h := range hosts {
		if flags[h].Health() == Healthy {
			n++
		}
	}
	if n == len(hosts) {
		return hosts, nil
	}
	healthy = make([]*Host, 0, n)
	for _, h := range hosts {
		switch flags[h].Health() {
		case Healthy:
			healthy = append(healthy, h)
		case Degraded:
			degraded = append(degraded, h)
		case Unhealthy:
		}
	}
	return healthy, degraded
}

func compareLocality(a, b, local streaminfo.Locality) int {
	if a == b {
		return 0
	}
	if local != (streaminfo.Locality{}) {
		switch {
		case a == local:
			return -1
		case b == local:
			return 1
		}
	}
	return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.SubZone, b.SubZone))
}
