// SPDX-License-Identifier: Apache-2.0

package upstream

// PriorityLoad is the share of load that each priority's healthy and degraded hosts
// take, in percent. All entries of both add up to 100.
type PriorityLoad struct {
	Healthy, Degraded []uint32
}

// computeLoad computes Load and Panic as Envoy documents under "Priority levels" and
// "Panic threshold": a priority is as available as the percentage of its available
// hosts times the overprovisioning factor, up to 100; load spills from each priority
// to the next, first over healthy hosts, then over degraded ones.
func (p *PrioritySet) computeLoad() {
	n := len(p.Levels)
	p.HealthPercent, p.DegradedPercent = make([]uint32, n), make([]uint32, n)
	p.Load = PriorityLoad{Healthy: make([]uint32, n), Degraded: make([]uint32, n)}
	p.Panic = make([]bool, n)
	var available uint32
	for i, l := range p.Levels {
		p.HealthPercent[i], p.DegradedPercent[i] = p.availability(l)
		available += p.HealthPercent[i] + p.DegradedPercent[i]
	}
	available = min(100, available)
	if available > 0 {
		p.spread(available)
	} else if p.PanicThreshold == 0 {
		// Nobody is available and nobody may panic: the pick fails at priority 0.
		p.Load.Healthy[0] = 100
		return
	}
	total := true
	for i, l := range p.Levels {
		p.Panic[i] = available < 100 && p.inPanic(l)
		total = total && p.Panic[i]
	}
	if total {
		p.spreadInTotalPanic()
	}
}

func (p *PrioritySet) availability(l *HostSet) (healthy, degraded uint32) {
	hosts := uint64(max(0, len(l.Hosts)-l.Excluded))
	if hosts == 0 {
		return 0, 0
	}
	h, d := uint64(len(l.Healthy)), uint64(len(l.Degraded))
	if p.WeightedPriorityHealth {
		h, d, hosts = sumWeights(l.Healthy), sumWeights(l.Degraded), sumWeights(l.Hosts)-l.ExcludedWeight
		if hosts == 0 {
			return 0, 0
		}
	}
	f := uint64(l.OverprovisioningFactor)
	return uint32(min(100, f*h/hosts)), uint32(min(100, f*d/hosts))
}

func sumWeights(hosts []*Host) (sum uint64) {
	for _, h := range hosts {
		sum += uint64(h.Weight)
	}
	return sum
}

// SpreadLoad distributes load over priorities of which so many percent of the healthy and
// of the degraded hosts are available, as a cluster does; nil if none is.
func SpreadLoad(healthy, degraded []uint32) *PriorityLoad {
	available := uint32(0)
	for i := range healthy {
		available += healthy[i] + degraded[i]
	}
	if available == 0 {
		return nil
	}
	p := PrioritySet{HealthPercent: healthy, DegradedPercent: degraded}
	p.Load = PriorityLoad{Healthy: make([]uint32, len(healthy)), Degraded: make([]uint32, len(healthy))}
	p.spread(min(100, available))
	return &p.Load
}

// spread distributes 100 percent over what is available; what rounding leaves goes to the first available priority.
func (p *PrioritySet) spread(available uint32) {
	left := uint32(100)
	firstHealthy, left := spreadOver(p.Load.Healthy, p.HealthPercent, left, available)
	firstDegraded, left := spreadOver(p.Load.Degraded, p.DegradedPercent, left, available)
	switch {
	case firstHealthy >= 0:
		p.Load.Healthy[firstHealthy] += left
	case firstDegraded >= 0:
		p.Load.Degraded[firstDegraded] += left
	}
}

func spreadOver(load, percent []uint32, left, available uint32) (first int, rest uint32) {
	first = -1
	for i, v := range percent {
		if first < 0 && v > 0 {
			first = i
		}
		load[i] = min(left, v*100/available)
		left -= load[i]
	}
	return first, left
}

func (p *PrioritySet) inPanic(l *HostSet) bool {
	hosts := len(l.Hosts) - l.Excluded
	if hosts <= 0 {
		return p.PanicThreshold > 0
	}
	percent := 100 * float64(len(l.Healthy)+len(l.Degraded)) / float64(hosts)
	return percent < min(100, p.PanicThreshold)
}

// spreadInTotalPanic distributes load by the number of hosts, whatever their health,
// because every priority is in panic.
func (p *PrioritySet) spreadInTotalPanic() {
	clear(p.Load.Degraded)
	clear(p.Load.Healthy)
	if len(p.Hosts) == 0 {
		p.Load.Healthy[0] = 100
		return
	}
	left, first := uint32(100), -1
	for i, l := range p.Levels {
		if first < 0 && len(l.Hosts) > 0 {
			first = i
		}
		p.Load.Healthy[i] = uint32(100 * len(l.Hosts) / len(p.Hosts))
		left -= p.Load.Healthy[i]
	}
	p.Load.Healthy[first] += left
}

// Choose draws a priority: hash modulo 100 falls into one of the shares.
func (l *PriorityLoad) Choose(hash uint64) (priority int, degraded bool) {
	at := uint32(hash%100) + 1
	var sum uint32
	for i, v := range l.Healthy {
		if sum += v; at <= sum {
			return i, false
		}
	}
	for i, v := range l.Degraded {
		if sum += v; at <= sum {
			return i, true
		}
	}
	// The shares add up to 100, unless an override is wrong.
	return 0, false
}
