// SPDX-License-Identifier: Apache-2.0

package load

import (
	"encoding/base64"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/internal/suggest"
)

// scalar decodes a node as the element kind of fd. After a problem it returns false.
func (d *decoder) scalar(n *yaml.Node, path string, fd protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	n, ok := d.enter(n, path)
	if !ok {
		return protoreflect.Value{}, false
	}
	defer d.leave()
	name := string(fd.Name())
	if isWrapper(fd.ContainingMessage()) {
		name = "" // "value" is never written.
	}
	if n.Kind != yaml.ScalarNode {
		d.mismatch(n, path, wantOf(fd), example(name, exampleElement(fd)))
		return protoreflect.Value{}, false
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		v, ok := d.boolean(n, path, name)
		return protoreflect.ValueOfBool(v), ok
	case protoreflect.StringKind:
		v, ok := d.text(n, path, name)
		return protoreflect.ValueOfString(v), ok
	case protoreflect.BytesKind:
		v, ok := d.bytes(n, path)
		return protoreflect.ValueOfBytes(v), ok
	case protoreflect.EnumKind:
		v, ok := d.enum(n, path, fd.Enum())
		return protoreflect.ValueOfEnum(v), ok
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		v, ok := d.signed(n, path, name, math.MinInt32, math.MaxInt32)
		return protoreflect.ValueOfInt32(int32(v)), ok
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		v, ok := d.signed(n, path, name, math.MinInt64, math.MaxInt64)
		return protoreflect.ValueOfInt64(v), ok
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		v, ok := d.unsigned(n, path, name, math.MaxUint32)
		return protoreflect.ValueOfUint32(uint32(v)), ok
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		v, ok := d.unsigned(n, path, name, math.MaxUint64)
		return protoreflect.ValueOfUint64(v), ok
	case protoreflect.FloatKind:
		v, ok := d.float(n, path, name, 32)
		return protoreflect.ValueOfFloat32(float32(v)), ok
	case protoreflect.DoubleKind:
		v, ok := d.float(n, path, name, 64)
		return protoreflect.ValueOfFloat64(v), ok
	}
	d.problem(n, path, "a kind of field that is not supported", "")
	return protoreflect.Value{}, false
}

// quoted reports whether a scalar was written as text on purpose.
func quoted(n *yaml.Node) bool {
	const marks = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	return n.Style&marks != 0
}

func (d *decoder) boolean(n *yaml.Node, path, name string) (v, ok bool) {
	if !quoted(n) {
		// YAML 1.1's words, which Envoy takes too.
		switch strings.ToLower(n.Value) {
		case "true", "yes", "on", "y":
			return true, true
		case "false", "no", "off", "n":
			return false, true
		}
	}
	d.mismatch(n, path, "true or false", example(name, "true"))
	return false, false
}

func (d *decoder) text(n *yaml.Node, path, name string) (string, bool) {
	switch n.ShortTag() {
	case "!!int", "!!float", "!!bool", "!!null":
		d.mismatch(n, path, "text", example(name, strconv.Quote(n.Value)))
		return "", false
	}
	return n.Value, d.validText(n, path)
}

func (d *decoder) validText(n *yaml.Node, path string) bool {
	if utf8.ValidString(n.Value) {
		return true
	}
	d.problem(n, path, "text that is not valid UTF-8", "")
	return false
}

func (d *decoder) bytes(n *yaml.Node, path string) ([]byte, bool) {
	text := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", "\n", "").Replace(n.Value), "=")
	v, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		d.problem(n, path, "bytes that are not base64", "write them in base64, or use inline_string where there is one")
		return nil, false
	}
	return v, true
}

func (d *decoder) enum(n *yaml.Node, path string, ed protoreflect.EnumDescriptor) (protoreflect.EnumNumber, bool) {
	if ed.FullName() == "google.protobuf.NullValue" && n.ShortTag() == "!!null" {
		return 0, true
	}
	// Envoy takes lower case too (case_insensitive_enum_parsing in its loader).
	upper := strings.ToUpper(strings.ReplaceAll(n.Value, "-", "_"))
	for _, name := range []string{n.Value, upper} {
		if v := ed.Values().ByName(protoreflect.Name(name)); v != nil {
			return v.Number(), true
		}
	}
	if i, err := strconv.ParseInt(n.Value, 10, 32); err == nil {
		if ed.Values().ByNumber(protoreflect.EnumNumber(i)) != nil {
			return protoreflect.EnumNumber(i), true
		}
	}
	remedy := "want one of " + listValues(ed)
	if near, ok := suggest.Nearest(n.Value, valueNames(ed)); ok {
		remedy = "did you mean " + near + "?"
	}
	d.problem(n, path, fmt.Sprintf("%s is not a value of %s", quote(n.Value), ed.Name()), remedy)
	return 0, false
}

func valueNames(ed protoreflect.EnumDescriptor) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range ed.Values().Len() {
			if !yield(string(ed.Values().Get(i).Name())) {
				return
			}
		}
	}
}

func listValues(ed protoreflect.EnumDescriptor) string {
	const most = 12
	var names []string
	for name := range valueNames(ed) {
		if len(names) == most {
			return strings.Join(names, ", ") + " and others"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func (d *decoder) signed(n *yaml.Node, path, name string, low, high int64) (int64, bool) {
	base := 0
	if quoted(n) {
		base = 10
	}
	v, err := strconv.ParseInt(n.Value, base, 64)
	if err != nil {
		f, whole := wholeFloat(n.Value)
		if !whole || f < -(1<<63) || f >= 1<<63 {
			d.badNumber(n, path, name, fmt.Sprintf("a whole number from %d to %d", low, high))
			return 0, false
		}
		v = int64(f)
	}
	if v < low || v > high {
		d.badNumber(n, path, name, fmt.Sprintf("a whole number from %d to %d", low, high))
		return 0, false
	}
	return v, true
}

func (d *decoder) unsigned(n *yaml.Node, path, name string, high uint64) (uint64, bool) {
	base := 0
	if quoted(n) {
		base = 10
	}
	v, err := strconv.ParseUint(n.Value, base, 64)
	if err != nil {
		f, whole := wholeFloat(n.Value)
		if !whole || f < 0 || f >= 1<<64 {
			d.badNumber(n, path, name, fmt.Sprintf("a whole number from 0 to %d", high))
			return 0, false
		}
		v = uint64(f)
	}
	if v > high {
		d.badNumber(n, path, name, fmt.Sprintf("a whole number from 0 to %d", high))
		return 0, false
	}
	return v, true
}

// wholeFloat reads 1e3 and 2.0, which are whole numbers in JSON.
func wholeFloat(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsInf(f, 0) && f == math.Trunc(f)
}

func (d *decoder) badNumber(n *yaml.Node, path, name, want string) {
	d.mismatch(n, path, want, example(name, "1"))
}

func (d *decoder) float(n *yaml.Node, path, name string, bits int) (float64, bool) {
	s := n.Value
	switch strings.ToLower(s) {
	case ".inf", "+.inf":
		s = "Infinity"
	case "-.inf":
		s = "-Infinity"
	case ".nan":
		s = "NaN"
	}
	if f, err := strconv.ParseFloat(s, bits); err == nil {
		return f, true
	}
	d.mismatch(n, path, "a number", example(name, "0.5"))
	return 0, false
}

// describe says what a node is, in words.
func describe(n *yaml.Node) string {
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
		return "the number " + clip(n.Value)
	case "!!bool":
		return clip(n.Value)
	}
	return "the text " + quote(n.Value)
}

func wantOf(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.StringKind:
		return "text"
	case protoreflect.BytesKind:
		return "bytes in base64"
	case protoreflect.EnumKind:
		return "a value of " + string(fd.Enum().Name())
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "a number"
	}
	return "a whole number"
}

// example shows how a field with a value is written.
func example(name, value string) string {
	if name == "" {
		return value
	}
	return name + ": " + value
}

// exampleElement is a value that fd, or one element of it, could have.
func exampleElement(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return "true"
	case protoreflect.StringKind:
		return `"text"`
	case protoreflect.BytesKind:
		return `"aGVsbG8="`
	case protoreflect.EnumKind:
		return string(fd.Enum().Values().Get(min(1, fd.Enum().Values().Len()-1)).Name())
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return exampleOf(fd.Message())
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "0.5"
	}
	return "1"
}

// exampleOf is a value that a message could have.
func exampleOf(md protoreflect.MessageDescriptor) string {
	switch md.FullName() {
	case "google.protobuf.Duration":
		return `"0.25s"`
	case "google.protobuf.Timestamp":
		return `"2026-01-31T12:00:00Z"`
	case "google.protobuf.Any":
		return `{"@type": type.googleapis.com/...}`
	case "google.protobuf.FieldMask":
		return `"name,metadata"`
	case "google.protobuf.Struct":
		return "{key: value}"
	case "google.protobuf.ListValue":
		return "[value]"
	case "google.protobuf.Value":
		return "value"
	}
	if isWrapper(md) {
		return exampleElement(md.Fields().Get(0))
	}
	if md.Fields().Len() == 0 {
		return "{}"
	}
	return "{" + string(md.Fields().Get(0).Name()) + ": ...}"
}

// quote puts text of any origin into a message: escaped, and short.
func quote(s string) string { return strconv.Quote(clip(s)) }

func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
