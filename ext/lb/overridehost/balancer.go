// SPDX-License-Identifier: Apache-2.0

// Package overridehost is the load balancing policy that takes the hosts that the
// request itself lists, in a header or in metadata that a filter has written, one for
// each try, and leaves the choice to another policy when the list is over. It is
// Envoy's envoy.load_balancing_policies.override_host.
package overridehost

import (
	"strings"
	"unsafe"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

// A Source is where hosts are listed: a header, or else metadata.
type Source struct {
	Header    header.Name
	Namespace string
	Path      []string
}

// Config is the policy's configuration.
type Config struct {
	Sources []Source
	// Selected is where the chosen host's address is written; no Path is nowhere.
	Selected Source
	Fallback upstream.Policy
}

// New returns the policy.
func New(c Config) upstream.Policy { return policy{c} }

type policy struct{ Config }

// Slow implements upstream.SlowPolicy.
func (p policy) Slow() bool {
	s, ok := p.Fallback.(upstream.SlowPolicy)
	return ok && s.Slow()
}

// Build implements upstream.Policy.
func (p policy) Build(set *upstream.PrioritySet) upstream.Table {
	return table{p, set, p.Fallback.Build(set)}
}

type table struct {
	policy
	set   *upstream.PrioritySet
	other upstream.Table
}

// Measure implements upstream.Measured.
func (t table) Measure(prev upstream.Table, m upstream.Meter) {
	if x, ok := t.other.(upstream.Measured); ok {
		old, _ := prev.(table)
		x.Measure(old.other, m)
	}
}

// Balancer implements upstream.Table.
func (t table) Balancer(env *upstream.Env) upstream.Balancer {
	return &balancer{table: t, other: t.other.Balancer(env)}
}

type balancer struct {
	table
	other upstream.Balancer
}

// Pick implements upstream.Balancer.
func (b *balancer) Pick(c *upstream.PickContext) *upstream.Host {
	h := b.listed(c)
	if h == nil {
		h = b.other.Pick(c)
	}
	if h != nil && len(b.Selected.Path) > 0 && c.Stream != nil {
		b.note(c.Stream, h)
	}
	return h
}

// listed returns the next host of the request's list that the cluster has, whatever its
// health: who lists it knows why.
func (b *balancer) listed(c *upstream.PickContext) *upstream.Host {
	n := 0
	for i := range b.Sources {
		for rest := b.Sources[i].text(c); rest != ""; {
			var one string
			one, rest, _ = strings.Cut(rest, ",")
			if one = strings.TrimSpace(one); one == "" {
				continue
			}
			if n++; n <= c.Listed {
				continue
			}
			c.Listed = n
			a, err := address.Parse(one)
			if err != nil {
				continue
			}
			if h := b.set.ByAddress(a); h != nil {
				return h
			}
		}
	}
	return nil
}

// text is the list as it stands in the request, "" if there is none.
func (s *Source) text(c *upstream.PickContext) string {
	if !s.Header.IsZero() {
		if c.Headers == nil {
			return ""
		}
		v := c.Headers.Get(s.Header)
		return unsafe.String(unsafe.SliceData(v), len(v))
	}
	if c.Stream == nil {
		return ""
	}
	v, _ := c.Stream.Metadata.Lookup(s.Namespace, s.Path...)
	t, _ := v.(string)
	return t
}

// note writes the host's address into the stream's metadata.
func (b *balancer) note(s *streaminfo.Stream, h *upstream.Host) {
	if s.Metadata == nil {
		s.Metadata = streaminfo.Metadata{}
	}
	m := s.Metadata[b.Selected.Namespace]
	if m == nil {
		m = map[string]any{}
		s.Metadata[b.Selected.Namespace] = m
	}
	last := len(b.Selected.Path) - 1
	for _, k := range b.Selected.Path[:last] {
		next, ok := m[k].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[k] = next
		}
		m = next
	}
	m[b.Selected.Path[last]] = h.Address.String()
}
