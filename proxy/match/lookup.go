// SPDX-License-Identifier: Apache-2.0

package match

import (
	"net/netip"
	"strconv"
	"strings"
)

// text returns a value's text; a number or address is printed into buf.
func (v *Value) text(buf []byte) string {
	switch v.kind {
	case formAddr:
		return view(v.Addr.AppendTo(buf))
	case formNumber:
		return view(strconv.AppendInt(buf, v.Number, 10))
	case formAny:
		s, _ := v.Any.(string)
		return s
	}
	return v.Text
}

// exactMap is MatcherTree.exact_match_map.
type exactMap[A any] map[string]*onMatch[A]

func (m exactMap[A]) match(v Value, d Data) (none A, _ Result) {
	var buf [64]byte
	if o := m[v.text(buf[:0])]; o != nil {
		return o.match(d)
	}
	return none, NoMatch
}

func (m exactMap[A]) visit(f func(*onMatch[A])) {
	for _, o := range m {
		f(o)
	}
}

// prefixMap is MatcherTree.prefix_match_map: the longest prefix goes first. It
// costs one look-up per length that occurs.
type prefixMap[A any] struct {
	lengths []int // longest first
	m       map[string]*onMatch[A]
}

func (m *prefixMap[A]) match(v Value, d Data) (none A, _ Result) {
	var buf [64]byte
	s := v.text(buf[:0])
	for _, n := range m.lengths {
		if n > len(s) {
			continue
		}
		if o := m.m[s[:n]]; o != nil {
			if a, res := o.match(d); res != NoMatch {
				return a, res
			}
		}
	}
	return none, NoMatch
}

func (m *prefixMap[A]) visit(f func(*onMatch[A])) { exactMap[A](m.m).visit(f) }

// ipMap is xds.type.matcher.v3.IPMatcher: the longest range goes first.
type ipMap[A any] struct {
	set       *CIDRs
	then      []*onMatch[A] // by id in the set
	exclusive []bool
}

func (m *ipMap[A]) match(v Value, d Data) (none A, _ Result) {
	a := v.Addr
	if v.kind != formAddr {
		var err error
		if a, err = netip.ParseAddr(v.text(nil)); err != nil {
			return none, NoMatch
		}
	}
	var room [129]int32
	ids := m.set.longest(room[:0], a)
	for i := len(ids) - 1; i >= 0; i-- {
		id := ids[i]
		if act, res := m.then[id].match(d); res != NoMatch || m.exclusive[id] {
			return act, res
		}
	}
	return none, NoMatch
}

func (m *ipMap[A]) visit(f func(*onMatch[A])) {
	for _, o := range m.then {
		f(o)
	}
}

// nameMap is xds.type.matcher.v3.ServerNameMatcher: an exact name goes first,
// then wildcards from the longest to "*". Names are compared without case.
type nameMap[A any] struct {
	exact map[string]*onMatch[A]
	wild  map[string]*onMatch[A] // by what follows "*."
	any   *onMatch[A]
}

func (m *nameMap[A]) match(v Value, d Data) (none A, _ Result) {
	var buf [64]byte
	var low [256]byte
	s := append(low[:0], v.text(buf[:0])...)
	for i, c := range s {
		s[i] = lower(c)
	}
	if o := m.exact[string(s)]; o != nil {
		if a, res := o.match(d); res != NoMatch {
			return a, res
		}
	}
	for i, c := range s {
		if c != '.' || i == 0 {
			continue
		}
		if o := m.wild[string(s[i+1:])]; o != nil {
			if a, res := o.match(d); res != NoMatch {
				return a, res
			}
		}
	}
	if m.any != nil {
		return m.any.match(d)
	}
	return none, NoMatch
}

func (m *nameMap[A]) visit(f func(*onMatch[A])) {
	exactMap[A](m.exact).visit(f)
	exactMap[A](m.wild).visit(f)
	f(m.any)
}

// add enters a domain and reports false if it is there already.
func (m *nameMap[A]) add(domain string, o *onMatch[A]) bool {
	domain = lowerASCII(domain)
	at := m.exact
	switch {
	case domain == "*":
		if m.any != nil {
			return false
		}
		m.any = o
		return true
	case strings.HasPrefix(domain, "*."):
		at, domain = m.wild, domain[2:]
	}
	if at[domain] != nil {
		return false
	}
	at[domain] = o
	return true
}

// rangeMap is xds.type.matcher.v3.Int64RangeMatcher or Int32RangeMatcher: the
// first range that holds the number and leads to a match counts.
type rangeMap[A any] []rangeEntry[A]

type rangeEntry[A any] struct {
	ranges []IntRange
	then   *onMatch[A]
}

func (m rangeMap[A]) match(v Value, d Data) (none A, _ Result) {
	n := v.Number
	if v.kind != formNumber {
		var err error
		if n, err = strconv.ParseInt(v.text(nil), 10, 64); err != nil {
			return none, NoMatch
		}
	}
	for i := range m {
		for _, r := range m[i].ranges {
			if !r.Match(n) {
				continue
			}
			if a, res := m[i].then.match(d); res != NoMatch {
				return a, res
			}
			break
		}
	}
	return none, NoMatch
}

func (m rangeMap[A]) visit(f func(*onMatch[A])) {
	for i := range m {
		f(m[i].then)
	}
}
