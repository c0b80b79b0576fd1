// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/xds/typedstruct"
)

// wellKnown decodes those of protobuf's own messages that have a form of their own
// in JSON, and reports whether m is one of them.
func (d *decoder) wellKnown(n *yaml.Node, path string, m protoreflect.Message) bool {
	md := m.Descriptor()
	if md.ParentFile().Package() != "google.protobuf" {
		return false
	}
	switch md.Name() {
	case "Any":
		d.any(n, path, m)
	case "Duration":
		d.duration(n, path, m)
	case "Timestamp":
		d.timestamp(n, path, m)
	case "FieldMask":
		d.fieldMask(n, path, m)
	case "Struct":
		if n.Kind != yaml.MappingNode {
			d.mismatch(n, path, "a mapping", "{key: value}")
			return true
		}
		d.mapField(n, path, m, md.Fields().ByName("fields"))
	case "ListValue":
		d.listField(n, path, m, md.Fields().ByName("values"))
	case "Value":
		d.value(n, path, m)
	default:
		if !isWrapper(md) {
			return false
		}
		fd := md.Fields().Get(0)
		if v, ok := d.scalar(n, path, fd); ok {
			m.Set(fd, v)
		}
	}
	return true
}

func isWrapper(md protoreflect.MessageDescriptor) bool {
	return md.ParentFile().Path() == "google/protobuf/wrappers.proto"
}

// duration reads protobuf's form: seconds with at most nine decimals and an "s".
func (d *decoder) duration(n *yaml.Node, path string, m protoreflect.Message) {
	seconds, nanos, ok := parseSeconds(n.Value)
	if n.Kind != yaml.ScalarNode || !ok {
		example := `"0.25s"`
		if n.Kind == yaml.ScalarNode {
			if v, err := time.ParseDuration(n.Value); err == nil {
				example = strconv.Quote(strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s")
			} else if _, err := strconv.ParseFloat(n.Value, 64); err == nil && len(n.Value) < 20 {
				example = strconv.Quote(n.Value + "s")
			}
		}
		d.mismatch(n, path, "a duration in seconds", example)
		return
	}
	// The limit is that of google.protobuf.Duration: 10,000 years.
	if seconds > 315_576_000_000 || seconds < -315_576_000_000 {
		d.problem(n, path, "a duration of more than 10,000 years", "")
		return
	}
	fields := m.Descriptor().Fields()
	m.Set(fields.ByName("seconds"), protoreflect.ValueOfInt64(seconds))
	m.Set(fields.ByName("nanos"), protoreflect.ValueOfInt32(nanos))
}

func parseSeconds(s string) (seconds int64, nanos int32, ok bool) {
	s, ok = strings.CutSuffix(s, "s")
	if !ok {
		return 0, 0, false
	}
	negative := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	whole, part, _ := strings.Cut(s, ".")
	if whole+part == "" || len(part) > 9 || !digits(whole) || !digits(part) {
		return 0, 0, false
	}
	if whole != "" {
		v, err := strconv.ParseInt(whole, 10, 64)
		if err != nil {
			return 0, 0, false
		}
		seconds = v
	}
	if part != "" {
		v, _ := strconv.ParseInt(part+strings.Repeat("0", 9-len(part)), 10, 32)
		nanos = int32(v)
	}
	if negative {
		return -seconds, -nanos, true
	}
	return seconds, nanos, true
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

func (d *decoder) timestamp(n *yaml.Node, path string, m protoreflect.Message) {
	t, err := time.Parse(time.RFC3339Nano, n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || t.Year() < 1 || t.Year() > 9999 {
		d.mismatch(n, path, "a time as in RFC 3339", `"2026-01-31T12:00:00Z"`)
		return
	}
	fields := m.Descriptor().Fields()
	m.Set(fields.ByName("seconds"), protoreflect.ValueOfInt64(t.Unix()))
	m.Set(fields.ByName("nanos"), protoreflect.ValueOfInt32(int32(t.Nanosecond())))
}

// fieldMask reads comma-separated paths; lowerCamel steps become lower_snake.
func (d *decoder) fieldMask(n *yaml.Node, path string, m protoreflect.Message) {
	if n.Kind != yaml.ScalarNode || !d.validText(n, path) {
		if n.Kind != yaml.ScalarNode {
			d.mismatch(n, path, "field names joined by commas", `"name,metadata"`)
		}
		return
	}
	list := m.Mutable(m.Descriptor().Fields().ByName("paths")).List()
	for field := range strings.SplitSeq(n.Value, ",") {
		if field = strings.TrimSpace(field); field == "" {
			continue
		}
		var b strings.Builder
		for _, r := range field {
			if r >= 'A' && r <= 'Z' {
				b.WriteByte('_')
				r += 'a' - 'A'
			}
			b.WriteRune(r)
		}
		list.Append(protoreflect.ValueOfString(b.String()))
	}
}

// value decodes any YAML as google.protobuf.Value.
func (d *decoder) value(n *yaml.Node, path string, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	switch n.Kind {
	case yaml.MappingNode:
		d.message(n, path, m.Mutable(fields.ByName("struct_value")).Message())
		return
	case yaml.SequenceNode:
		d.message(n, path, m.Mutable(fields.ByName("list_value")).Message())
		return
	}
	switch n.ShortTag() {
	case "!!null":
		m.Set(fields.ByName("null_value"), protoreflect.ValueOfEnum(0))
	case "!!bool":
		v, ok := d.boolean(n, path, "value")
		if ok {
			m.Set(fields.ByName("bool_value"), protoreflect.ValueOfBool(v))
		}
	case "!!int", "!!float":
		f, ok := number(n.Value)
		if !ok {
			d.mismatch(n, path, "a finite number", strconv.Quote(n.Value))
			return
		}
		m.Set(fields.ByName("number_value"), protoreflect.ValueOfFloat64(f))
	default:
		if d.validText(n, path) {
			m.Set(fields.ByName("string_value"), protoreflect.ValueOfString(n.Value))
		}
	}
}

func number(s string) (float64, bool) {
	if i, err := strconv.ParseInt(s, 0, 64); err == nil {
		return float64(i), true
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
}

// any decodes {"@type": url, field: ...} into google.protobuf.Any. A TypedStruct is
// resolved to the type it names, so that whoever reads the Any meets one form only;
// one that names an extension of Weir's own, which has no message, stays. An empty
// mapping is an empty Any.
func (d *decoder) any(n *yaml.Node, path string, m protoreflect.Message) {
	if n.Kind != yaml.MappingNode {
		d.mismatch(n, path, "a mapping with \"@type\"", `{"@type": type.googleapis.com/...}`)
		return
	}
	pairs := d.pairs(n, path)
	if len(pairs) == 0 {
		return
	}
	var url *yaml.Node
	for _, p := range pairs {
		if p.key.Value == "@type" {
			url = p.value
		}
	}
	if url == nil {
		d.problem(n, path, `no "@type", and without it the fields have no meaning`, `add "@type": type.googleapis.com/...`)
		return
	}
	inner, ok := d.lookup(url, join(path, "@type"))
	if !ok {
		return
	}
	switch name := inner.Descriptor().FullName(); {
	case name == "xds.type.v3.TypedStruct" || name == "udpa.type.v1.TypedStruct":
		inner, ok = d.typedStruct(n, pairs, path)
		if !ok {
			return
		}
	case hasOwnForm(inner.Descriptor()):
		d.valueOf(n, pairs, path, inner)
	default:
		d.fields(n, pairs, path, inner, map[string]bool{"@type": true})
	}
	d.pack(n, path, m, inner)
}

// lookup makes a new message of the type a URL names.
func (d *decoder) lookup(url *yaml.Node, path string) (protoreflect.Message, bool) {
	url, ok := d.enter(url, path)
	if !ok {
		return nil, false
	}
	defer d.leave()
	if url.Kind != yaml.ScalarNode || url.Value == "" {
		d.mismatch(url, path, "a type URL", "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router")
		return nil, false
	}
	mt, ok := d.types.Find(url.Value)
	if !ok {
		reason, remedy := d.types.explain(url.Value)
		d.problem(url, path, reason, remedy)
		return nil, false
	}
	return mt.New(), true
}

// hasOwnForm reports whether JSON writes the message as something else than a
// mapping of its fields; inside an Any it then stands under "value".
func hasOwnForm(md protoreflect.MessageDescriptor) bool {
	if md.ParentFile().Package() != "google.protobuf" {
		return false
	}
	switch md.Name() {
	case "Any", "Duration", "Timestamp", "FieldMask", "Struct", "ListValue", "Value":
		return true
	}
	return isWrapper(md)
}

func (d *decoder) valueOf(n *yaml.Node, pairs []pair, path string, m protoreflect.Message) {
	found := false
	for _, p := range pairs {
		switch p.key.Value {
		case "@type":
		case "value":
			found = true
			d.pos.at[join(path, "value")] = Position{d.file, p.key.Line, p.key.Column}
			d.message(p.value, join(path, "value"), m)
		default:
			d.problem(p.key, path, "unknown field "+quote(p.key.Value), fmt.Sprintf(`a %s stands under "value"`, m.Descriptor().Name()))
		}
	}
	if !found {
		d.problem(n, path, `no "value"`, "add value: "+exampleOf(m.Descriptor()))
	}
}

// typedStruct decodes the value of a TypedStruct as the type its type_url names.
func (d *decoder) typedStruct(n *yaml.Node, pairs []pair, path string) (protoreflect.Message, bool) {
	var url, value *yaml.Node
	for _, p := range pairs {
		switch p.key.Value {
		case "@type":
		case "type_url", "typeUrl":
			url = p.value
		case "value":
			value = p.value
			d.pos.at[join(path, "value")] = Position{d.file, p.key.Line, p.key.Column}
		default:
			d.problem(p.key, path, "unknown field "+quote(p.key.Value), "a TypedStruct has type_url and value")
		}
	}
	if url == nil {
		d.problem(n, path, "a TypedStruct without type_url", "add type_url: type.googleapis.com/...")
		return nil, false
	}
	if name := nameOf(url.Value); url.Kind == yaml.ScalarNode && typedstruct.Own(name) {
		inner := typedstruct.New(name)
		if value != nil && !isNull(value) {
			inner.Value = &structpb.Struct{}
			d.message(value, join(path, "value"), inner.Value.ProtoReflect())
		}
		return inner.ProtoReflect(), true
	}
	inner, ok := d.lookup(url, join(path, "type_url"))
	if !ok {
		return nil, false
	}
	if value == nil || isNull(value) {
		return inner, true
	}
	value, ok = d.enter(value, path)
	if !ok {
		return nil, false
	}
	defer d.leave()
	if value.Kind != yaml.MappingNode {
		d.mismatch(value, join(path, "value"), "a mapping", "value: "+exampleOf(inner.Descriptor()))
		return nil, false
	}
	d.fields(value, d.pairs(value, path), path, inner, nil)
	return inner, true
}

// pack puts inner into the Any m.
func (d *decoder) pack(n *yaml.Node, path string, m, inner protoreflect.Message) {
	message := inner.Interface()
	value, err := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.Marshal(message)
	if err != nil {
		d.problem(n, path, "encode "+string(inner.Descriptor().FullName())+": "+err.Error(), "")
		return
	}
	d.packed = append(d.packed, packed{path, message})
	fields := m.Descriptor().Fields()
	m.Set(fields.ByName("type_url"), protoreflect.ValueOfString("type.googleapis.com/"+string(inner.Descriptor().FullName())))
	m.Set(fields.ByName("value"), protoreflect.ValueOfBytes(value))
}
