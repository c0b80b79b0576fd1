// SPDX-License-Identifier: Apache-2.0

package match

import (
	"fmt"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// maxDepth bounds nested matchers, which a hostile configuration could nest
// until the stack is full.
const maxDepth = 64

// CompileDouble compiles a DoubleMatcher.
func CompileDouble(c *matcherv3.DoubleMatcher) (Double, error) {
	switch p := c.GetMatchPattern().(type) {
	case *matcherv3.DoubleMatcher_Exact:
		return Double{Lo: p.Exact, Exact: true}, nil
	case *matcherv3.DoubleMatcher_Range:
		return Double{Lo: p.Range.GetStart(), Hi: p.Range.GetEnd()}, nil
	}
	return Double{}, fmt.Errorf("double matcher has no pattern: set exact or range")
}

// CompileValue compiles a ValueMatcher.
func CompileValue(c *matcherv3.ValueMatcher) (*ValueMatcher, error) {
	return compileValue(c, 0)
}

func compileValue(c *matcherv3.ValueMatcher, depth int) (*ValueMatcher, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("value matcher is nested deeper than %d", maxDepth)
	}
	m := &ValueMatcher{}
	var err error
	switch p := c.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		m.kind = valueNull
	case *matcherv3.ValueMatcher_DoubleMatch:
		m.kind = valueDouble
		m.double, err = CompileDouble(p.DoubleMatch)
	case *matcherv3.ValueMatcher_StringMatch:
		m.kind = valueString
		m.str, err = CompileString(p.StringMatch)
	case *matcherv3.ValueMatcher_BoolMatch:
		m.kind, m.flag = valueBool, p.BoolMatch
	case *matcherv3.ValueMatcher_PresentMatch:
		m.kind, m.flag = valuePresent, p.PresentMatch
	case *matcherv3.ValueMatcher_ListMatch:
		m.kind = valueList
		m.one, err = compileValue(p.ListMatch.GetOneOf(), depth+1)
	case *matcherv3.ValueMatcher_OrMatch:
		m.kind = valueOr
		for i, o := range p.OrMatch.GetValueMatchers() {
			om, err := compileValue(o, depth+1)
			if err != nil {
				return nil, fmt.Errorf("or_match.value_matchers[%d]: %w", i, err)
			}
			m.or = append(m.or, om)
		}
	default:
		return nil, fmt.Errorf("value matcher has no pattern: set string_match, bool_match, present_match or another")
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// CompileMetadata compiles a MetadataMatcher.
func CompileMetadata(c *matcherv3.MetadataMatcher) (*Metadata, error) {
	if c.GetFilter() == "" {
		return nil, fmt.Errorf("metadata matcher has no filter")
	}
	if len(c.GetPath()) == 0 {
		return nil, fmt.Errorf("metadata matcher has no path")
	}
	v, err := CompileValue(c.GetValue())
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	m := &Metadata{filter: c.Filter, value: v, invert: c.Invert}
	for _, s := range c.Path {
		m.path = append(m.path, s.GetKey())
	}
	return m, nil
}

// CompileFilterState compiles a FilterStateMatcher.
func CompileFilterState(c *matcherv3.FilterStateMatcher) (*FilterState, error) {
	if c.GetKey() == "" {
		return nil, fmt.Errorf("filter state matcher has no key")
	}
	m := &FilterState{key: c.Key}
	var err error
	switch p := c.Matcher.(type) {
	case *matcherv3.FilterStateMatcher_StringMatch:
		if m.str, err = CompileString(p.StringMatch); err != nil {
			return nil, fmt.Errorf("string_match: %w", err)
		}
	case *matcherv3.FilterStateMatcher_AddressMatch:
		if m.addr, err = CompileAddress(p.AddressMatch); err != nil {
			return nil, fmt.Errorf("address_match: %w", err)
		}
	default:
		return nil, fmt.Errorf("filter state matcher has no pattern: set string_match or address_match")
	}
	return m, nil
}

// CompileNode compiles a NodeMatcher.
func CompileNode(c *matcherv3.NodeMatcher) (*Node, error) {
	m := &Node{}
	var err error
	if c.GetNodeId() != nil {
		if m.id, err = CompileString(c.NodeId); err != nil {
			return nil, fmt.Errorf("node_id: %w", err)
		}
	}
	for i, s := range c.GetNodeMetadatas() {
		v, err := CompileValue(s.GetValue())
		if err != nil {
			return nil, fmt.Errorf("node_metadatas[%d].value: %w", i, err)
		}
		sm := structMatcher{value: v}
		for _, p := range s.GetPath() {
			sm.path = append(sm.path, p.GetKey())
		}
		m.metadatas = append(m.metadatas, sm)
	}
	return m, nil
}
