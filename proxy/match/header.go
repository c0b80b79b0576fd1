// SPDX-License-Identifier: Apache-2.0

package match

import (
	"strconv"
	"sync"

	"weir.dev/weir/proxy/header"
)

type headerKind uint8

const (
	headerPresent headerKind = iota
	headerString
	headerRange
)

// Header matches the fields of one name, as envoy.config.route.v3.HeaderMatcher
// does. Several fields of the name are matched as one value joined by commas.
type Header struct {
	name         header.Name
	kind         headerKind
	invert       bool
	missingEmpty bool
	// present is what HeaderMatcher.present_match asks for.
	present bool
	str     String
	lo, hi  int64 // [lo, hi)
	scratch *sync.Pool
}

// Name returns the field name asked for.
func (m *Header) Name() header.Name { return m.name }

// Match reports whether the fields of h match. Without a field of the name,
// only a presence matcher can match, inverted or not, unless
// treat_missing_header_as_empty is set.
func (m *Header) Match(h *header.Map) bool {
	v := h.Get(m.name)
	if v == nil {
		if !m.missingEmpty {
			return m.kind == headerPresent && m.present == m.invert
		}
		return m.value("") != m.invert
	}
	if m.kind == headerPresent {
		return m.present != m.invert
	}
	if h.Count(m.name) > 1 {
		return m.joined(h) != m.invert
	}
	return m.value(view(v)) != m.invert
}

// MatchEach is Match, but asks each field of the name by itself and is true if
// any matches: for rules that deny, which a second field must not slip past.
func (m *Header) MatchEach(h *header.Map) bool {
	if m.kind == headerPresent || m.invert || h.Count(m.name) < 2 {
		return m.Match(h)
	}
	for v := range h.Values(m.name) {
		if m.value(view(v)) {
			return true
		}
	}
	return m.joined(h)
}

// value matches one value; inversion is the caller's.
func (m *Header) value(s string) bool {
	switch m.kind {
	case headerString:
		return m.str.Match(s)
	case headerRange:
		n, err := strconv.ParseInt(trimSpace(s), 10, 64)
		return err == nil && m.lo <= n && n < m.hi
	}
	return m.present
}

func (m *Header) joined(h *header.Map) bool {
	if m.kind == headerRange {
		return false // a list of numbers is no number
	}
	buf := m.scratch.Get().(*[]byte)
	b, _ := h.AppendJoined((*buf)[:0], m.name)
	ok := m.value(view(b))
	*buf = b
	m.scratch.Put(buf)
	return ok
}

// newScratch returns a pool of buffers for joined values. It is made with the
// matcher, never at match time.
func newScratch() *sync.Pool {
	return &sync.Pool{New: func() any { return new([]byte) }}
}

func trimSpace(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// Headers matches if all of its matchers do; none match everything.
type Headers []*Header

// Match reports whether all matchers match h.
func (l Headers) Match(h *header.Map) bool {
	for _, m := range l {
		if !m.Match(h) {
			return false
		}
	}
	return true
}

// MatchAny reports whether any matcher matches h.
func (l Headers) MatchAny(h *header.Map) bool {
	for _, m := range l {
		if m.Match(h) {
			return true
		}
	}
	return false
}
