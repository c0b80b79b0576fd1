// SPDX-License-Identifier: Apache-2.0

package subset

import (
	"slices"
	"strings"

	"weir.dev/weir/proxy/upstream"
)

// Balancer implements upstream.Table.
func (t *table) Balancer(env *upstream.Env) upstream.Balancer {
	b := &balancer{table: t, stats: env.Stats, root: balancers(t.root, env)}
	if t.any != nil {
		b.any = t.any.Balancer(env)
	}
	if t.fallback != nil {
		b.preset = t.fallback.Balancer(env)
	}
	return b
}

func balancers(n *node[upstream.Table], env *upstream.Env) *node[upstream.Balancer] {
	out := &node[upstream.Balancer]{ends: n.ends, single: n.single}
	if n.subset != nil {
		out.subset = n.subset.Balancer(env)
	}
	for k, values := range n.below {
		for v, c := range values {
			if out.below == nil {
				out.below = map[string]map[any]*node[upstream.Balancer]{}
			}
			if out.below[k] == nil {
				out.below[k] = make(map[any]*node[upstream.Balancer], len(values))
			}
			out.below[k][v] = balancers(c, env)
		}
	}
	return out
}

type balancer struct {
	*table
	stats       *upstream.Stats
	root        *node[upstream.Balancer]
	any, preset upstream.Balancer
	// What a request asks for, made anew for each that needs it.
	scratch, base []upstream.MetadataCriterion
}

// fallbackKey is the criterion that lists what else would do.
const fallbackKey = "fallback_list"

// Pick implements upstream.Balancer.
func (b *balancer) Pick(c *upstream.PickContext) *upstream.Host {
	if !b.FallbackList {
		return b.pick(c, c.Metadata)
	}
	at := slices.IndexFunc(c.Metadata, func(m upstream.MetadataCriterion) bool { return m.Key == fallbackKey })
	if at < 0 {
		return b.pick(c, c.Metadata)
	}
	b.base = append(append(b.base[:0], c.Metadata[:at]...), c.Metadata[at+1:]...)
	others, _ := c.Metadata[at].Value.([]any)
	if len(others) == 0 {
		return b.pick(c, b.base)
	}
	for _, o := range others {
		m, _ := o.(map[string]any)
		if h := b.pick(c, b.merged(m)); h != nil {
			return h
		}
	}
	return nil
}

// merged is what the request asks for, with other values for some keys.
func (b *balancer) merged(m map[string]any) []upstream.MetadataCriterion {
	out := append(b.scratch[:0], b.base...)
	for k, v := range m {
		i, found := slices.BinarySearchFunc(out, k, func(c upstream.MetadataCriterion, k string) int { return strings.Compare(c.Key, k) })
		if found {
			out[i].Value = v
			continue
		}
		out = append(out, upstream.MetadataCriterion{})
		copy(out[i+1:], out[i:])
		out[i] = upstream.MetadataCriterion{Key: k, Value: v}
	}
	b.scratch = out
	return out
}

// pick finds the subset of the criteria, or who stands in. Without criteria there is no
// subset to find.
func (b *balancer) pick(c *upstream.PickContext, want []upstream.MetadataCriterion) *upstream.Host {
	// Each turn asks for fewer keys.
	for {
		if b.RedundantKeys {
			want = b.relevant(want)
		}
		if n := b.find(want); n != nil {
			b.stats.LBSubsetsSelected.Inc()
			if n.single != nil {
				return n.single
			}
			return n.subset.Pick(c)
		}
		s := b.rules.find(want)
		if s == nil || s.Fallback == Undefined {
			return b.fallBack(c)
		}
		switch s.Fallback {
		case AnyEndpoint:
			return b.any.Pick(c)
		case DefaultSubset:
			return b.preset.Pick(c)
		case KeysSubset:
			want = b.only(want, s.FallbackKeys)
			continue
		case Undefined, NoFallback:
		}
		return nil
	}
}

// fallBack asks those whom the policy has for requests without subset.
func (b *balancer) fallBack(c *upstream.PickContext) *upstream.Host {
	var by upstream.Balancer
	switch b.Fallback {
	case AnyEndpoint:
		by = b.any
	case DefaultSubset:
		by = b.preset
	case Undefined, NoFallback, KeysSubset:
		return nil
	}
	if h := by.Pick(c); h != nil {
		b.stats.LBSubsetsFallback.Inc()
		return h
	}
	if b.PanicAny {
		if h := b.any.Pick(c); h != nil {
			b.stats.LBSubsetsFallbackPanic.Inc()
			return h
		}
	}
	return nil
}

// find returns the subset that has exactly the keys and values, nil if there is none.
func (b *balancer) find(want []upstream.MetadataCriterion) *node[upstream.Balancer] {
	if len(want) == 0 {
		return nil
	}
	n := b.root
	for i := range want {
		if n = n.below[want[i].Key][keyOf(want[i].Value)]; n == nil {
			return nil
		}
	}
	if !n.ends {
		return nil
	}
	return n
}

func (r *rules) find(want []upstream.MetadataCriterion) *Selector {
	if len(want) == 0 {
		return nil
	}
	for i := range want {
		if r = r.below[want[i].Key]; r == nil {
			return nil
		}
	}
	return r.selector
}

// relevant keeps the keys of the first selector of which all are asked for.
func (b *balancer) relevant(want []upstream.MetadataCriterion) []upstream.MetadataCriterion {
	for i := range b.Selectors {
		if keys := b.Selectors[i].Keys; hasAll(want, keys) {
			return b.only(want, keys)
		}
	}
	return want
}

func hasAll(want []upstream.MetadataCriterion, keys []string) bool {
	for _, k := range keys {
		if !slices.ContainsFunc(want, func(c upstream.MetadataCriterion) bool { return c.Key == k }) {
			return false
		}
	}
	return true
}

// only keeps some keys. want may be the scratch itself: nothing is written before it
// was read.
func (b *balancer) only(want []upstream.MetadataCriterion, keys []string) []upstream.MetadataCriterion {
	out := b.scratch[:0]
	for _, c := range want {
		if slices.Contains(keys, c.Key) {
			out = append(out, c)
		}
	}
	b.scratch = out
	return out
}
