// SPDX-License-Identifier: Apache-2.0

package upstream

import "math/rand/v2"

// hostKind says which hosts of a set a list is of.
type hostKind uint8

const (
	healthyHosts hostKind = iota
	degradedHosts
	everyHost
)

func (k hostKind) of(s *HostSet) []*Host {
	return [...][]*Host{s.Healthy, s.Degraded, s.Hosts}[k]
}

func (k hostKind) in(s *LocalitySet) []*Host {
	return [...][]*Host{s.Healthy, s.Degraded, s.Hosts}[k]
}

// localitiesOf holds what is made of the lists of each locality, and how one is chosen.
type localitiesOf[T any] struct {
	lists   []T
	weights []float64 // nil if they are not chosen by weight
	wheel   wheel     // of a loop
}

// weighed makes a table for each locality that has a weight and hosts of the kind; nil
// if no locality has, so that all hosts are one list, as in Envoy. A locality weighs
// less when fewer of its hosts are available than overprovisioning makes up for.
func (l layered) weighed(s *HostSet, kind hostKind) *localitiesOf[Table] {
	out := &localitiesOf[Table]{}
	for i := range s.Localities {
		ls := &s.Localities[i]
		hosts, of := kind.in(ls), len(ls.Hosts)-ls.Excluded
		if len(hosts) == 0 || of <= 0 || ls.Weight == 0 {
			continue
		}
		available := min(1, float64(s.OverprovisioningFactor)/100*float64(len(hosts))/float64(of))
		out.lists = append(out.lists, l.list.BuildList(hosts))
		out.weights = append(out.weights, float64(ls.Weight)*available)
	}
	if len(out.lists) == 0 {
		return nil
	}
	return out
}

// apart makes a table for each locality, nil for one without hosts of the kind.
func (l layered) apart(s *HostSet, kind hostKind) *localitiesOf[Table] {
	out := &localitiesOf[Table]{}
	for i := range s.Localities {
		var t Table
		if hosts := kind.in(&s.Localities[i]); len(hosts) > 0 {
			t = l.list.BuildList(hosts)
		}
		out.lists = append(out.lists, t)
	}
	return out
}

// shares gives each host its share of the load, by its own weight and, if they are to
// count, the weights of localities: then those without weight get nothing.
func (l layered) shares(s *HostSet, kind hostKind) ([]*Host, []float64) {
	var sum uint64
	if l.LayerOptions.ByLocality {
		for i := range s.Localities {
			sum += uint64(s.Localities[i].Weight)
		}
	}
	if sum == 0 {
		return kind.of(s), appendShares(nil, kind.of(s), 1)
	}
	var hosts []*Host
	var shares []float64
	for i := range s.Localities {
		ls := &s.Localities[i]
		if list := kind.in(ls); ls.Weight > 0 && len(list) > 0 {
			hosts = append(hosts, list...)
			shares = appendShares(shares, list, float64(ls.Weight)/float64(sum))
		}
	}
	return hosts, shares
}

func appendShares(shares []float64, hosts []*Host, of float64) []float64 {
	sum := float64(sumWeights(hosts))
	for _, h := range hosts {
		shares = append(shares, float64(max(1, h.Weight))*of/sum)
	}
	return shares
}

// balancers makes a loop's balancers of the tables.
func (l *localitiesOf[T]) balancers(f func(T) Balancer, r *rand.Rand) *localitiesOf[Balancer] {
	if l == nil {
		return nil
	}
	out := &localitiesOf[Balancer]{}
	for _, t := range l.lists {
		out.lists = append(out.lists, f(t))
	}
	if l.weights != nil {
		out.wheel = newWheel(l.weights, r.Uint64())
	}
	return out
}

// A wheel chooses among few things in proportion to their weights, smoothly, by
// earliest deadline first. It costs one look at each.
type wheel struct{ at, step []float64 }

func newWheel(weights []float64, skip uint64) wheel {
	w := wheel{at: make([]float64, len(weights)), step: make([]float64, len(weights))}
	for i, v := range weights {
		w.step[i] = 1 / max(v, 1e-6)
		w.at[i] = w.step[i]
	}
	// Loops do not all begin with the same one.
	for range skip % uint64(64*len(weights)) {
		w.next()
	}
	return w
}

func (w *wheel) next() int {
	if len(w.at) == 1 {
		return 0
	}
	least := 0
	for i, v := range w.at {
		if v < w.at[least] {
			least = i
		}
	}
	now := w.at[least]
	w.at[least] += w.step[least]
	if now > 1<<20 {
		for i := range w.at {
			w.at[i] -= now
		}
	}
	return least
}
