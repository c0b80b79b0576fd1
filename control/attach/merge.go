// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
)

// Merge returns low with what high says in its place, by the rules of
// docs/design/0006. Neither is changed. It is associative, and both are overlays of
// the same message.
func Merge(low, high graph.Overlay) graph.Overlay {
	switch {
	case high.None():
		return low
	case low.None():
		return high
	}
	m := &merger{}
	out := graph.Overlay{Also: slices.Concat(low.Also, high.Also)}
	switch {
	case low.Message == nil:
		out.Message = high.Message
	default:
		out.Message = proto.Clone(low.Message)
		m.apply(out.Message.ProtoReflect(), high)
	}
	// What made way for another choice must make way in what is below, too.
	out.Also = append(out.Also, m.reset...)
	slices.Sort(out.Also)
	out.Also = slices.Compact(out.Also)
	return out
}

// Apply changes a message to what an overlay of it says.
func Apply(to proto.Message, o graph.Overlay) {
	if !o.None() {
		(&merger{}).apply(to.ProtoReflect(), o)
	}
}

// A Rule is how a field of an overlay meets that of the overlay below.
type Rule int

// The rules. Scalars are Replaced, messages and maps Merged, unless said otherwise.
const (
	// Replaced whole.
	Replaced Rule = iota
	// Merged field by field, key by key.
	Merged
	// ByName merges lists of headers by their names in lower case.
	ByName
	// ByType merges values of type Any that have the same type.
	ByType
	// Never is for lists of filters, which have an order of their own.
	Never
)

// String returns the rule's word.
func (r Rule) String() string {
	return [...]string{"replaced", "merged", "merged by name", "merged by type", "never in overlays"}[r]
}

// values are messages that are one value: half of one is none.
var values = []protoreflect.FullName{
	"google.protobuf.Any",
	"envoy.config.core.v3.Address",
	"envoy.config.core.v3.AsyncDataSource",
	"envoy.config.core.v3.ConfigSource",
	"envoy.config.core.v3.DataSource",
	"envoy.config.core.v3.RuntimeFractionalPercent",
	"envoy.config.core.v3.SubstitutionFormatString",
	"envoy.config.core.v3.TransportSocket",
	"envoy.config.core.v3.TypedExtensionConfig",
	"envoy.config.core.v3.CidrRange",
	"envoy.config.route.v3.RouteMatch",
	"envoy.type.matcher.v3.RegexMatchAndSubstitute",
	"envoy.type.matcher.v3.RegexMatcher",
	"envoy.type.matcher.v3.StringMatcher",
	"envoy.type.v3.FractionalPercent",
	"envoy.type.v3.Percent",
	"xds.core.v3.TypedExtensionConfig",
	"xds.type.matcher.v3.Matcher",
}

// filters are lists of filters.
var filters = []protoreflect.FullName{
	"envoy.config.listener.v3.Filter",
	"envoy.config.listener.v3.FilterChain",
	"envoy.config.listener.v3.ListenerFilter",
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
}

const headerOption = "envoy.config.core.v3.HeaderValueOption"

// RuleOf returns how a field is merged.
func RuleOf(f protoreflect.FieldDescriptor) Rule {
	switch {
	case f.IsMap():
		if v := f.MapValue().Message(); v != nil && v.FullName() == "google.protobuf.Any" {
			return ByType
		}
		return Merged
	case f.IsList():
		switch m := f.Message(); {
		case m != nil && slices.Contains(filters, m.FullName()):
			return Never
		case m != nil && m.FullName() == headerOption, removes(f):
			return ByName
		}
		return Replaced
	case f.Message() == nil, slices.Contains(values, f.Message().FullName()), wellKnown(f.Message()):
		return Replaced
	}
	return Merged
}

// removes reports whether a field has the names of headers that are removed.
func removes(f protoreflect.FieldDescriptor) bool {
	return f.Kind() == protoreflect.StringKind && strings.HasSuffix(string(f.Name()), "_headers_to_remove")
}

// wellKnown reports whether a message is a duration, or a scalar that can be absent.
func wellKnown(m protoreflect.MessageDescriptor) bool {
	return m.ParentFile().Package() == "google.protobuf" && m.FullName() != "google.protobuf.Struct" && m.FullName() != "google.protobuf.Value"
}

// merger merges; reset are the paths of choices that replaced others.
type merger struct{ reset []string }

func (m *merger) apply(to protoreflect.Message, o graph.Overlay) {
	for _, path := range o.Also {
		clearPath(to, path)
	}
	if o.Message != nil {
		m.message(to, o.Message.ProtoReflect(), "")
	}
}

// message merges from into to, which stands at path.
func (m *merger) message(to, from protoreflect.Message, path string) {
	if to.Descriptor() != from.Descriptor() {
		panic(fmt.Sprintf("BUG: an overlay of %s on a %s", from.Descriptor().FullName(), to.Descriptor().FullName()))
	}
	from.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := join(path, string(f.Name()))
		if one := f.ContainingOneof(); one != nil && !one.IsSynthetic() {
			if was := to.WhichOneof(one); was != nil && was != f {
				m.reset = append(m.reset, at)
			}
		}
		switch RuleOf(f) {
		case Never:
			panic(fmt.Sprintf("BUG: %s in an overlay: filters have an order of their own", f.FullName()))
		case ByName:
			byName(to, f, v.List())
		case ByType:
			m.typed(to.Mutable(f).Map(), v.Map(), at)
		case Merged:
			if f.IsMap() {
				m.entries(to.Mutable(f).Map(), f, v.Map(), at)
			} else {
				m.message(to.Mutable(f).Message(), v.Message(), at)
			}
		default:
			replace(to, f, v)
		}
		return true
	})
}

// replace makes v, or a copy of it, the value of a field.
func replace(to protoreflect.Message, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	if !f.IsList() {
		to.Set(f, single(v))
		return
	}
	to.Clear(f)
	list := to.Mutable(f).List()
	for i := range v.List().Len() {
		list.Append(single(v.List().Get(i)))
	}
}

// single copies a message; other values cannot change.
func single(v protoreflect.Value) protoreflect.Value {
	if m, ok := v.Interface().(protoreflect.Message); ok {
		return protoreflect.ValueOfMessage(proto.Clone(m.Interface()).ProtoReflect())
	}
	return v
}

// entries merges a map by key.
func (m *merger) entries(to protoreflect.Map, f protoreflect.FieldDescriptor, from protoreflect.Map, path string) {
	from.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		if f.MapValue().Message() == nil || wellKnown(f.MapValue().Message()) {
			to.Set(k, single(v))
			return true
		}
		m.message(to.Mutable(k).Message(), v.Message(), key(path, k))
		return true
	})
}

// typed merges a map of Any by key: those of one type field by field.
func (m *merger) typed(to, from protoreflect.Map, path string) {
	from.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		high := v.Message().Interface().(*anypb.Any)
		if !to.Has(k) {
			to.Set(k, single(v))
			return true
		}
		low := to.Get(k).Message().Interface().(*anypb.Any)
		a, err1 := low.UnmarshalNew()
		b, err2 := high.UnmarshalNew()
		if low.GetTypeUrl() != high.GetTypeUrl() || err1 != nil || err2 != nil {
			m.reset = append(m.reset, key(path, k))
			to.Set(k, single(v))
			return true
		}
		// What is reset within is not told further: a path does not lead into an Any.
		(&merger{}).message(a.ProtoReflect(), b.ProtoReflect(), "")
		to.Set(k, protoreflect.ValueOfMessage(build.Any(a).ProtoReflect()))
		return true
	})
}

// byName merges headers that are set or removed. What high removes is no longer set
// below, and the reverse.
func byName(to protoreflect.Message, f protoreflect.FieldDescriptor, high protoreflect.List) {
	names := map[string]bool{}
	for i := range high.Len() {
		names[nameIn(high.Get(i))] = true
	}
	keep(to, f, names)
	if other := opposite(f); other != nil {
		keep(to, other, names)
	}
	list := to.Mutable(f).List()
	for i := range high.Len() {
		list.Append(single(high.Get(i)))
	}
}

// keep leaves in a list those without a name among names.
func keep(m protoreflect.Message, f protoreflect.FieldDescriptor, names map[string]bool) {
	var rest []protoreflect.Value
	old := m.Get(f).List()
	for i := range old.Len() {
		if v := old.Get(i); !names[nameIn(v)] {
			rest = append(rest, v)
		}
	}
	if len(rest) == old.Len() {
		return
	}
	m.Clear(f)
	for _, v := range rest {
		m.Mutable(f).List().Append(v)
	}
}

func nameIn(v protoreflect.Value) string {
	if m, ok := v.Interface().(protoreflect.Message); ok {
		return strings.ToLower(m.Interface().(*corev3.HeaderValueOption).GetHeader().GetKey())
	}
	return strings.ToLower(v.String())
}

// opposite returns the list of what is removed for one of what is set, and the reverse.
func opposite(f protoreflect.FieldDescriptor) protoreflect.FieldDescriptor {
	name := string(f.Name())
	if rest, ok := strings.CutSuffix(name, "_to_add"); ok {
		name = rest + "_to_remove"
	} else if rest, ok := strings.CutSuffix(name, "_to_remove"); ok {
		name = rest + "_to_add"
	}
	if name == string(f.Name()) {
		return nil
	}
	return f.ContainingMessage().Fields().ByName(protoreflect.Name(name))
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func key(path string, k protoreflect.MapKey) string {
	return path + "[" + strconv.Quote(k.String()) + "]"
}

// clearPath makes what a path leads to empty, if it is there.
func clearPath(m protoreflect.Message, path string) {
	name, rest := path, ""
	if i := strings.IndexAny(path, ".["); i >= 0 {
		name, rest = path[:i], path[i:]
	}
	f := m.Descriptor().Fields().ByName(protoreflect.Name(name))
	if f == nil {
		panic(fmt.Sprintf("BUG: %s has no field %s", m.Descriptor().FullName(), name))
	}
	if one := f.ContainingOneof(); rest == "" && one != nil {
		// Whoever made the choice ruled the others out: none of them comes back.
		if was := m.WhichOneof(one); was != nil {
			m.Clear(was)
		}
		return
	}
	if rest == "" || !m.Has(f) {
		m.Clear(f)
		if other := opposite(f); other != nil && RuleOf(f) == ByName {
			m.Clear(other) // The same: what was set took others from what is removed.
		}
		return
	}
	if !strings.HasPrefix(rest, "[") {
		clearPath(m.Mutable(f).Message(), rest[1:])
		return
	}
	quoted, err := strconv.QuotedPrefix(rest[1:])
	if err != nil || !f.IsMap() {
		panic("BUG: no key of a map: " + path)
	}
	text, _ := strconv.Unquote(quoted) // It was quoted rightly.
	k := protoreflect.ValueOfString(text).MapKey()
	rest = strings.TrimPrefix(rest[1+len(quoted):], "]")
	if entries := m.Mutable(f).Map(); rest == "" {
		entries.Clear(k)
	} else if entries.Has(k) {
		clearPath(entries.Mutable(k).Message(), rest[1:])
	}
}
