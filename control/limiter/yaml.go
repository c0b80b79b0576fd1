// SPDX-License-Identifier: Apache-2.0

package limiter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/internal/suggest"
	"weir.dev/weir/xds"
)

// maxNodes bounds the values of a file, with those that aliases stand for.
const maxNodes = 1_000_000

// Parse reads a file of Envoy's rate limit service: one domain in each document. A
// problem names the line.
func Parse(file string, data []byte) ([]Domain, []xds.Problem) {
	var out []Domain
	r := &yamlReader{file: file}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var root yaml.Node
		err := dec.Decode(&root)
		if errors.Is(err, io.EOF) {
			return out, r.problems
		}
		if err != nil {
			return out, append(r.problems, xds.Problem{File: file, Reason: strings.TrimPrefix(err.Error(), "yaml: ")})
		}
		if len(root.Content) == 0 || root.Content[0].Tag == "!!null" {
			continue
		}
		n, before := root.Content[0], len(r.problems)
		d := Domain{Origin: file}
		r.fields(n, "", map[string]func(*yaml.Node, string){
			"domain":      r.text(&d.Name),
			"descriptors": func(n *yaml.Node, at string) { d.Descriptors = r.descriptors(n, at, 0) },
		})
		if len(r.problems) > before {
			continue
		}
		if err := d.Check(); err != nil {
			r.problems = append(r.problems, xds.Problem{File: file, Line: n.Line, Reason: err.Error()})
			continue
		}
		out = append(out, d)
	}
}

// yamlReader turns nodes into descriptors.
type yamlReader struct {
	file     string
	problems []xds.Problem
	nodes    int
}

func (r *yamlReader) bad(n *yaml.Node, at, format string, args ...any) {
	r.problems = append(r.problems, xds.Problem{File: r.file, Line: n.Line, Column: n.Column, Path: strings.TrimPrefix(at, "."), Reason: fmt.Sprintf(format, args...)})
}

// real follows an alias, and counts what it is asked for; false means that there is no end.
func (r *yamlReader) real(n *yaml.Node, at string) (*yaml.Node, bool) {
	if r.nodes++; r.nodes > maxNodes {
		if r.nodes == maxNodes+1 {
			r.bad(n, at, "the file has more than %d values, with those that aliases stand for", maxNodes)
		}
		return n, false
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n, true
}

// fields reads the fields of an object; one that is not known is a problem.
func (r *yamlReader) fields(n *yaml.Node, at string, known map[string]func(*yaml.Node, string)) {
	n, ok := r.real(n, at)
	if !ok {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.bad(n, at, "is not an object with fields")
		return
	}
	var seen []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, below := n.Content[i].Value, at+"."+n.Content[i].Value
		f, ok := known[name]
		switch {
		case slices.Contains(seen, name):
			r.bad(n.Content[i], below, "stands twice")
		case !ok:
			hint := ""
			names := make([]string, 0, len(known))
			for k := range known {
				names = append(names, k)
			}
			slices.Sort(names)
			if near, ok := suggest.Nearest(name, slices.Values(names)); ok {
				hint = fmt.Sprintf(": did you mean %q?", near)
			}
			r.bad(n.Content[i], at, "unknown field %q%s", name, hint)
		default:
			seen = append(seen, name)
			if v := n.Content[i+1]; v.Tag != "!!null" {
				f(v, below)
			}
		}
	}
}

func (r *yamlReader) list(n *yaml.Node, at string, f func(*yaml.Node, string)) {
	n, ok := r.real(n, at)
	if !ok {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.bad(n, at, "is not a list")
		return
	}
	for i, e := range n.Content {
		f(e, fmt.Sprintf("%s[%d]", at, i))
	}
}

// text takes any scalar as it is written: keys and values such as 404 or true are text.
func (r *yamlReader) text(to *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, at string) {
		n, ok := r.real(n, at)
		switch {
		case !ok:
		case n.Kind != yaml.ScalarNode:
			r.bad(n, at, "is not text")
		default:
			*to = n.Value
		}
	}
}

func (r *yamlReader) boolean(to *bool) func(*yaml.Node, string) {
	return func(n *yaml.Node, at string) {
		if n, ok := r.real(n, at); ok && (n.Tag != "!!bool" || n.Decode(to) != nil) {
			r.bad(n, at, "%q is neither true nor false", n.Value)
		}
	}
}

func (r *yamlReader) descriptors(n *yaml.Node, at string, depth int) []Descriptor {
	if depth > maxDepth {
		r.bad(n, at, "descriptors are nested deeper than %d", maxDepth)
		return nil
	}
	var out []Descriptor
	r.list(n, at, func(n *yaml.Node, at string) {
		var d Descriptor
		r.fields(n, at, map[string]func(*yaml.Node, string){
			"key": r.text(&d.Key), "value": r.text(&d.Value),
			"rate_limit":  func(n *yaml.Node, at string) { d.Limit = r.policy(n, at) },
			"descriptors": func(n *yaml.Node, at string) { d.Descriptors = r.descriptors(n, at, depth+1) },
			"shadow_mode": r.boolean(&d.Shadow), "quota_mode": r.boolean(&d.Quota),
			"detailed_metric": r.boolean(&d.DetailedMetric), "value_to_metric": r.boolean(&d.ValueToMetric),
			"share_threshold": r.boolean(&d.ShareThreshold),
			"metadata": func(n *yaml.Node, at string) {
				if m, ok := r.value(n, at, 0).(map[string]any); ok {
					d.Metadata = m
				} else {
					r.bad(n, at, "is not an object with fields")
				}
			},
		})
		out = append(out, d)
	})
	return out
}

func (r *yamlReader) policy(n *yaml.Node, at string) *Policy {
	p := &Policy{}
	r.fields(n, at, map[string]func(*yaml.Node, string){
		"unit": func(n *yaml.Node, at string) {
			u, ok := ParseUnit(n.Value)
			if p.Unit = u; !ok {
				r.bad(n, at, "%q is no unit: use second, minute, hour, day, week, month or year", n.Value)
			}
		},
		"requests_per_unit": func(n *yaml.Node, at string) {
			if n, ok := r.real(n, at); ok && (n.Tag != "!!int" || n.Decode(&p.Requests) != nil) {
				r.bad(n, at, "%q is not a number from 0 to %d", n.Value, uint32(math.MaxUint32))
			}
		},
		"unlimited": r.boolean(&p.Unlimited), "name": r.text(&p.Name),
		"replaces": func(n *yaml.Node, at string) {
			r.list(n, at, func(n *yaml.Node, at string) {
				var name string
				r.fields(n, at, map[string]func(*yaml.Node, string){"name": r.text(&name)})
				p.Replaces = append(p.Replaces, name)
			})
		},
	})
	return p
}

// value reads a value of metadata as JSON has them.
func (r *yamlReader) value(n *yaml.Node, at string, depth int) any {
	n, ok := r.real(n, at)
	if !ok || depth > maxDepth {
		if ok {
			r.bad(n, at, "is nested deeper than %d", maxDepth)
		}
		return nil
	}
	switch n.Kind {
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for i, e := range n.Content {
			out = append(out, r.value(e, fmt.Sprintf("%s[%d]", at, i), depth+1))
		}
		return out
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			out[n.Content[i].Value] = r.value(n.Content[i+1], at+"."+n.Content[i].Value, depth+1)
		}
		return out
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int", "!!float":
		var f float64
		if n.Decode(&f) == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	case "!!str":
		return n.Value
	}
	r.bad(n, at, "%q is not a value of JSON", n.Value)
	return nil
}
