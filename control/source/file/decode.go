// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds"
)

// document is one YAML document: its value as JSON would have it, and where each
// field stands.
type document struct {
	value map[string]any
	*places
}

// maxDepth bounds how deep values may be nested.
const maxDepth = 100

// documents reads all documents of a file, which may be JSON. Empty ones are left
// out.
func documents(name string, data []byte) ([]document, []xds.Problem) {
	var out []document
	var problems []xds.Problem
	paths := map[string]string{}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var root yaml.Node
		err := dec.Decode(&root)
		if errors.Is(err, io.EOF) {
			return out, problems
		}
		if err != nil {
			// What follows cannot be told from what is broken.
			return out, append(problems, syntaxProblem(name, err))
		}
		if len(root.Content) == 0 || root.Content[0].Tag == "!!null" {
			continue
		}
		n := root.Content[0]
		r := &reader{file: name, lines: map[string]int{}}
		v := r.value(n, "", 0)
		problems = append(problems, r.problems...)
		if m, ok := v.(map[string]any); ok {
			out = append(out, document{m, newPlaces(n.Line, r.lines, paths)})
		} else if len(r.problems) == 0 {
			problems = append(problems, xds.Problem{File: name, Line: n.Line, Reason: "a document is an object with apiVersion and kind, not " + describe(n)})
		}
	}
}

func syntaxProblem(name string, err error) xds.Problem {
	p := xds.Problem{File: name, Reason: strings.TrimPrefix(err.Error(), "yaml: ")}
	if rest, ok := strings.CutPrefix(p.Reason, "line "); ok {
		if number, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				p.Line, p.Reason = n, text
			}
		}
	}
	return p
}

// reader turns nodes into values.
type reader struct {
	file     string
	lines    map[string]int
	problems []xds.Problem
	expanded int
}

// maxExpanded bounds how many values aliases may stand for.
const maxExpanded = 100_000

func (r *reader) bad(n *yaml.Node, path, reason string) {
	r.problems = append(r.problems, xds.Problem{File: r.file, Line: n.Line, Column: n.Column, Path: strings.TrimPrefix(path, "."), Reason: reason})
}

func (r *reader) value(n *yaml.Node, path string, depth int) any {
	if depth > maxDepth {
		r.bad(n, path, fmt.Sprintf("is nested deeper than %d", maxDepth))
		return nil
	}
	if r.expanded++; r.expanded > maxExpanded {
		if r.expanded == maxExpanded+1 {
			r.bad(n, path, fmt.Sprintf("the document has more than %d values, with those that aliases stand for", maxExpanded))
		}
		return nil
	}
	if _, ok := r.lines[path]; !ok {
		r.lines[path] = n.Line
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.value(n.Alias, path, depth+1)
	case yaml.MappingNode:
		return r.mapping(n, path, depth)
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for i, m := range n.Content {
			out = append(out, r.value(m, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
		return out
	}
	return r.scalar(n, path)
}

func (r *reader) mapping(n *yaml.Node, path string, depth int) any {
	out := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := path + "." + key.Value
		if strings.ContainsAny(key.Value, ".[") {
			at = path + "[" + strconv.Quote(key.Value) + "]"
		}
		if key.Tag == "!!merge" {
			r.bad(key, path, "merge keys (<<) are not part of Kubernetes' YAML: write the fields out")
			continue
		}
		if _, twice := out[key.Value]; twice {
			r.bad(key, at, "stands twice")
			continue
		}
		r.lines[at] = key.Line
		out[key.Value] = r.value(value, at, depth+1)
	}
	return out
}

func (r *reader) scalar(n *yaml.Node, path string) any {
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int":
		var i int64
		if n.Decode(&i) == nil {
			return i
		}
	case "!!float":
		var f float64
		if n.Decode(&f) == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	case "!!str", "!!timestamp", "!!binary":
		return n.Value
	}
	r.bad(n, path, fmt.Sprintf("%q is not a value of JSON", n.Value))
	return nil
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "fields"
	}
	return strconv.Quote(n.Value)
}

// reencode puts a value into a type of Go.
func reencode(from, to any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, to)
}
