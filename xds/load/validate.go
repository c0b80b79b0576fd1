// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds"
)

// Validate checks a message against the rules its .proto file states (those of
// protoc-gen-validate) and returns one problem for each that is broken, with paths
// that begin with path. It does not look into an Any.
func Validate(m proto.Message, path string) []xds.Problem {
	v, ok := m.(interface{ ValidateAll() error })
	if !ok {
		return nil
	}
	if err := v.ValidateAll(); err != nil {
		return violations(err, path, m.ProtoReflect().Descriptor(), 0)
	}
	return nil
}

// violation is what generated validation errors have in common.
type violation interface {
	Field() string
	Reason() string
	Cause() error
	Key() bool
}

func violations(err error, path string, md protoreflect.MessageDescriptor, depth int) []xds.Problem {
	var out []xds.Problem
	if depth > 200 {
		return nil
	}
	if many, ok := errors.AsType[interface {
		error
		AllErrors() []error
	}](err); ok {
		for _, e := range many.AllErrors() {
			out = append(out, violations(e, path, md, depth+1)...)
		}
		return out
	}
	v, ok := err.(violation) //nolint:errorlint // the generated code does not wrap; Unwrap would skip levels.
	if !ok {
		return []xds.Problem{{Path: path, Reason: err.Error()}}
	}
	at, field, of := step(path, md, v.Field())
	if cause := v.Cause(); cause != nil {
		var inner protoreflect.MessageDescriptor
		if field != nil {
			inner = field.Message()
			if field.IsMap() {
				inner = field.MapValue().Message()
			}
		}
		if nested(cause) {
			return violations(cause, at, inner, depth+1)
		}
		return []xds.Problem{{Path: at, Reason: reword(v.Reason()) + ": " + cause.Error()}}
	}
	p := xds.Problem{Path: at, Reason: reword(v.Reason())}
	if v.Key() {
		p.Reason = "the key " + p.Reason
	}
	switch {
	case of != nil:
		p.Path = path
		p.Reason = "none of " + alternatives(of) + " is given, and one is required"
	case field != nil && v.Reason() == "value is required":
		p.Remedy = "add " + string(field.Name()) + ": " + exampleElement(field)
	}
	return []xds.Problem{p}
}

func nested(err error) bool {
	if _, ok := err.(violation); ok { //nolint:errorlint // see violations.
		return true
	}
	_, ok := err.(interface{ AllErrors() []error }) //nolint:errorlint // see violations.
	return ok
}

// step appends a field, in the generated code's spelling ("VirtualHosts[0]"), to a
// path. For a oneof the path stays and the oneof is returned.
func step(path string, md protoreflect.MessageDescriptor, goField string) (string, protoreflect.FieldDescriptor, protoreflect.OneofDescriptor) {
	goName, rest := goField, ""
	if i := strings.IndexByte(goField, '['); i >= 0 {
		goName, rest = goField[:i], goField[i:]
	}
	if md == nil {
		return join(path, goField), nil, nil
	}
	want := flat(goName)
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if flat(string(fd.Name())) != want {
			continue
		}
		if fd.IsMap() && len(rest) > 2 {
			rest = fmt.Sprintf("[%q]", rest[1:len(rest)-1])
		}
		return join(path, string(fd.Name())) + rest, fd, nil
	}
	for i := range md.Oneofs().Len() {
		if of := md.Oneofs().Get(i); flat(string(of.Name())) == want {
			return path, nil, of
		}
	}
	return join(path, goField), nil, nil
}

func flat(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }

// reword puts a rule of protoc-gen-validate into plain words.
func reword(reason string) string {
	switch reason {
	case "value is required", "value is required and must not be nil.":
		return "is required"
	case "value length must be at least 1 runes", "value length must be at least 1 bytes":
		return "must not be empty"
	case "value must contain at least 1 item(s)":
		return "needs at least one element"
	case "value must be one of the defined enum values":
		return "is not a value of this enum"
	}
	reason = strings.TrimPrefix(reason, "value ")
	for _, r := range [][2]string{
		{"length must be", "must have a length of"},
		{"runes", "characters"},
		{"item(s)", "elements"},
		{"must be inside range", "must be in the range"},
		{"must be greater than or equal to", "must be at least"},
		{"must be less than or equal to", "must be at most"},
	} {
		reason = strings.Replace(reason, r[0], r[1], 1)
	}
	return reason
}
