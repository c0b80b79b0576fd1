// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bytes"
	"sync"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

// appendAction is HeaderValueOption.append_action.
type appendAction uint8

const (
	appendOrAdd appendAction = iota
	addIfAbsent
	overwriteOrAdd
	overwriteIfExists
)

// setter is one HeaderValueOption.
type setter struct {
	name      header.Name
	value     string
	format    Formatter // nil: value is fixed
	action    appendAction
	keepEmpty bool
}

// mutations are the headers to remove and to add of one level.
type mutations struct {
	remove []header.Name
	set    []setter
	pool   *sync.Pool
}

// planned is one value to set: that of setter i, in the scratch buffer if it
// was formatted.
type planned struct {
	i, from, to int
	overwrite   bool
}

// apply changes h: headers are removed first; then all values are formatted
// before any is set, so that none sees another's; then those that overwrite
// are set, and last those that append are added, as Envoy's HeaderParser does.
func (m *mutations) apply(h *header.Map, info *streaminfo.Stream) {
	if m == nil {
		return
	}
	for _, n := range m.remove {
		h.Del(n)
	}
	if len(m.set) == 0 {
		return
	}
	s := m.pool.Get().(*scratch)
	s.buf, s.plan = s.buf[:0], s.plan[:0]
	for i := range m.set {
		m.evaluate(s, i, h, info)
	}
	for _, p := range s.plan {
		if p.overwrite {
			m.store(s, p, h)
		}
	}
	for _, p := range s.plan {
		if !p.overwrite {
			m.store(s, p, h)
		}
	}
	m.pool.Put(s)
}

func (m *mutations) evaluate(s *scratch, i int, h *header.Map, info *streaminfo.Stream) {
	e := &m.set[i]
	p := planned{i: i, from: len(s.buf)}
	empty := e.value == ""
	if e.format != nil {
		s.buf = e.format.AppendTo(s.buf, info)
		empty = len(s.buf) == p.from
		if bytes.ContainsAny(s.buf[p.from:], "\r\n\x00") {
			// A value that could end the field early is never sent.
			s.buf = s.buf[:p.from]
			return
		}
	}
	p.to = len(s.buf)
	if empty && !e.keepEmpty {
		return
	}
	switch e.action {
	case addIfAbsent:
		if h.Has(e.name) {
			return
		}
	case overwriteIfExists:
		if !h.Has(e.name) {
			return
		}
		p.overwrite = true
	case overwriteOrAdd:
		p.overwrite = true
	}
	s.plan = append(s.plan, p)
}

func (m *mutations) store(s *scratch, p planned, h *header.Map) {
	e := &m.set[p.i]
	switch {
	case e.format == nil && p.overwrite:
		h.Set(e.name, e.value)
	case e.format == nil:
		h.Add(e.name, e.value)
	case p.overwrite:
		h.SetBytes(e.name, s.buf[p.from:p.to])
	default:
		h.AddBytes(e.name, s.buf[p.from:p.to])
	}
}

// mutationList is a list of envoy.config.common.mutation_rules.v3
// HeaderMutations, applied one after the other.
type mutationList []mutation

// mutation is either mutations or the removal of all headers whose name
// matches.
type mutation struct {
	m      *mutations
	remove *match.String
}

func (l mutationList) apply(h *header.Map, info *streaminfo.Stream) {
	for i := range l {
		if l[i].remove == nil {
			l[i].m.apply(h, info)
			continue
		}
		fields := h.Fields()
		for j := range fields {
			f := &fields[j]
			if f.Live() && !f.IsPseudo() && l[i].remove.Match(f.Name().String()) {
				h.DelAt(j)
			}
		}
	}
}

// FinalizeRequest makes the head that goes upstream: configured headers, host
// and path, in Envoy's order. keepOriginal keeps what was rewritten in
// x-envoy-original-path and x-envoy-original-host (unless the router is told
// to suppress Envoy's headers).
func (r *Route) FinalizeRequest(h *header.Map, info *streaminfo.Stream, keepOriginal bool) {
	levels := r.levels
	if c := r.cluster; c != nil {
		levels[len(levels)-1].request.apply(h, info)
		levels = levels[:len(levels)-1]
		if c.hostRewrite != "" {
			h.Set(header.Authority, c.hostRewrite)
		}
	}
	if r.VirtualHost.common.mostSpecificWins {
		for _, l := range levels {
			l.request.apply(h, info)
		}
	} else {
		for i := len(levels) - 1; i >= 0; i-- {
			levels[i].request.apply(h, info)
		}
	}
	if r.Forward == nil {
		return
	}
	restoreConnectPort(h, info)
	r.rewriteHost(h, info, keepOriginal)
	r.rewritePath(h, info, keepOriginal)
}

// FinalizeResponse changes the head that goes downstream: the configured
// headers of all levels, in Envoy's order. info.Request and info.Response are
// the heads the values are formatted from.
func (r *Route) FinalizeResponse(h *header.Map, info *streaminfo.Stream) {
	levels := r.levels
	if r.cluster != nil {
		levels[len(levels)-1].response.apply(h, info)
		levels = levels[:len(levels)-1]
	}
	if len(levels) == 0 {
		return
	}
	if r.VirtualHost.common.mostSpecificWins {
		for _, l := range levels {
			l.response.apply(h, info)
		}
		return
	}
	for i := len(levels) - 1; i >= 0; i-- {
		levels[i].response.apply(h, info)
	}
}
