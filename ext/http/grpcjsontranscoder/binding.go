// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// binding is a value of the path or the query for a field.
type binding struct {
	fields []protoreflect.FieldDescriptor
	value  string
}

// errUnknownField tells that a message has no such field.
var errUnknownField = errors.New("no such field")

// resolve finds the field of a path such as "book.author", each name as the
// message or its JSON has it.
func resolve(d protoreflect.MessageDescriptor, path []string) ([]protoreflect.FieldDescriptor, error) {
	var fields []protoreflect.FieldDescriptor
	for i, name := range path {
		if d == nil {
			return nil, fmt.Errorf("%w: %s has no fields", errUnknownField, strings.Join(path[:i], "."))
		}
		f := d.Fields().ByName(protoreflect.Name(name))
		if f == nil {
			f = d.Fields().ByJSONName(name)
		}
		if f == nil {
			return nil, fmt.Errorf("%w: could not find field %q in the type %q", errUnknownField, name, d.FullName())
		}
		if i < len(path)-1 && (f.IsList() || f.IsMap()) {
			return nil, fmt.Errorf("%w: %s is repeated", errUnknownField, strings.Join(path[:i+1], "."))
		}
		fields = append(fields, f)
		d = f.Message()
	}
	return fields, nil
}

// apply puts the value into the message. What the body has set stays, unless
// strict refuses that it differs.
func (c *Config) apply(m protoreflect.Message, b *binding, strict bool) error {
	last := len(b.fields) - 1
	parent, present := m, true
	for _, f := range b.fields[:last] {
		present = present && parent.Has(f)
		parent = parent.Mutable(f).Message()
	}
	f := b.fields[last]
	if f.IsMap() {
		return fmt.Errorf("%s: a map cannot be set by a parameter", f.FullName())
	}
	if f.IsList() {
		list := parent.Mutable(f).List()
		v, err := c.parse(f, b.value, func() protoreflect.Value { return list.NewElement() })
		if err != nil {
			return err
		}
		list.Append(v)
		return nil
	}
	v, err := c.parse(f, b.value, func() protoreflect.Value { return parent.NewField(f) })
	if err != nil {
		return err
	}
	if present && parent.Has(f) {
		if strict && !parent.Get(f).Equal(v) {
			return fmt.Errorf("the value of %s in the path or the query differs from the one in the body", f.FullName())
		}
		return nil
	}
	parent.Set(f, v)
	return nil
}

// parse reads a value as it stands in a path or a query.
func (c *Config) parse(f protoreflect.FieldDescriptor, s string, fresh func() protoreflect.Value) (protoreflect.Value, error) {
	var v protoreflect.Value
	var err error
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		v = fresh()
		err = c.parseMessage(v.Message(), s)
	case protoreflect.EnumKind:
		v, err = c.parseEnum(f.Enum(), s)
	default:
		v, err = parseScalar(f.Kind(), s)
	}
	if err != nil {
		return v, fmt.Errorf("%s: %q: %w", f.FullName(), s, err)
	}
	return v, nil
}

var (
	errBool    = errors.New("is neither true nor false")
	errUTF8    = errors.New("is not UTF-8")
	errBase64  = errors.New("is not base64")
	errEnum    = errors.New("is not a value of the enum")
	errMessage = errors.New("is for a message, which has no form in a parameter")
)

func parseScalar(k protoreflect.Kind, s string) (v protoreflect.Value, err error) {
	switch k {
	case protoreflect.BoolKind:
		if s != "true" && s != "false" {
			return v, errBool
		}
		return protoreflect.ValueOfBool(s == "true"), nil
	case protoreflect.StringKind:
		if !utf8.ValidString(s) {
			return v, errUTF8
		}
		return protoreflect.ValueOfString(s), nil
	case protoreflect.BytesKind:
		b, err := parseBase64(s)
		return protoreflect.ValueOfBytes(b), err
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := strconv.ParseInt(s, 10, 32)
		return protoreflect.ValueOfInt32(int32(n)), numError(err)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := strconv.ParseInt(s, 10, 64)
		return protoreflect.ValueOfInt64(n), numError(err)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := strconv.ParseUint(s, 10, 32)
		return protoreflect.ValueOfUint32(uint32(n)), numError(err)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := strconv.ParseUint(s, 10, 64)
		return protoreflect.ValueOfUint64(n), numError(err)
	case protoreflect.FloatKind:
		n, err := parseFloat(s, 32)
		return protoreflect.ValueOfFloat32(float32(n)), err
	default: // DoubleKind
		n, err := parseFloat(s, 64)
		return protoreflect.ValueOfFloat64(n), err
	}
}

func parseFloat(s string, bits int) (float64, error) {
	switch s {
	case "NaN":
		return math.NaN(), nil
	case "Infinity":
		return math.Inf(1), nil
	case "-Infinity":
		return math.Inf(-1), nil
	}
	n, err := strconv.ParseFloat(s, bits)
	return n, numError(err)
}

// numError leaves out what strconv repeats.
func numError(err error) error {
	var ne *strconv.NumError
	if errors.As(err, &ne) {
		return ne.Err
	}
	return err
}

// parseBase64 takes both alphabets, with padding and without.
func parseBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.DecodeString(s)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

func (c *Config) parseEnum(d protoreflect.EnumDescriptor, s string) (protoreflect.Value, error) {
	v := d.Values().ByName(protoreflect.Name(s))
	if v == nil && c.anyCase {
		v = d.Values().ByName(protoreflect.Name(enumName(s)))
	}
	if v != nil {
		return protoreflect.ValueOfEnum(v.Number()), nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return protoreflect.Value{}, errEnum
	}
	return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), nil
}

// parseMessage reads those well-known messages that JSON has as one string or
// number.
func (c *Config) parseMessage(m protoreflect.Message, s string) error {
	d := m.Descriptor()
	quoted, err := json.Marshal(s)
	if err != nil {
		return err
	}
	text := quoted
	switch d.FullName() {
	case "google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask",
		"google.protobuf.StringValue", "google.protobuf.BytesValue", "google.protobuf.Int64Value", "google.protobuf.UInt64Value":
	case "google.protobuf.Int32Value", "google.protobuf.UInt32Value", "google.protobuf.FloatValue", "google.protobuf.DoubleValue":
	case "google.protobuf.BoolValue":
		if s != "true" && s != "false" {
			return errBool
		}
		text = []byte(s)
	default:
		return errMessage
	}
	if err := (protojson.UnmarshalOptions{}).Unmarshal(text, m.Interface()); err != nil {
		return errors.New(plain(err))
	}
	return nil
}

// plain is the text of a protobuf error, which comes with a prefix whose space
// varies.
func plain(err error) string {
	s := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimPrefix(s, "proto: ")
}
