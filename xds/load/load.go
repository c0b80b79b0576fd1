// SPDX-License-Identifier: Apache-2.0

// Package load reads Envoy's configuration from YAML and JSON straight into Envoy's
// messages of API v3, and says of each thing it cannot take where it stands, what is
// wrong and what would be right. What is of an older version of the API becomes v3
// first (package legacy).
//
// It follows protobuf's JSON mapping (field names in lower_snake or lowerCamel,
// durations as "0.25s", "@type" in an Any) with the forms of YAML that Envoy takes,
// plus anchors, aliases and merge keys. It is strict: unknown fields, duplicate
// keys, values of the wrong type and broken validation rules are problems. The
// document may be hostile: size, depth, the expansion of aliases and the number of
// problems are limited.
//
// It opens no file: a DataSource stays as it is written. It judges one message at a
// time: names that lead nowhere are the business of package check.
package load

import (
	"fmt"
	"sync"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/legacy"
	"weir.dev/weir/xds/legacy/tree"
)

// builtin is built once, when first needed, and never changed.
var builtin = sync.OnceValue(NewTypes)

// Options change how documents are read. The zero Options are the defaults.
type Options struct {
	// Types finds messages by type URL; nil is all that is linked in.
	Types *Types
	// Limits bound the cost of a document.
	Limits Limits
	// SkipValidation leaves out the rules of protoc-gen-validate.
	SkipValidation bool
	// Note is told of each thing that a document has in the form of an older version
	// of the API, in order; nil tells nobody.
	Note func(xds.Note)
}

// Bootstrap reads a bootstrap. name is the file's name in problems ("-" for what
// has none); the returned message holds what could be read even when there are
// problems, and must then not be used to serve.
func Bootstrap(name string, data []byte, opts Options) (*bootstrapv3.Bootstrap, *Positions, []xds.Problem) {
	b := &bootstrapv3.Bootstrap{}
	positions, problems := Message(name, data, b, opts)
	return b, positions, problems
}

// Document is one piece of configuration text.
type Document struct {
	// Name in problems: a path, or "--config-yaml".
	Name string
	Data []byte
}

// Bootstraps reads several documents into one bootstrap, as Envoy does with its
// --config-path and --config-yaml: each after the first is merged into those before
// as by protobuf's MergeFrom: set scalars replace, lists append, messages merge,
// an Any is replaced whole. The rules are checked on the result alone, so that a
// document may be incomplete by itself.
func Bootstraps(docs []Document, opts Options) (*bootstrapv3.Bootstrap, *Positions, []xds.Problem) {
	out := &bootstrapv3.Bootstrap{}
	positions := newPositions()
	var problems []xds.Problem
	for _, doc := range docs {
		one := &bootstrapv3.Bootstrap{}
		d := decode(doc.Name, doc.Data, one, opts)
		problems = append(problems, d.problems...)
		problems = append(problems, d.validatePacked(opts)...)
		positions.overlay(d.pos, out)
		if _, ok := positions.at[""]; !ok {
			positions.at[""] = d.pos.at[""]
		}
		proto.Merge(out, one)
	}
	if !opts.SkipValidation && len(problems) == 0 {
		problems = append(problems, positions.Locate(Validate(out, ""))...)
	}
	xds.Sort(problems)
	return out, positions, problems
}

// Message reads one document into m, which should be empty.
func Message(name string, data []byte, m proto.Message, opts Options) (*Positions, []xds.Problem) {
	d, problems := message(name, data, m, opts)
	return d.pos, problems
}

// message is Message, and keeps what Convert writes.
func message(name string, data []byte, m proto.Message, opts Options) (*decoder, []xds.Problem) {
	d := decode(name, data, m, opts)
	problems := d.problems
	// Rules are checked on what is whole: a value that could not be read would only
	// be reported a second time, as missing.
	if !opts.SkipValidation && len(problems) == 0 {
		problems = append(problems, d.pos.Locate(Validate(m, ""))...)
		problems = append(problems, d.validatePacked(opts)...)
	}
	xds.Sort(problems)
	return d, problems
}

func decode(name string, data []byte, m proto.Message, opts Options) *decoder {
	if opts.Types == nil {
		opts.Types = builtin()
	}
	d := &decoder{file: name, types: opts.Types, limits: opts.Limits.withDefaults(), pos: newPositions()}
	d.pos.at[""] = Position{File: name, Line: 1, Column: 1}
	root, problem := parse(name, data, d.limits)
	switch {
	case problem != nil:
		d.problems = append(d.problems, *problem)
	case root == nil || isNull(root):
		d.problem(nil, "", "the document is empty", "a bootstrap begins with admin:, node: or static_resources:")
	default:
		d.root = d.upgrade(root, m, opts)
		d.message(d.root, "", m.ProtoReflect())
	}
	if d.dropped > 0 {
		d.problems = append(d.problems, xds.Problem{File: name, Reason: fmt.Sprintf("%d more problems", d.dropped), Remedy: "mend those above first"})
	}
	return d
}

// upgrade rewrites what is of an older version of the API.
func (d *decoder) upgrade(root *yaml.Node, m proto.Message, opts Options) *yaml.Node {
	root, notes, problems := legacy.Upgrade(legacy.Document{
		File: d.file, Root: root, Message: m.ProtoReflect().Descriptor(), Most: d.limits.Problems,
		Limits: tree.Limits{Nodes: d.limits.Nodes, Depth: d.limits.Depth},
		Find: func(name protoreflect.FullName) (protoreflect.MessageDescriptor, bool) {
			mt, ok := d.types.messages[name]
			if !ok {
				return nil, false
			}
			return mt.Descriptor(), true
		},
	})
	d.problems = append(d.problems, problems...)
	d.unconverted = len(problems) > 0
	if opts.Note != nil {
		for _, n := range notes {
			opts.Note(n)
		}
	}
	return root
}

// validatePacked checks the messages that went into an Any.
func (d *decoder) validatePacked(opts Options) []xds.Problem {
	if opts.SkipValidation || len(d.problems) > 0 {
		return nil
	}
	var out []xds.Problem
	for _, p := range d.packed {
		out = append(out, Validate(p.message, p.path)...)
		if len(out) > d.limits.Problems {
			break
		}
	}
	return d.pos.Locate(out)
}
