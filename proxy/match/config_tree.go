// SPDX-License-Identifier: Apache-2.0

package match

import (
	"fmt"
	"os"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// ActionConfig is the configuration of an action in a tree.
type ActionConfig struct {
	c *xdscorev3.TypedExtensionConfig
}

// Name returns the action's name.
func (a ActionConfig) Name() string { return a.c.GetName() }

// Any returns the action's typed configuration.
func (a ActionConfig) Any() *anypb.Any { return a.c.GetTypedConfig() }

// TreeContext is what compiling a tree needs from its surroundings.
type TreeContext[A any] struct {
	// Action compiles an action; it is required.
	Action func(ActionConfig) (A, error)
	// Input and Matcher compile what this package does not know; they may be
	// nil.
	Input   func(*xdscorev3.TypedExtensionConfig) (Input, error)
	Matcher func(*xdscorev3.TypedExtensionConfig) (Matcher, error)
	// Runtime is asked by runtime fractions; it may be nil.
	Runtime Runtime
}

// CompileTree compiles a matcher tree. keep_matching is rejected, as Envoy
// rejects it where several actions have no meaning.
func CompileTree[A any](m *xdsmatcherv3.Matcher, ctx TreeContext[A]) (*Tree[A], error) {
	return compileTree(m, &ctx, 0)
}

func compileTree[A any](m *xdsmatcherv3.Matcher, ctx *TreeContext[A], depth int) (*Tree[A], error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("matcher is nested deeper than %d", maxDepth)
	}
	t := &Tree[A]{}
	var err error
	switch mt := m.GetMatcherType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_:
		for i, f := range mt.MatcherList.GetMatchers() {
			e := entry[A]{}
			if e.when, err = compilePredicate(f.GetPredicate(), ctx, depth+1); err != nil {
				return nil, fmt.Errorf("matcher_list.matchers[%d].predicate: %w", i, err)
			}
			if e.then, err = compileOnMatch(f.GetOnMatch(), ctx, depth+1); err != nil {
				return nil, fmt.Errorf("matcher_list.matchers[%d].on_match: %w", i, err)
			}
			t.list = append(t.list, e)
		}
	case *xdsmatcherv3.Matcher_MatcherTree_:
		if t.input, err = compileInput(mt.MatcherTree.GetInput(), ctx); err != nil {
			return nil, fmt.Errorf("matcher_tree.input: %w", err)
		}
		if t.lookup, err = compileLookup(mt.MatcherTree, ctx, depth+1); err != nil {
			return nil, fmt.Errorf("matcher_tree: %w", err)
		}
	}
	if m.GetOnNoMatch() != nil {
		if t.miss, err = compileOnMatch(m.OnNoMatch, ctx, depth+1); err != nil {
			return nil, fmt.Errorf("on_no_match: %w", err)
		}
	}
	return t, nil
}

func compileOnMatch[A any](o *xdsmatcherv3.Matcher_OnMatch, ctx *TreeContext[A], depth int) (*onMatch[A], error) {
	if o.GetKeepMatching() {
		return nil, fmt.Errorf("keep_matching is not supported here")
	}
	out := &onMatch[A]{}
	var err error
	switch x := o.GetOnMatch().(type) {
	case *xdsmatcherv3.Matcher_OnMatch_Matcher:
		if out.next, err = compileTree(x.Matcher, ctx, depth); err != nil {
			return nil, fmt.Errorf("matcher: %w", err)
		}
	case *xdsmatcherv3.Matcher_OnMatch_Action:
		if out.action, err = ctx.Action(ActionConfig{x.Action}); err != nil {
			return nil, fmt.Errorf("action %q: %w", x.Action.GetName(), err)
		}
	default:
		return nil, fmt.Errorf("is empty: set matcher or action")
	}
	return out, nil
}

func compilePredicate[A any](p *xdsmatcherv3.Matcher_MatcherList_Predicate, ctx *TreeContext[A], depth int) (*predicate, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("predicate is nested deeper than %d", maxDepth)
	}
	out := &predicate{}
	var subs []*xdsmatcherv3.Matcher_MatcherList_Predicate
	switch x := p.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		var err error
		if out.input, err = compileInput(x.SinglePredicate.GetInput(), ctx); err != nil {
			return nil, fmt.Errorf("single_predicate.input: %w", err)
		}
		if out.matcher, err = compileMatcher(x.SinglePredicate, ctx); err != nil {
			return nil, fmt.Errorf("single_predicate: %w", err)
		}
		return out, nil
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		out.op, subs = opAnd, x.AndMatcher.GetPredicate()
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		out.op, subs = opOr, x.OrMatcher.GetPredicate()
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		out.op, subs = opNot, []*xdsmatcherv3.Matcher_MatcherList_Predicate{x.NotMatcher}
	default:
		return nil, fmt.Errorf("is empty: set single_predicate, and_matcher, or_matcher or not_matcher")
	}
	for i, s := range subs {
		sp, err := compilePredicate(s, ctx, depth+1)
		if err != nil {
			return nil, fmt.Errorf("predicate[%d]: %w", i, err)
		}
		out.subs = append(out.subs, sp)
	}
	return out, nil
}

func compileLookup[A any](t *xdsmatcherv3.Matcher_MatcherTree, ctx *TreeContext[A], depth int) (finder[A], error) {
	switch x := t.GetTreeType().(type) {
	case *xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap:
		m, err := compileMap(x.ExactMatchMap, ctx, depth)
		return exactMap[A](m), err
	case *xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap:
		m, err := compileMap(x.PrefixMatchMap, ctx, depth)
		return &prefixMap[A]{lengths: sortedLengths(m), m: m}, err
	case *xdsmatcherv3.Matcher_MatcherTree_CustomMatch:
		return compileCustom(x.CustomMatch, ctx, depth)
	}
	return nil, fmt.Errorf("is empty: set exact_match_map, prefix_match_map or custom_match")
}

func compileMap[A any](m *xdsmatcherv3.Matcher_MatcherTree_MatchMap, ctx *TreeContext[A], depth int) (map[string]*onMatch[A], error) {
	out := make(map[string]*onMatch[A], len(m.GetMap()))
	for k, v := range m.GetMap() {
		o, err := compileOnMatch(v, ctx, depth)
		if err != nil {
			return nil, fmt.Errorf("map[%q]: %w", k, err)
		}
		out[k] = o
	}
	return out, nil
}

func compileCustom[A any](c *xdscorev3.TypedExtensionConfig, ctx *TreeContext[A], depth int) (finder[A], error) {
	msg, err := unpack(c.GetTypedConfig())
	if err != nil {
		return nil, fmt.Errorf("custom_match %q: %w", c.GetName(), err)
	}
	switch x := msg.(type) {
	case *xdsmatcherv3.IPMatcher:
		return compileIPMap(x, ctx, depth)
	case *xdsmatcherv3.ServerNameMatcher:
		return compileNameMap(x, ctx, depth)
	case *xdsmatcherv3.Int64RangeMatcher:
		var out rangeMap[A]
		for i, r := range x.GetRangeMatchers() {
			var e rangeEntry[A]
			for _, v := range r.GetRanges() {
				e.ranges = append(e.ranges, IntRange{v.GetStart(), v.GetEnd()})
			}
			if e.then, err = compileOnMatch(r.GetOnMatch(), ctx, depth); err != nil {
				return nil, fmt.Errorf("range_matchers[%d].on_match: %w", i, err)
			}
			out = append(out, e)
		}
		return out, nil
	case *xdsmatcherv3.Int32RangeMatcher:
		var out rangeMap[A]
		for i, r := range x.GetRangeMatchers() {
			var e rangeEntry[A]
			for _, v := range r.GetRanges() {
				e.ranges = append(e.ranges, IntRange{int64(v.GetStart()), int64(v.GetEnd())})
			}
			if e.then, err = compileOnMatch(r.GetOnMatch(), ctx, depth); err != nil {
				return nil, fmt.Errorf("range_matchers[%d].on_match: %w", i, err)
			}
			out = append(out, e)
		}
		return out, nil
	}
	return nil, fmt.Errorf("custom_match %q: type %q is not supported", c.GetName(), c.GetTypedConfig().GetTypeUrl())
}

func compileIPMap[A any](c *xdsmatcherv3.IPMatcher, ctx *TreeContext[A], depth int) (finder[A], error) {
	out := &ipMap[A]{set: &CIDRs{}}
	for i, r := range c.GetRangeMatchers() {
		o, err := compileOnMatch(r.GetOnMatch(), ctx, depth)
		if err != nil {
			return nil, fmt.Errorf("range_matchers[%d].on_match: %w", i, err)
		}
		for j, v := range r.GetRanges() {
			p, err := compileXDSPrefix(v)
			if err != nil {
				return nil, fmt.Errorf("range_matchers[%d].ranges[%d]: %w", i, j, err)
			}
			out.set.add(p, int32(i))
		}
		out.then = append(out.then, o)
		out.exclusive = append(out.exclusive, r.GetExclusive())
	}
	return out, nil
}

func compileNameMap[A any](c *xdsmatcherv3.ServerNameMatcher, ctx *TreeContext[A], depth int) (finder[A], error) {
	out := &nameMap[A]{exact: map[string]*onMatch[A]{}, wild: map[string]*onMatch[A]{}}
	for i, r := range c.GetDomainMatchers() {
		o, err := compileOnMatch(r.GetOnMatch(), ctx, depth)
		if err != nil {
			return nil, fmt.Errorf("domain_matchers[%d].on_match: %w", i, err)
		}
		for _, n := range r.GetDomains() {
			if !out.add(n, o) {
				return nil, fmt.Errorf("domain_matchers[%d]: domain %q occurs twice", i, n)
			}
		}
	}
	return out, nil
}

// unpack reads a message of any type that is linked in.
func unpack(a *anypb.Any) (proto.Message, error) {
	if a == nil {
		return nil, fmt.Errorf("has no typed_config")
	}
	return a.UnmarshalNew()
}

// environment is the input of an environment variable, read when it is
// compiled.
func environment(name string) Input {
	v, ok := os.LookupEnv(name)
	return constInput{v, ok}
}
