// SPDX-License-Identifier: Apache-2.0

// Package v2 rewrites configuration of Envoy's API v2, and the many files that mix v2
// and v3, as v3. It knows by table what the two versions do not share: types
// (types.txt), fields (rules*.go), names of extensions (names.go). All else is passed
// on as it is, to whoever reads v3 strictly.
//
// It walks a document along v3's descriptors, which v2's messages share but for that
// table, so that a field is only taken for an old one in the message that had it.
package v2

import (
	_ "embed" // for types.txt
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds/legacy/tree"
)

// typePairs has a line for each message of v2 with that of v3 that it became.
//
//go:embed types.txt
var typePairs string

// Types are the messages of v3 by those of v2 that became them.
func Types() map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(typePairs) {
		if old, now, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			out[old] = now
		}
	}
	return out
}

// Find returns the descriptor of a message of v3, if it is known.
type Find func(name protoreflect.FullName) (protoreflect.MessageDescriptor, bool)

// Upgrade rewrites a document, which must be free of aliases, in place; what is of v3
// stays as it is. md is what it is a message of.
func Upgrade(root *yaml.Node, md protoreflect.MessageDescriptor, find Find, report *tree.Report) {
	newWalker(find, report).message(root, "", md)
}

const typePrefix = "type.googleapis.com/"

type walker struct {
	*tree.Report
	find  Find
	types map[string]string
	rules map[protoreflect.FullName]message
	// side is where the transport sockets that are met belong.
	side side
}

type side uint8

const (
	downstream side = iota
	upstream
)

func newWalker(find Find, report *tree.Report) *walker {
	return &walker{Report: report, find: find, types: Types(), rules: rules()}
}

// object is a message in the document.
type object struct {
	node *yaml.Node
	path string
}

func (o object) name() string { return tree.Value(o.node, "name") }

// note tells what became of a field.
func (w *walker) note(o object, at *yaml.Node, old, now, why string) {
	w.Note(at, o.path, o.name(), old, now, why)
}

// put sets a field of v3 in place of an old one, and refuses where both are there.
func (w *walker) put(o object, key *yaml.Node, name string, value *yaml.Node) {
	if other, _ := tree.Get(o.node, name); other != nil {
		w.Refuse(key, o.path, tree.Quote(key.Value)+" is the older form of "+tree.Quote(name)+", and both are given", "keep "+name)
		return
	}
	tree.Put(o.node, key, name, value)
}

// message rewrites one message and those within it.
func (w *walker) message(n *yaml.Node, path string, md protoreflect.MessageDescriptor) {
	if n.Kind != yaml.MappingNode {
		return
	}
	switch md.FullName() {
	case "google.protobuf.Any":
		w.any(n, path)
		return
	case "envoy.config.listener.v3.Listener":
		defer w.on(downstream)()
	case "envoy.config.cluster.v3.Cluster":
		defer w.on(upstream)()
	}
	if md.ParentFile().Package() == "google.protobuf" {
		return
	}
	w.apply(n, path, md.FullName())
	// The rules may have changed what stands in n.
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		fd := fieldOf(md, key.Value)
		if fd == nil {
			continue
		}
		w.field(value, join(path, string(fd.Name())), fd)
	}
}

// on sets the side, and returns what sets it back.
func (w *walker) on(s side) (back func()) {
	before := w.side
	w.side = s
	return func() { w.side = before }
}

func (w *walker) apply(n *yaml.Node, path string, name protoreflect.FullName) {
	m, ok := w.rules[name]
	if !ok {
		return
	}
	o := object{n, path}
	if m.extension != nil {
		w.extension(o, *m.extension)
	}
	for _, r := range m.fields {
		if key, value := tree.Get(n, r.old); key != nil && (r.when == nil || r.when(value)) {
			key, value = tree.Take(n, r.old)
			r.apply(w, o, r, key, value)
		}
	}
	if m.then != nil {
		m.then(w, o)
	}
}

func (w *walker) field(n *yaml.Node, path string, fd protoreflect.FieldDescriptor) {
	switch {
	case fd.IsMap():
		if fd.MapValue().Message() == nil || n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			w.message(n.Content[i+1], path+"["+strconv.Quote(n.Content[i].Value)+"]", fd.MapValue().Message())
		}
	case fd.IsList():
		if n.Kind != yaml.SequenceNode {
			return
		}
		for i, item := range n.Content {
			at := path + "[" + strconv.Itoa(i) + "]"
			if fd.Message() != nil {
				w.message(item, at, fd.Message())
			}
		}
	case fd.Message() != nil:
		w.message(n, path, fd.Message())
	case fd.Enum() != nil:
		w.enum(n, path, fd.Enum().FullName())
	}
}

// enum rewrites a value that was called otherwise.
func (w *walker) enum(n *yaml.Node, path string, name protoreflect.FullName) {
	for _, v := range values[name] {
		if n.Kind == yaml.ScalarNode && (strings.EqualFold(n.Value, v.old) || v.number != "" && n.Value == v.number) {
			w.Note(n, parent(path), "", last(path)+": "+n.Value, v.now, v.why)
			n.Value, n.Tag, n.Style = v.now, "!!str", 0
			return
		}
	}
}

// any rewrites what an Any holds, by its "@type".
func (w *walker) any(n *yaml.Node, path string) {
	_, url := tree.Get(n, "@type")
	if url == nil || url.Kind != yaml.ScalarNode {
		return
	}
	name := w.url(url, path, "@type")
	if name != "xds.type.v3.TypedStruct" && name != "udpa.type.v1.TypedStruct" {
		w.typed(n, path, name)
		return
	}
	_, inner := tree.Get(n, "type_url")
	_, value := tree.Get(n, "value")
	if inner == nil || inner.Kind != yaml.ScalarNode {
		return
	}
	name = w.url(inner, path, "type_url")
	if value != nil && value.Kind == yaml.MappingNode {
		w.typed(value, path, name)
	}
}

// typed rewrites the fields of a message that is named, even if its descriptor is not
// known: of Envoy's messages that nobody here reads, the outermost can be.
func (w *walker) typed(n *yaml.Node, path, name string) {
	if md, ok := w.find(protoreflect.FullName(name)); ok {
		if md.ParentFile().Package() == "google.protobuf" {
			return
		}
		w.message(n, path, md)
		return
	}
	w.apply(n, path, protoreflect.FullName(name))
}

// url rewrites a type URL of v2, and returns the name that it then has.
func (w *walker) url(n *yaml.Node, path, field string) string {
	name := n.Value[strings.LastIndexByte(n.Value, '/')+1:]
	now, ok := w.types[name]
	if !ok {
		return name
	}
	w.Note(n, path, "", field+" "+name, now, "a message of v2 has a name of its own in v3")
	n.Value = typePrefix + now
	return now
}

func fieldOf(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByName(protoreflect.Name(name)); fd != nil {
		return fd
	}
	return md.Fields().ByJSONName(name)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func parent(path string) string { return path[:max(0, strings.LastIndexByte(path, '.'))] }

func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
