// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds"
)

// Limits bound what a document may cost. A zero field means its default.
type Limits struct {
	// Bytes of one document. Default 64 MiB.
	Bytes int
	// Nodes visited, each alias counted as often as it is used. Default 2,000,000.
	Nodes int
	// Depth of nesting. Default 200.
	Depth int
	// Problems told; those after are counted only. Default 200.
	Problems int
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.Bytes, 64<<20)
	def(&l.Nodes, 2_000_000)
	def(&l.Depth, 200)
	def(&l.Problems, 200)
	return l
}

// depthLimit is the yaml package's LoaderLimitsPlugin: nesting is refused before
// the tree is built, so that no input can exhaust the stack.
type depthLimit int

func (d depthLimit) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > int(d) {
		return fmt.Errorf("nested more than %d deep", int(d))
	}
	return nil
}

// CheckAlias accepts all: aliases are not expanded while the tree is built, and
// the decoder counts what it visits.
func (d depthLimit) CheckAlias(_, _ int) error { return nil }

// parse reads one document into a tree. An empty document is (nil, nil).
func parse(name string, data []byte, limits Limits) (*yaml.Node, *xds.Problem) {
	if len(data) > limits.Bytes {
		return nil, &xds.Problem{
			File: name, Reason: fmt.Sprintf("the document has %d bytes, more than %d", len(data), limits.Bytes),
			Remedy: "split it, or serve its parts by xDS",
		}
	}
	// JSON is YAML only nearly: tabs and surrogate escapes differ. What is JSON is
	// read as JSON.
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(data) {
		return parseJSON(name, data, limits)
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(depthLimit(limits.Depth)))
	if err != nil {
		return nil, syntaxProblem(name, err)
	}
	var doc yaml.Node
	if err := loader.Load(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, syntaxProblem(name, err)
	}
	var second yaml.Node
	switch err := loader.Load(&second); {
	case err == nil:
		return nil, &xds.Problem{
			File: name, Line: second.Line, Column: second.Column,
			Reason: "a second document begins here, and one file holds one configuration",
			Remedy: `remove what follows "---", or put it into a file of its own`,
		}
	case !errors.Is(err, io.EOF):
		return nil, syntaxProblem(name, err)
	}
	if doc.Kind == yaml.DocumentNode {
		if len(doc.Content) == 0 {
			return nil, nil
		}
		return doc.Content[0], nil
	}
	return &doc, nil
}

func syntaxProblem(name string, err error) *xds.Problem {
	p := &xds.Problem{File: name, Reason: "not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		p.Line, p.Column = le.Mark.Line, le.Mark.Column
		if le.Message != "" {
			p.Reason = "not valid YAML: " + le.Message
		}
	}
	if strings.Contains(p.Reason, "cannot start any token") {
		p.Remedy = "indent with spaces, as YAML allows no tabs, and quote text that begins with @, ` or %"
	}
	return p
}

// parseJSON builds the same tree from a document that is known to be valid JSON.
func parseJSON(name string, data []byte, limits Limits) (*yaml.Node, *xds.Problem) {
	j := &jsonTree{dec: json.NewDecoder(bytes.NewReader(data)), data: data, limits: limits}
	j.dec.UseNumber()
	for i, c := range data {
		if c == '\n' {
			j.lines = append(j.lines, i)
		}
	}
	root, err := j.value(0)
	if err != nil {
		line, column := j.mark(int(j.dec.InputOffset()))
		return nil, &xds.Problem{File: name, Line: line, Column: column, Reason: err.Error()}
	}
	return root, nil
}

type jsonTree struct {
	dec    *json.Decoder
	data   []byte
	lines  []int // offsets of line ends
	limits Limits
	nodes  int
}

func (j *jsonTree) mark(offset int) (line, column int) {
	line = sort.SearchInts(j.lines, offset)
	start := 0
	if line > 0 {
		start = j.lines[line-1] + 1
	}
	return line + 1, offset - start + 1
}

// next returns the next token and a node placed at its first byte.
func (j *jsonTree) next() (json.Token, *yaml.Node, error) {
	start := int(j.dec.InputOffset())
	for start < len(j.data) && strings.IndexByte(" \t\r\n,:", j.data[start]) >= 0 {
		start++
	}
	token, err := j.dec.Token()
	if err != nil {
		return nil, nil, err
	}
	j.nodes++
	if j.nodes > j.limits.Nodes {
		return nil, nil, fmt.Errorf("the document has more than %d values", j.limits.Nodes)
	}
	n := &yaml.Node{Kind: yaml.ScalarNode}
	n.Line, n.Column = j.mark(start)
	return token, n, nil
}

func (j *jsonTree) value(depth int) (*yaml.Node, error) {
	if depth > j.limits.Depth {
		return nil, fmt.Errorf("nested more than %d deep", j.limits.Depth)
	}
	token, n, err := j.next()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		if v == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for j.dec.More() {
			child, err := j.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := j.dec.Token()
		return n, err
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(v)
	case nil:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}
