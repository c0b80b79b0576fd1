// SPDX-License-Identifier: Apache-2.0

package match

import "net/netip"

// Result is how a match of a tree ends.
type Result uint8

// Results.
const (
	// Matched comes with an action.
	Matched Result = iota
	// NoMatch means that nothing matched and there is no on_no_match.
	NoMatch
	// Unable means that data needed is not there yet, such as the response's
	// head while the request is handled.
	Unable
)

// Value is what an input found.
type Value struct {
	// Unable tells that the data is not there yet.
	Unable bool
	// Present tells that there is a value: Text, or Addr or Number, which
	// match as their text does, or Any for matchers of their own kind.
	Present bool
	Text    string
	Addr    netip.Addr
	Number  int64
	Any     any
	kind    valueForm
}

type valueForm uint8

const (
	formText valueForm = iota
	formAddr
	formNumber
	formAny
)

// TextValue returns a present value; s need be valid only while matching.
func TextValue(s string) Value { return Value{Present: true, Text: s} }

// AddrValue returns a present value, or none if a is invalid.
func AddrValue(a netip.Addr) Value {
	return Value{Present: a.IsValid(), Addr: a, kind: formAddr}
}

// NumberValue returns a present value.
func NumberValue(n int64) Value { return Value{Present: true, Number: n, kind: formNumber} }

// AnyValue returns a present value of metadata.
func AnyValue(v any) Value { return Value{Present: true, Any: v, kind: formAny} }

// Input finds a value in the data of a request or connection.
type Input interface {
	Get(d Data) Value
}

// Matcher matches what an input found.
type Matcher interface {
	MatchValue(v Value, d Data) bool
}

// MatchValue matches a value by its text. No value never matches.
func (m *String) MatchValue(v Value, _ Data) bool {
	if !v.Present {
		return false
	}
	switch v.kind {
	case formText:
		return m.Match(v.Text)
	case formAddr:
		return m.matchAddr(v.Addr)
	case formNumber:
		return m.matchNumber(v.Number)
	}
	s, ok := v.Any.(string)
	return ok && m.Match(s)
}

// Tree is a compiled xds.type.matcher.v3.Matcher with actions of type A.
type Tree[A any] struct {
	list   []entry[A]
	input  Input // of the look-up; nil for a list
	lookup finder[A]
	miss   *onMatch[A] // on_no_match; may be nil
}

// entry is one FieldMatcher of a list.
type entry[A any] struct {
	when *predicate
	then *onMatch[A]
}

// onMatch is an action, or a further tree.
type onMatch[A any] struct {
	action A
	next   *Tree[A]
}

// finder finds what follows a value: one of the tree types of xDS.
type finder[A any] interface {
	match(v Value, d Data) (A, Result)
}

// Match walks the tree. What leads to a further tree that matches nothing is
// passed over, and the search goes on with the next best.
func (t *Tree[A]) Match(d Data) (action A, res Result) {
	if t.lookup == nil {
		action, res = t.matchList(d)
	} else {
		v := t.input.Get(d)
		switch {
		case v.Unable:
			return action, Unable
		case v.Present:
			action, res = t.lookup.match(v, d)
		default:
			res = NoMatch
		}
	}
	if res == NoMatch && t.miss != nil {
		return t.miss.match(d)
	}
	return action, res
}

func (t *Tree[A]) matchList(d Data) (none A, _ Result) {
	for i := range t.list {
		e := &t.list[i]
		switch e.when.match(d) {
		case Unable:
			return none, Unable
		case NoMatch:
			continue
		}
		if a, res := e.then.match(d); res != NoMatch {
			return a, res
		}
	}
	return none, NoMatch
}

func (o *onMatch[A]) match(d Data) (A, Result) {
	if o.next != nil {
		return o.next.Match(d)
	}
	return o.action, Matched
}

// Actions calls yield for every action in the tree.
func (t *Tree[A]) Actions(yield func(A)) {
	visit := func(o *onMatch[A]) {
		switch {
		case o == nil:
		case o.next != nil:
			o.next.Actions(yield)
		default:
			yield(o.action)
		}
	}
	for i := range t.list {
		visit(t.list[i].then)
	}
	if v, ok := t.lookup.(interface{ visit(func(*onMatch[A])) }); ok {
		v.visit(visit)
	}
	visit(t.miss)
}

type predicateOp uint8

const (
	opSingle predicateOp = iota
	opAnd
	opOr
	opNot
)

// predicate is a Matcher.MatcherList.Predicate.
type predicate struct {
	op      predicateOp
	input   Input
	matcher Matcher
	subs    []*predicate
}

func (p *predicate) match(d Data) Result {
	switch p.op {
	case opSingle:
		v := p.input.Get(d)
		switch {
		case v.Unable:
			return Unable
		case p.matcher.MatchValue(v, d):
			return Matched
		}
		return NoMatch
	case opAnd:
		for _, s := range p.subs {
			if res := s.match(d); res != Matched {
				return res
			}
		}
		return Matched
	case opOr:
		out := NoMatch
		for _, s := range p.subs {
			switch s.match(d) {
			case Matched:
				return Matched
			case Unable:
				out = Unable
			}
		}
		return out
	}
	switch p.subs[0].match(d) {
	case Matched:
		return NoMatch
	case NoMatch:
		return Matched
	}
	return Unable
}
