// SPDX-License-Identifier: Apache-2.0

package route

import (
	"math"
)

// routeSet is a list of routes of which the first that matches counts, indexed
// by path. The index only proposes routes, in order; each is then matched in
// full, so the index can be wrong in one direction only, and a property test
// compares it with a linear scan.
type routeSet struct {
	routes []*Route
	// index is nil for few routes, which are scanned faster.
	index *routeIndex
}

// routeIndex has the places of routes in their list.
type routeIndex struct {
	// exact has the routes of a whole path; plain and fold those that begin
	// with a literal, with case and without.
	exact map[string][]int32
	plain trie[[]int32]
	fold  trie[[]int32]
	// residue are the routes of which no literal prefix is known.
	residue []int32
}

// fewRoutes is how many routes are scanned rather than looked up.
const fewRoutes = 8

// newRouteSet indexes routes.
func newRouteSet(routes []*Route) routeSet {
	s := routeSet{routes: routes}
	if len(routes) <= fewRoutes {
		return s
	}
	s.index = &routeIndex{fold: trie[[]int32]{fold: true}}
	for i, r := range routes {
		s.index.add(&r.path, int32(i))
	}
	return s
}

func (s *routeIndex) add(p *pathMatcher, id int32) {
	text := p.text
	if p.kind == pathRegex || p.kind == pathTemplate {
		text = p.re.LiteralPrefix()
	}
	switch {
	case p.kind == pathConnect || text == "":
		s.residue = append(s.residue, id)
	case p.fold && p.kind != pathRegex && p.kind != pathTemplate:
		enter(&s.fold, text, id)
	case p.kind == pathExact:
		if s.exact == nil {
			s.exact = map[string][]int32{}
		}
		s.exact[text] = append(s.exact[text], id)
	default:
		enter(&s.plain, text, id)
	}
}

// enter adds id to those of an entry. Ids must be entered in ascending order.
func enter(t *trie[[]int32], s string, id int32) {
	ids := t.slot(nil, s)
	*ids = append(*ids, id)
}

// maxLists is how many lists of candidates are merged. A path that begins with
// more of the table's prefixes than that, each of another length, falls back
// to the linear scan.
const maxLists = 48

// find returns the first route that matches, or nil.
func (s *routeSet) find(t *common, r *Request) *Route {
	rp := t.requestPath(r.Header)
	x := s.index
	if x == nil || !rp.present {
		return s.scan(t, r, &rp)
	}
	var room [maxLists][]int32
	lists := room[:0]
	if len(x.residue) > 0 {
		lists = append(lists, x.residue)
	}
	if x.exact != nil {
		if l := x.exact[string(rp.path)]; l != nil {
			lists = append(lists, l)
		}
	}
	// A template sees path parameters even if others do not; what is cut off
	// for the others never makes a prefix of the whole path disappear.
	lists, ok := collect(&x.plain, lists, rp.whole)
	if ok {
		lists, ok = collect(&x.fold, lists, rp.whole)
	}
	if !ok {
		return s.scan(t, r, &rp)
	}
	return s.merge(lists, t, r, &rp)
}

// collect appends the list of every entry that in begins with, and reports
// false if there is no room.
func collect(t *trie[[]int32], lists [][]int32, in []byte) ([][]int32, bool) {
	for n := &t.root; n != nil; n, in = t.next(n, in) {
		if !n.has {
			continue
		}
		if len(lists) == maxLists {
			return lists, false
		}
		lists = append(lists, n.v)
	}
	return lists, true
}

// merge tries the candidates of all lists in ascending order.
func (s *routeSet) merge(lists [][]int32, t *common, r *Request, rp *requestPath) *Route {
	for len(lists) > 0 {
		low, at := int32(math.MaxInt32), 0
		for i, l := range lists {
			if l[0] < low {
				low, at = l[0], i
			}
		}
		if route := s.routes[low]; route.matches(t, r, rp) {
			return route
		}
		if lists[at] = lists[at][1:]; len(lists[at]) == 0 {
			lists[at] = lists[len(lists)-1]
			lists = lists[:len(lists)-1]
		}
	}
	return nil
}

// scan tries all routes in order.
func (s *routeSet) scan(t *common, r *Request, rp *requestPath) *Route {
	for _, route := range s.routes {
		if route.matches(t, r, rp) {
			return route
		}
	}
	return nil
}

func (r *Route) matches(t *common, req *Request, rp *requestPath) bool {
	return r.path.match(rp, req.Header) && (r.cond == nil || r.cond.match(t.runtime, req))
}
