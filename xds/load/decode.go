// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/internal/suggest"
	"weir.dev/weir/xds"
)

// A decoder turns one tree into one message. It goes on after a problem, so that
// one run tells all of them.
type decoder struct {
	file     string
	types    *Types
	limits   Limits
	pos      *Positions
	problems []xds.Problem
	dropped  int // problems beyond the limit
	nodes    int
	depth    int
	stopped  bool // a limit was reached: nothing more is decoded
	packed   []packed
	// root is the tree in v3; unconverted is set where it could not be made whole.
	root        *yaml.Node
	unconverted bool
}

// packed is a message that was put into an Any: validation does not look into an
// Any by itself.
type packed struct {
	path    string
	message proto.Message
}

func (d *decoder) problem(n *yaml.Node, path, reason, remedy string) {
	if len(d.problems) >= d.limits.Problems {
		d.dropped++
		return
	}
	p := xds.Problem{File: d.file, Path: path, Reason: reason, Remedy: remedy}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	d.problems = append(d.problems, p)
}

// enter resolves aliases, counts the visit and goes one level down; leave must
// follow when it returns true.
func (d *decoder) enter(n *yaml.Node, path string) (*yaml.Node, bool) {
	if d.stopped || n == nil {
		return nil, false
	}
	for hops := 0; n.Kind == yaml.AliasNode; hops++ {
		if n.Alias == nil || hops > d.limits.Depth {
			d.stop(n, path, "an alias that leads nowhere", "")
			return nil, false
		}
		n = n.Alias
	}
	// A long path costs memory in Positions, so it counts as more than one value.
	d.nodes += 1 + len(path)/256
	if d.nodes > d.limits.Nodes {
		d.stop(n, path, fmt.Sprintf("the document has more than %d values when its aliases are written out", d.limits.Nodes), "use fewer aliases")
		return nil, false
	}
	if d.depth >= d.limits.Depth {
		d.stop(n, path, fmt.Sprintf("nested more than %d deep", d.limits.Depth), "an alias must not contain itself")
		return nil, false
	}
	d.depth++
	return n, true
}

func (d *decoder) leave() { d.depth-- }

func (d *decoder) stop(n *yaml.Node, path, reason, remedy string) {
	d.problem(n, path, reason, remedy)
	d.stopped = true
}

// pair is one key of a mapping with its value.
type pair struct {
	key, value *yaml.Node
}

// pairs lists a mapping in order, merge keys ("<<") resolved: what is written in
// the mapping itself wins, then earlier merges over later ones.
func (d *decoder) pairs(n *yaml.Node, path string) []pair {
	own := map[string]bool{}
	var out []pair
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.AliasNode && k.Alias != nil {
			k = &yaml.Node{Kind: k.Alias.Kind, Tag: k.Alias.Tag, Value: k.Alias.Value, Line: k.Line, Column: k.Column}
		}
		if k.Kind != yaml.ScalarNode {
			d.problem(k, path, "a key must be a plain text", "")
			continue
		}
		if k.Value == "<<" && k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		if own[k.Value] {
			d.problem(k, path, fmt.Sprintf("%s is given twice", quote(k.Value)), "keep one of them")
			continue
		}
		own[k.Value] = true
		out = append(out, pair{k, v})
	}
	for _, m := range merges {
		out = append(out, d.merged(m, path, own)...)
	}
	return out
}

// merged lists what a merge key brings that is not in own yet.
func (d *decoder) merged(m *yaml.Node, path string, own map[string]bool) []pair {
	m, ok := d.enter(m, path)
	if !ok {
		return nil
	}
	defer d.leave()
	var out []pair
	switch m.Kind {
	case yaml.MappingNode:
		for _, p := range d.pairs(m, path) {
			d.nodes++
			if !own[p.key.Value] {
				own[p.key.Value] = true
				out = append(out, p)
			}
		}
	case yaml.SequenceNode:
		for _, item := range m.Content {
			out = append(out, d.merged(item, path, own)...)
		}
	default:
		d.problem(m, path, `a merge key "<<" wants a mapping, and found `+describe(m), "write <<: *anchor")
	}
	return out
}

// message decodes a node into m, whatever kind of message it is.
func (d *decoder) message(n *yaml.Node, path string, m protoreflect.Message) {
	n, ok := d.enter(n, path)
	if !ok {
		return
	}
	defer d.leave()
	if d.wellKnown(n, path, m) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.mismatch(n, path, "a mapping of "+string(m.Descriptor().Name())+"'s fields", exampleOf(m.Descriptor()))
		return
	}
	d.fields(n, d.pairs(n, path), path, m, nil)
}

// fields decodes a mapping's pairs into the fields of m. Keys in skip are passed over.
func (d *decoder) fields(n *yaml.Node, pairs []pair, path string, m protoreflect.Message, skip map[string]bool) {
	md := m.Descriptor()
	seen := map[protoreflect.FieldNumber]*yaml.Node{}
	oneofs := map[protoreflect.Name]protoreflect.FieldDescriptor{}
	for _, p := range pairs {
		if d.stopped {
			return
		}
		name := p.key.Value
		if skip[name] {
			continue
		}
		fd := fieldByName(md, name)
		if fd == nil {
			d.unknownField(p.key, path, md, name)
			continue
		}
		if first, ok := seen[fd.Number()]; ok {
			d.problem(p.key, path, fmt.Sprintf("%s is given twice, as %s in line %d too", quote(name), quote(first.Value), first.Line), "keep one of them")
			continue
		}
		seen[fd.Number()] = p.key
		at := join(path, string(fd.Name()))
		if isNull(p.value) && !takesNull(fd) {
			continue // unset, as in proto3's JSON mapping.
		}
		if of := fd.ContainingOneof(); of != nil && !of.IsSynthetic() {
			if other, ok := oneofs[of.Name()]; ok {
				d.problem(p.key, path, fmt.Sprintf("%s and %s exclude each other", quote(string(other.Name())), quote(string(fd.Name()))),
					"give one of "+alternatives(of))
				continue
			}
			oneofs[of.Name()] = fd
		}
		d.pos.at[at] = Position{d.file, p.key.Line, p.key.Column}
		d.field(p.value, at, m, fd)
	}
}

func (d *decoder) field(n *yaml.Node, path string, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	switch {
	case fd.IsMap():
		d.mapField(n, path, m, fd)
	case fd.IsList():
		d.listField(n, path, m, fd)
	case fd.Message() != nil:
		d.message(n, path, m.Mutable(fd).Message())
	default:
		if v, ok := d.scalar(n, path, fd); ok {
			m.Set(fd, v)
		}
	}
}

func (d *decoder) listField(n *yaml.Node, path string, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	n, ok := d.enter(n, path)
	if !ok {
		return
	}
	defer d.leave()
	if n.Kind != yaml.SequenceNode {
		d.mismatch(n, path, "a list", string(fd.Name())+": ["+exampleElement(fd)+"]")
		return
	}
	list := m.Mutable(fd).List()
	for i, item := range n.Content {
		if d.stopped {
			return
		}
		at := path + "[" + strconv.Itoa(i) + "]"
		d.pos.at[at] = Position{d.file, item.Line, item.Column}
		if fd.Message() != nil {
			v := list.NewElement()
			if isNull(item) && !takesNull(fd) {
				d.problem(item, at, "an element of a list cannot be null", "remove it")
			} else {
				d.message(item, at, v.Message())
			}
			// The element stays even when it is wrong, so that the paths of those
			// after it stay true.
			list.Append(v)
			continue
		}
		v, ok := d.scalar(item, at, fd)
		if !ok {
			v = list.NewElement()
		}
		list.Append(v)
	}
}

func (d *decoder) mapField(n *yaml.Node, path string, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	n, ok := d.enter(n, path)
	if !ok {
		return
	}
	defer d.leave()
	if n.Kind != yaml.MappingNode {
		d.mismatch(n, path, "a mapping", string(fd.Name())+": {key: "+exampleElement(fd.MapValue())+"}")
		return
	}
	mp := m.Mutable(fd).Map()
	for _, p := range d.pairs(n, path) {
		if d.stopped {
			return
		}
		at := path + "[" + strconv.Quote(p.key.Value) + "]"
		key, ok := d.mapKey(p.key, at, fd.MapKey())
		if !ok {
			continue
		}
		d.pos.at[at] = Position{d.file, p.key.Line, p.key.Column}
		if fd.MapValue().Message() != nil {
			v := mp.NewValue()
			d.message(p.value, at, v.Message())
			mp.Set(key, v)
			continue
		}
		if v, ok := d.scalar(p.value, at, fd.MapValue()); ok {
			mp.Set(key, v)
		}
	}
}

// mapKey reads a key as text whatever it looks like: {200: x} has the key "200".
func (d *decoder) mapKey(k *yaml.Node, path string, fd protoreflect.FieldDescriptor) (protoreflect.MapKey, bool) {
	if fd.Kind() == protoreflect.StringKind {
		return protoreflect.ValueOfString(k.Value).MapKey(), d.validText(k, path)
	}
	v, ok := d.scalar(k, path, fd)
	if !ok {
		return protoreflect.MapKey{}, false
	}
	return v.MapKey(), true
}

func (d *decoder) unknownField(k *yaml.Node, path string, md protoreflect.MessageDescriptor, name string) {
	remedy := ""
	if near, ok := suggest.Nearest(name, fieldNames(md)); ok {
		remedy = "did you mean " + quote(near) + "?"
	} else if fields := md.Fields(); fields.Len() == 0 {
		remedy = string(md.Name()) + " has no fields"
	} else {
		remedy = string(md.Name()) + " has " + listFields(md)
	}
	d.problem(k, path, "unknown field "+quote(name), remedy)
}

func (d *decoder) mismatch(n *yaml.Node, path, want, example string) {
	remedy := ""
	if example != "" {
		remedy = "write " + example
	}
	d.problem(n, path, "found "+describe(n)+", want "+want, remedy)
}

func fieldByName(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByName(protoreflect.Name(name)); fd != nil {
		return fd
	}
	return md.Fields().ByJSONName(name)
}

func fieldNames(md protoreflect.MessageDescriptor) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range md.Fields().Len() {
			if !yield(string(md.Fields().Get(i).Name())) {
				return
			}
		}
	}
}

// listFields names at most eight fields.
func listFields(md protoreflect.MessageDescriptor) string {
	const most = 8
	var names []string
	for name := range fieldNames(md) {
		if len(names) == most {
			return strings.Join(names, ", ") + " and others"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func alternatives(of protoreflect.OneofDescriptor) string {
	var names []string
	for i := range of.Fields().Len() {
		names = append(names, string(of.Fields().Get(i).Name()))
	}
	return strings.Join(names, ", ")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func isNull(n *yaml.Node) bool {
	for hops := 0; n.Kind == yaml.AliasNode && n.Alias != nil && hops < 100; hops++ {
		n = n.Alias
	}
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// takesNull reports whether null is a value of the field and not its absence.
func takesNull(fd protoreflect.FieldDescriptor) bool {
	if fd.Message() != nil {
		return fd.Message().FullName() == "google.protobuf.Value" && !fd.IsMap()
	}
	return fd.Enum() != nil && fd.Enum().FullName() == "google.protobuf.NullValue"
}
