// SPDX-License-Identifier: Apache-2.0

// Package v1 rewrites the JSON that Envoy was configured with until its release 1.9,
// in both of its dialects, as v3. Each object of v1 is a schema here: a table of its
// fields with what each becomes. A field that is in no table is refused, with the
// nearest that is; what has no meaning today is refused or dropped with the reason.
//
// Names and values are passed on as they are where both versions have the same; what
// is wrong with them is told by whoever reads v3.
package v1

import (
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds/legacy/tree"
)

// Old reports whether a bootstrap is of v1: it has its listeners at the top, or
// clusters within cluster_manager.
func Old(root *yaml.Node) bool {
	if key, _ := tree.Get(root, "listeners"); key != nil {
		return true
	}
	_, manager := tree.Get(root, "cluster_manager")
	for _, name := range []string{"clusters", "sds", "cds"} {
		if key, _ := tree.Get(manager, name); key != nil {
			return true
		}
	}
	return false
}

// Upgrade returns a bootstrap of v1, which must be free of aliases, as one of v3.
func Upgrade(root *yaml.Node, report *tree.Report) *yaml.Node {
	c := &conversion{Report: report}
	c.globals(root)
	return c.object(root, "", bootstrap())
}

// conversion is one document on its way.
type conversion struct {
	*tree.Report
	// sds is what the clusters of type sds ask, nil without one.
	sds *discovery
	// limiter is the cluster of the rate limit service.
	limiter string
	// direction of the listener that is being converted: what its filter's tracing
	// says.
	direction string
}

// A schema is one kind of object.
type schema struct {
	// name in words: "listener".
	name string
	// message of v3 that it becomes, or most of it.
	message string
	fields  []field
	// then sees the result, with what the object was.
	then func(c *conversion, o object)
}

// A field of an object.
type field struct {
	name string
	// to is where it goes: a path in the message, or words where it is not one; ""
	// if it means nothing any more, nowhere if it is refused.
	to  string
	why string
	// need is set for what must be there.
	need bool
	// put converts the value. It is nil for what is dropped.
	put func(c *conversion, f field, o object, key, value *yaml.Node)
	// inner is the schema of what stands in the field, for whoever lists all.
	inner func() schema
}

// nowhere is where what is refused goes.
const nowhere = "refused"

// object is one that is being converted.
type object struct {
	// in is of v1, at path; out is what it becomes.
	in, out *yaml.Node
	path    string
}

func (o object) at(field string) string { return join(o.path, field) }

// object converts one object. What is not a mapping is refused, and becomes nil.
func (c *conversion) object(in *yaml.Node, path string, s schema) *yaml.Node {
	o := object{in: in, out: tree.Map(in), path: path}
	if !c.into(o, s) {
		return nil
	}
	return o.out
}

// into converts the fields of an object into o.out.
func (c *conversion) into(o object, s schema) bool {
	if o.in.Kind != yaml.MappingNode {
		c.wrong(o.in, o.path, "a "+s.name)
		return false
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(o.in.Content); i += 2 {
		key, value := o.in.Content[i], o.in.Content[i+1]
		at := slices.IndexFunc(s.fields, func(f field) bool { return f.name == key.Value })
		switch {
		case at < 0:
			c.Unknown(key, o.path, "field", key.Value, s.names(), "a "+s.name+" of v1 has "+s.list())
			continue
		case seen[key.Value]:
			c.Refuse(key, o.path, tree.Quote(key.Value)+" is given twice", "keep one of them")
			continue
		case tree.IsNull(value):
			continue
		}
		seen[key.Value] = true
		f := s.fields[at]
		if f.to != f.name && f.to != nowhere {
			c.note(o, key, f.name, f.to, f.why)
		}
		if f.put != nil {
			f.put(c, f, o, key, value)
		}
	}
	for _, f := range s.fields {
		if f.need && !seen[f.name] {
			c.Refuse(o.in, o.path, "a "+s.name+" without "+f.name, "add "+f.name)
		}
	}
	if s.then != nil {
		s.then(c, o)
	}
	return true
}

func (s schema) names() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, f := range s.fields {
			if !yield(f.name) {
				return
			}
		}
	}
}

// list names the fields, at most ten.
func (s schema) list() string {
	const most = 10
	out := ""
	for i, f := range s.fields {
		if i == most {
			return out + " and others"
		}
		if i > 0 {
			out += ", "
		}
		out += f.name
	}
	if out == "" {
		return "no fields"
	}
	return out
}

func (c *conversion) note(o object, at *yaml.Node, old, now, why string) {
	c.Note(at, o.path, tree.Value(o.in, "name"), old, now, why)
}

// wrong refuses a value that is not of the kind that is wanted.
func (c *conversion) wrong(n *yaml.Node, path, want string) {
	c.Refuse(n, path, "found "+tree.Describe(n)+", want "+want, "")
}

// text returns the value of a scalar, and refuses anything else.
func (c *conversion) text(n *yaml.Node, path string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		c.wrong(n, path, "text")
		return "", false
	}
	return n.Value, true
}

// items returns the elements of a list, and refuses anything else.
func (c *conversion) items(n *yaml.Node, path string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		c.wrong(n, path, "a list")
		return nil
	}
	return n.Content
}

func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
