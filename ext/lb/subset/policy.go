// SPDX-License-Identifier: Apache-2.0

// Package subset is the load balancing policy that divides a cluster's hosts by their
// metadata (namespace envoy.lb) and gives a request to the hosts that have what its
// route asks for. Among those, and what stands in for them, another policy chooses. It
// is Envoy's envoy.load_balancing_policies.subset and lb_subset_config.
package subset

import (
	"encoding/json"
	"reflect"
	"slices"

	"weir.dev/weir/proxy/upstream"
)

// Fallback says who serves a request for which there is no subset.
type Fallback uint8

// Fallbacks. Undefined and KeysSubset are for selectors only.
const (
	Undefined Fallback = iota
	NoFallback
	AnyEndpoint
	DefaultSubset
	KeysSubset
)

// A Selector makes a subset of the hosts of each combination of values that the keys
// have.
type Selector struct {
	Keys []string
	// SingleHost keeps one host of each subset, whatever its health.
	SingleHost bool
	// Fallback overrules that of the policy unless it is Undefined.
	Fallback Fallback
	// FallbackKeys are looked for instead with KeysSubset.
	FallbackKeys []string
}

// Config is the policy's configuration, as Envoy's Subset message has it.
type Config struct {
	// Fallback is NoFallback, AnyEndpoint or DefaultSubset.
	Fallback Fallback
	// Default is what hosts of the default subset have.
	Default   map[string]any
	Selectors []Selector
	// RedundantKeys leaves out keys of a request that no selector asks for.
	RedundantKeys bool
	// ByLocality keeps the weights of localities, ScaleLocality in proportion to the
	// hosts of the subset.
	ByLocality, ScaleLocality bool
	// PanicAny uses any host when the fallback has none.
	PanicAny bool
	// ListAsAny takes each value of a list in a host's metadata for a value of its own.
	ListAsAny bool
	// FallbackList tries what the request's "fallback_list" has, in turn.
	FallbackList bool
	// Policy chooses within a subset.
	Policy upstream.Policy
}

// New returns the policy.
func New(c Config) upstream.Policy {
	p := policy{Config: c}
	for i := range p.Selectors {
		s := &p.Selectors[i]
		s.Keys, s.FallbackKeys = slices.Sorted(slices.Values(s.Keys)), slices.Sorted(slices.Values(s.FallbackKeys))
		s.Keys = slices.Compact(s.Keys)
	}
	return p
}

type policy struct{ Config }

// ByLocality implements upstream.LocalityPolicy.
func (p policy) ByLocality() upstream.Policy {
	if l, ok := p.Policy.(upstream.LocalityPolicy); ok {
		p.Policy = l.ByLocality()
	}
	return p
}

// Slow implements upstream.SlowPolicy.
func (policy) Slow() bool { return true }

// node is a place in the tree of keys and values; T is a table, or a loop's balancer.
type node[T any] struct {
	// hosts are those of the subset that ends here; the table of it is nil if none does.
	hosts  []*upstream.Host
	single *upstream.Host
	subset T
	ends   bool
	below  map[string]map[any]*node[T]
}

// rules is a tree of the keys of selectors, for what happens without a subset.
type rules struct {
	selector *Selector
	below    map[string]*rules
}

type table struct {
	policy
	root               *node[upstream.Table]
	rules              *rules
	any, fallback      upstream.Table // nil if not needed
	known              map[string]struct{}
	duplicates, active int
}

// Build implements upstream.Policy.
func (p policy) Build(set *upstream.PrioritySet) upstream.Table {
	t := &table{policy: p, root: &node[upstream.Table]{}, rules: &rules{}, known: map[string]struct{}{}}
	needAny, needDefault := p.PanicAny || p.Fallback == AnyEndpoint, p.Fallback == DefaultSubset
	for i := range p.Selectors {
		s := &p.Selectors[i]
		t.rules.add(s)
		needAny = needAny || s.Fallback == AnyEndpoint
		needDefault = needDefault || s.Fallback == DefaultSubset
	}
	if needAny {
		t.any = p.part(set, set.Hosts)
	}
	if needDefault {
		var hosts []*upstream.Host
		for _, h := range set.Hosts {
			if p.matches(h) {
				hosts = append(hosts, h)
			}
		}
		t.fallback = p.part(set, hosts)
	}
	for _, h := range set.Hosts {
		for i := range p.Selectors {
			t.sort(h, &p.Selectors[i])
		}
	}
	t.finish(t.root, set, "")
	return t
}

func (r *rules) add(s *Selector) {
	for _, k := range s.Keys {
		if r.below == nil {
			r.below = map[string]*rules{}
		}
		if r.below[k] == nil {
			r.below[k] = &rules{}
		}
		r = r.below[k]
	}
	if r.selector == nil {
		r.selector = s
	}
}

// part builds the policy within for some of the hosts.
func (p policy) part(set *upstream.PrioritySet, hosts []*upstream.Host) upstream.Table {
	sub := upstream.NewPrioritySet(hosts, set.SetOptions)
	for i, l := range sub.Levels {
		for j := range l.Localities {
			x := &l.Localities[j]
			switch {
			case !p.Config.ByLocality:
				x.Weight = 0
			case p.ScaleLocality && i < len(set.Levels):
				x.Weight = scaled(x, set.Levels[i])
			}
		}
	}
	return p.Policy.Build(sub)
}

// scaled is a locality's weight in proportion to the part of its hosts that the subset
// has, rounded up so that no locality is lost.
func scaled(x *upstream.LocalitySet, of *upstream.HostSet) uint32 {
	for i := range of.Localities {
		if o := &of.Localities[i]; o.Locality == x.Locality && len(o.Hosts) > 0 {
			n := uint64(o.Weight) * uint64(len(x.Hosts))
			return uint32((n + uint64(len(o.Hosts)) - 1) / uint64(len(o.Hosts)))
		}
	}
	return x.Weight
}

// matches tells whether a host is of the default subset.
func (p policy) matches(h *upstream.Host) bool {
	have := h.Metadata["envoy.lb"]
	for k, want := range p.Default {
		got, ok := have[k]
		if !ok {
			return false
		}
		if list, is := got.([]any); is && p.ListAsAny {
			if !slices.ContainsFunc(list, func(v any) bool { return reflect.DeepEqual(v, want) }) {
				return false
			}
			continue
		}
		if !reflect.DeepEqual(got, want) {
			return false
		}
	}
	return true
}

// sort puts a host into the subsets that a selector makes of it.
func (t *table) sort(h *upstream.Host, s *Selector) {
	at := []*node[upstream.Table]{t.root}
	for _, k := range s.Keys {
		v, ok := h.Metadata["envoy.lb"][k]
		if !ok {
			return
		}
		values := []any{v}
		if list, is := v.([]any); is && t.ListAsAny {
			values = list
		}
		var next []*node[upstream.Table]
		for _, n := range at {
			for _, v := range values {
				next = append(next, n.child(k, keyOf(v)))
			}
		}
		at = next
	}
	for _, n := range at {
		switch {
		case n.ends && n.single != nil:
			if n.single != h {
				t.duplicates++
			}
		case s.SingleHost && !n.ends:
			n.single, n.ends = h, true
		case len(n.hosts) == 0 || n.hosts[len(n.hosts)-1] != h: // Two selectors may have the same keys.
			n.hosts, n.ends = append(n.hosts, h), true
		}
	}
}

func (n *node[T]) child(k string, v any) *node[T] {
	if n.below == nil {
		n.below = map[string]map[any]*node[T]{}
	}
	if n.below[k] == nil {
		n.below[k] = map[any]*node[T]{}
	}
	c := n.below[k][v]
	if c == nil {
		c = &node[T]{}
		n.below[k][v] = c
	}
	return c
}

// list is the text of a value that is no scalar.
type list string

// keyOf is a value as the key of a map.
func keyOf(v any) any {
	switch v.(type) {
	case nil, bool, float64, string:
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil // Metadata is made of JSON's values.
	}
	return list(b)
}

// finish builds the subsets and notes their names.
func (t *table) finish(n *node[upstream.Table], set *upstream.PrioritySet, name string) {
	if n.ends {
		t.active++
		t.known[name] = struct{}{}
		if n.single == nil {
			n.subset = t.part(set, n.hosts)
		}
	}
	for k, values := range n.below {
		for v, c := range values {
			text, err := json.Marshal(v)
			if err != nil {
				text = nil
			}
			t.finish(c, set, name+"/"+k+"="+string(text))
		}
	}
}

// Measure implements upstream.Measured.
func (t *table) Measure(prev upstream.Table, m upstream.Meter) {
	old, _ := prev.(*table)
	created, removed := uint64(0), uint64(0)
	for name := range t.known {
		if old == nil {
			created++
		} else if _, ok := old.known[name]; !ok {
			created++
		}
	}
	if old != nil {
		for name := range old.known {
			if _, ok := t.known[name]; !ok {
				removed++
			}
		}
	}
	m.Count("lb_subsets_created", created)
	m.Count("lb_subsets_removed", removed)
	m.Gauge("lb_subsets_active", int64(t.active))
	m.Gauge("lb_subsets_single_host_per_subset_duplicate", int64(t.duplicates))
}
