// SPDX-License-Identifier: Apache-2.0

// Package tree is configuration text as those see it who rewrite it: nodes of YAML,
// which JSON is read into as well. What is made of a node keeps its line and column,
// so that whoever reads the result can still tell where in the file it stands.
package tree

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Limits bound what writing out a document may cost.
type Limits struct {
	// Nodes of the result, each alias counted as often as it is used.
	Nodes int
	// Depth of nesting.
	Depth int
}

// Shared reports whether a document has aliases, so that a change in one place is one in
// others, too.
func Shared(root *yaml.Node) bool {
	return root.Kind == yaml.AliasNode || slices.ContainsFunc(root.Content, Shared)
}

// Expand returns a copy of a document without aliases and merge keys ("<<"), which
// may then be changed in one place without changing another.
func Expand(root *yaml.Node, limits Limits) (*yaml.Node, error) {
	return (&expansion{limits: limits}).node(root, 0)
}

type expansion struct {
	limits Limits
	nodes  int
}

func (e *expansion) node(n *yaml.Node, depth int) (*yaml.Node, error) {
	if depth > e.limits.Depth {
		return nil, fmt.Errorf("nested more than %d deep: an alias must not contain itself", e.limits.Depth)
	}
	if e.nodes++; e.nodes > e.limits.Nodes {
		return nil, fmt.Errorf("the document has more than %d values when its aliases are written out: use fewer aliases", e.limits.Nodes)
	}
	switch n.Kind {
	case yaml.AliasNode:
		if n.Alias == nil {
			return nil, errors.New("an alias that leads nowhere")
		}
		return e.node(n.Alias, depth+1)
	case yaml.MappingNode:
		out := shell(n)
		if err := e.pairs(out, n, map[string]bool{}, depth); err != nil {
			return nil, err
		}
		return out, nil
	}
	out := shell(n)
	for _, c := range n.Content {
		item, err := e.node(c, depth+1)
		if err != nil {
			return nil, err
		}
		out.Content = append(out.Content, item)
	}
	return out, nil
}

// shell copies a node without its children and its anchor.
func shell(n *yaml.Node) *yaml.Node {
	out := *n
	out.Anchor, out.Alias, out.Content = "", nil, nil
	return &out
}

// pairs appends n's pairs to out: what is written in n itself, which may be there
// twice for all that is known here, then what merge keys bring and n does not have.
func (e *expansion) pairs(out, n *yaml.Node, own map[string]bool, depth int) error {
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Value == "<<" && k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		key, err := e.node(k, depth+1)
		if err != nil {
			return err
		}
		value, err := e.node(v, depth+1)
		if err != nil {
			return err
		}
		own[key.Value] = true
		out.Content = append(out.Content, key, value)
	}
	for _, m := range merges {
		if err := e.merge(out, m, own, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (e *expansion) merge(out, m *yaml.Node, own map[string]bool, depth int) error {
	m, err := e.node(m, depth)
	if err != nil {
		return err
	}
	switch m.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(m.Content); i += 2 {
			if k := m.Content[i]; !own[k.Value] {
				own[k.Value] = true
				out.Content = append(out.Content, k, m.Content[i+1])
			}
		}
	case yaml.SequenceNode:
		for _, item := range m.Content {
			if err := e.merge(out, item, own, depth+1); err != nil {
				return err
			}
		}
	default:
		return errors.New(`a merge key "<<" wants a mapping`)
	}
	return nil
}

// Is reports whether a key is name as protobuf's JSON writes it: lower_snake, or the
// same in lowerCamel.
func Is(key *yaml.Node, name string) bool {
	return key.Value == name || len(key.Value) < len(name) && key.Value == Camel(name)
}

// Camel is a name in lower_snake as protobuf's JSON writes it.
func Camel(name string) string {
	if !strings.Contains(name, "_") {
		return name
	}
	var b strings.Builder
	up := false
	for _, c := range []byte(name) {
		switch {
		case c == '_':
			up = true
			continue
		case up && c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		}
		up = false
		b.WriteByte(c)
	}
	return b.String()
}

// Get returns a key of a mapping and its value, or nils. A null counts as not there.
func Get(m *yaml.Node, name string) (key, value *yaml.Node) {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if Is(m.Content[i], name) && !IsNull(m.Content[i+1]) {
			return m.Content[i], m.Content[i+1]
		}
	}
	return nil, nil
}

// Take is Get, and removes the pair.
func Take(m *yaml.Node, name string) (key, value *yaml.Node) {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if !Is(m.Content[i], name) {
			continue
		}
		key, value = m.Content[i], m.Content[i+1]
		m.Content = append(m.Content[:i:i], m.Content[i+2:]...)
		if IsNull(value) {
			return nil, nil
		}
		return key, value
	}
	return nil, nil
}

// Put appends a pair to a mapping. The key stands where at does.
func Put(m, at *yaml.Node, name string, value *yaml.Node) {
	m.Content = append(m.Content, Text(at, name), value)
}

// Inner returns the mapping under a key, made if it is not there.
func Inner(m, at *yaml.Node, name string) *yaml.Node {
	if _, v := Get(m, name); v != nil {
		return v
	}
	v := Map(at)
	Put(m, at, name, v)
	return v
}

// Append adds items to the list under a key, which is made if it is not there.
func Append(m, at *yaml.Node, name string, items ...*yaml.Node) {
	_, v := Get(m, name)
	if v == nil {
		v = List(at)
		Put(m, at, name, v)
	}
	v.Content = append(v.Content, items...)
}

// Value reads the text of a scalar; "" for anything else.
func Value(m *yaml.Node, name string) string {
	_, v := Get(m, name)
	if v == nil || v.Kind != yaml.ScalarNode {
		return ""
	}
	return v.Value
}

// True reports whether a node is the value true, quoted or not.
func True(n *yaml.Node) bool { return n != nil && n.Kind == yaml.ScalarNode && n.Value == "true" }

// IsNull reports whether a node is null.
func IsNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// Map makes a mapping that stands where at does, of names and values in turn. A value
// is a *yaml.Node, a string, a bool or an int.
func Map(at *yaml.Node, pairs ...any) *yaml.Node {
	m := placed(at, yaml.MappingNode, "!!map")
	for i := 0; i+1 < len(pairs); i += 2 {
		Put(m, at, pairs[i].(string), scalar(at, pairs[i+1]))
	}
	return m
}

// List makes a list that stands where at does.
func List(at *yaml.Node, items ...*yaml.Node) *yaml.Node {
	l := placed(at, yaml.SequenceNode, "!!seq")
	l.Content = items
	return l
}

// Text makes a text.
func Text(at *yaml.Node, s string) *yaml.Node {
	n := placed(at, yaml.ScalarNode, "!!str")
	n.Value = s
	return n
}

// Int makes a number.
func Int(at *yaml.Node, v int) *yaml.Node {
	n := placed(at, yaml.ScalarNode, "!!int")
	n.Value = strconv.Itoa(v)
	return n
}

// Bool makes true or false.
func Bool(at *yaml.Node, v bool) *yaml.Node {
	n := placed(at, yaml.ScalarNode, "!!bool")
	n.Value = strconv.FormatBool(v)
	return n
}

func scalar(at *yaml.Node, v any) *yaml.Node {
	switch v := v.(type) {
	case *yaml.Node:
		return v
	case string:
		return Text(at, v)
	case bool:
		return Bool(at, v)
	case int:
		return Int(at, v)
	}
	panic(fmt.Sprintf("BUG: a %T in a tree", v))
}

func placed(at *yaml.Node, kind yaml.Kind, tag string) *yaml.Node {
	n := &yaml.Node{Kind: kind, Tag: tag}
	if at != nil {
		n.Line, n.Column = at.Line, at.Column
	}
	return n
}

// Describe says what a node is, in words.
func Describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "the number " + Clip(n.Value)
	case "!!bool":
		return Clip(n.Value)
	}
	return "the text " + Quote(n.Value)
}

// Quote puts text of any origin into a message: escaped, and short.
func Quote(s string) string { return strconv.Quote(Clip(s)) }

// Clip shortens text for a message.
func Clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
