// SPDX-License-Identifier: Apache-2.0

package match

import (
	"net/netip"

	"weir.dev/weir/proxy/streaminfo"
)

// Double matches a number, as envoy.type.matcher.v3.DoubleMatcher does: equal
// to Lo if Exact is set, else in [Lo, Hi).
type Double struct {
	Lo, Hi float64
	Exact  bool
}

// Match reports whether v matches.
func (m Double) Match(v float64) bool {
	if m.Exact {
		return v == m.Lo
	}
	return m.Lo <= v && v < m.Hi
}

// IntRange is the half-open interval [Lo, Hi) of envoy.type.v3.Int64Range.
type IntRange struct{ Lo, Hi int64 }

// Match reports whether v lies in the interval.
func (r IntRange) Match(v int64) bool { return r.Lo <= v && v < r.Hi }

type valueKind uint8

const (
	valueNull valueKind = iota
	valueDouble
	valueString
	valueBool
	valuePresent
	valueList
	valueOr
)

// ValueMatcher matches a value of metadata (nil, bool, float64, string, []any,
// map[string]any), as envoy.type.matcher.v3.ValueMatcher does.
type ValueMatcher struct {
	kind   valueKind
	flag   bool
	double Double
	str    *String
	one    *ValueMatcher // of a list's elements
	or     []*ValueMatcher
}

// Match reports whether v matches; ok tells whether there is a value at all.
// No value is not null.
func (m *ValueMatcher) Match(v any, ok bool) bool {
	switch m.kind {
	case valuePresent:
		return ok == m.flag
	case valueOr:
		for _, o := range m.or {
			if o.Match(v, ok) {
				return true
			}
		}
		return false
	}
	if !ok {
		return false
	}
	switch m.kind {
	case valueNull:
		return v == nil
	case valueDouble:
		f, is := v.(float64)
		return is && m.double.Match(f)
	case valueString:
		s, is := v.(string)
		return is && m.str.Match(s)
	case valueBool:
		b, is := v.(bool)
		return is && b == m.flag
	case valueList:
		l, _ := v.([]any)
		for _, e := range l {
			if m.one.Match(e, true) {
				return true
			}
		}
	}
	return false
}

// Metadata matches a value in metadata, as
// envoy.type.matcher.v3.MetadataMatcher does.
type Metadata struct {
	filter string
	path   []string
	value  *ValueMatcher
	invert bool
}

// Match reports whether md matches.
func (m *Metadata) Match(md streaminfo.Metadata) bool {
	v, ok := lookup(md, m.filter, m.path)
	return m.value.Match(v, ok) != m.invert
}

// lookup is Metadata.Lookup without its variadic slice; an empty path never
// finds a value.
func lookup(md streaminfo.Metadata, filter string, path []string) (any, bool) {
	o := md[filter]
	for i, p := range path {
		v, ok := o[p]
		if !ok {
			return nil, false
		}
		if i == len(path)-1 {
			return v, true
		}
		if o, ok = v.(map[string]any); !ok {
			return nil, false
		}
	}
	return nil, false
}

// Node matches the proxy's own id and metadata, as
// envoy.type.matcher.v3.NodeMatcher does.
type Node struct {
	id        *String
	metadatas []structMatcher
}

type structMatcher struct {
	path  []string
	value *ValueMatcher
}

// Match reports whether a node of this id and metadata matches: its id, and
// every one of the metadata matchers.
func (m *Node) Match(id string, metadata map[string]any) bool {
	if m.id != nil && !m.id.Match(id) {
		return false
	}
	md := streaminfo.Metadata{"": metadata}
	for i := range m.metadatas {
		v, ok := lookup(md, "", m.metadatas[i].path)
		if !m.metadatas[i].value.Match(v, ok) {
			return false
		}
	}
	return true
}

// FilterState matches an object of the filter state, as
// envoy.type.matcher.v3.FilterStateMatcher does: by its text, or by its
// address. A missing object does not match.
type FilterState struct {
	key  string
	str  *String
	addr *Address
}

// Match reports whether the object in s matches.
func (m *FilterState) Match(s streaminfo.FilterState) bool {
	o, ok := s[m.key]
	if !ok {
		return false
	}
	if m.str != nil {
		return m.str.Match(o.Text)
	}
	switch v := o.Value.(type) {
	case netip.Addr:
		return m.addr.Match(v)
	case interface{ Addr() netip.Addr }:
		return m.addr.Match(v.Addr())
	}
	a, err := netip.ParseAddr(o.Text)
	return err == nil && m.addr.Match(a)
}
