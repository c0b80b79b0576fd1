// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/legacy/tree"
)

// A Format is how Convert writes.
type Format string

// The formats.
const (
	YAML Format = "yaml"
	JSON Format = "json"
)

// Convert returns a document of any version of the API as v3, with the comments that
// it has. m is an empty message of what it holds, into which it is read. What could
// not be converted is nil; what could may still have problems: as v3 that Weir does
// not read. opts.Note is told of each change.
func Convert(name string, data []byte, m proto.Message, format Format, opts Options) ([]byte, []xds.Problem) {
	d, problems := message(name, data, m, opts)
	if d.root == nil || d.unconverted {
		return nil, problems
	}
	out, err := write(d.root, format, d.limits)
	if err != nil {
		return nil, append(problems, xds.Problem{File: name, Reason: err.Error()})
	}
	return out, problems
}

func write(root *yaml.Node, format Format, limits Limits) ([]byte, error) {
	if format == JSON {
		root, err := tree.Expand(root, tree.Limits{Nodes: limits.Nodes, Depth: limits.Depth})
		if err != nil {
			return nil, err
		}
		w := &jsonWriter{}
		w.node(root, "")
		w.WriteByte('\n')
		return w.Bytes(), nil
	}
	var out bytes.Buffer
	dumper, err := yaml.NewDumper(&out, yaml.WithIndent(2), yaml.WithLineWidth(-1))
	if err != nil {
		return nil, err
	}
	if err := dumper.Dump(plain(root)); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	if err := dumper.Close(); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return out.Bytes(), nil
}

// plain takes the quotes of JSON off what does not need them, for YAML. It changes
// the tree, whose scalars keep their tags, so that what needs quotes gets them.
func plain(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 && n.ShortTag() == "!!str" {
		n.Style = 0
		n.Tag = "!!str"
	}
	for _, c := range n.Content {
		plain(c)
	}
	return n
}

// jsonWriter writes a tree without aliases as JSON, mappings in their order.
type jsonWriter struct{ bytes.Buffer }

func (w *jsonWriter) node(n *yaml.Node, indent string) {
	switch n.Kind {
	case yaml.MappingNode:
		w.children(n, indent, "{", "}", 2)
	case yaml.SequenceNode:
		w.children(n, indent, "[", "]", 1)
	default:
		w.scalar(n)
	}
}

// children writes what is within braces, size nodes for each element.
func (w *jsonWriter) children(n *yaml.Node, indent, open, end string, size int) {
	w.WriteString(open)
	for i := 0; i+size <= len(n.Content); i += size {
		if i > 0 {
			w.WriteByte(',')
		}
		w.WriteString("\n" + indent + "  ")
		if size == 2 {
			w.text(n.Content[i].Value)
			w.WriteString(": ")
		}
		w.node(n.Content[i+size-1], indent+"  ")
	}
	if len(n.Content) > 0 {
		w.WriteString("\n" + indent)
	}
	w.WriteString(end)
}

func (w *jsonWriter) scalar(n *yaml.Node) {
	switch n.ShortTag() {
	case "!!null":
		w.WriteString("null")
		return
	case "!!bool":
		if v, err := strconv.ParseBool(n.Value); err == nil {
			w.WriteString(strconv.FormatBool(v))
			return
		}
	case "!!int":
		if v, err := strconv.ParseInt(n.Value, 0, 64); err == nil {
			w.WriteString(strconv.FormatInt(v, 10))
			return
		}
	case "!!float":
		if json.Valid([]byte(n.Value)) {
			w.WriteString(n.Value)
			return
		}
	}
	w.text(n.Value)
}

func (w *jsonWriter) text(s string) {
	e := json.NewEncoder(&w.Buffer)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // A text can always be written.
	w.Truncate(w.Len() - 1)
}
