// SPDX-License-Identifier: Apache-2.0

package load

import (
	_ "embed" // for known.txt
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"weir.dev/weir/internal/suggest"
	"weir.dev/weir/xds/typedstruct"
)

// knownNames are the messages of Envoy's extensions that are not linked in; ".*"
// ends a line that stands for a whole package.
//
//go:embed known.txt
var knownNames string

// Types finds messages by type URL. It is immutable.
type Types struct {
	messages map[protoreflect.FullName]protoreflect.MessageType
	names    []string // of messages, sorted
	known    []string // of messages that Envoy has and Weir does not, sorted
}

// NewTypes returns the types that the process has linked: those of Envoy's API
// that Weir reads, and protobuf's own.
func NewTypes() *Types {
	t := &Types{
		messages: map[protoreflect.FullName]protoreflect.MessageType{},
		known:    strings.Fields(knownNames),
	}
	add := func(mt protoreflect.MessageType) bool {
		md := mt.Descriptor()
		if md.IsMapEntry() {
			return true
		}
		t.messages[md.FullName()] = mt
		t.names = append(t.names, string(md.FullName()))
		return true
	}
	for _, m := range linked() {
		add(m.ProtoReflect().Type())
	}
	protoregistry.GlobalTypes.RangeMessages(add)
	slices.Sort(t.names)
	t.names = slices.Compact(t.names)
	return t
}

// Find returns the type that a URL names. Any prefix will do, as only what follows
// the last slash counts.
func (t *Types) Find(url string) (protoreflect.MessageType, bool) {
	mt, ok := t.messages[nameOf(url)]
	return mt, ok
}

// Known reports whether the URL names a message of Envoy's that Weir does not read.
func (t *Types) Known(url string) bool {
	name := nameOf(url)
	_, ok := slices.BinarySearch(t.known, string(name))
	if !ok {
		_, ok = slices.BinarySearch(t.known, string(name.Parent())+".*")
	}
	return ok
}

// explain says what is wrong with a type URL that Find does not find, and what
// would be right.
func (t *Types) explain(url string) (reason, remedy string) {
	name := string(nameOf(url))
	if t.Known(url) {
		return "Envoy has " + name + ", and Weir does not support it", "remove it"
	}
	if typedstruct.Own(nameOf(url)) {
		return "an extension of Weir's own has no message", `write "@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: ` + url + " and value"
	}
	reason = "unknown type " + quote(url)
	if strings.Contains(name, ".v2.") || strings.Contains(name, ".v2alpha.") || strings.HasPrefix(name, "envoy.api.v2") {
		reason = name + " is no message of Envoy's API v2, or none that became one of v3"
	}
	if near, ok := t.nearest(name); ok {
		return reason, "did you mean " + quote("type.googleapis.com/"+near) + "?"
	}
	return reason, `a type looks like "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"`
}

// nearest finds the type that a wrong name most likely means: the one that ends
// alike, such as tcp_proxy.v3.TcpProxy for tcp_proxy.v2.TcpProxy, else one with
// very few letters changed. Type names share most of their letters, so that a
// distance in proportion to their length would find a neighbour for anything.
func (t *Types) nearest(name string) (string, bool) {
	if end := ending(name); end != "" {
		best, most := "", 0
		// The filters of API v2 moved here in v3.
		name := strings.Replace(name, "envoy.config.filter.", "envoy.extensions.filters.", 1)
		for _, candidate := range t.names {
			if ending(candidate) != end {
				continue
			}
			if n := shared(name, candidate); n > most {
				best, most = candidate, n
			}
		}
		if best != "" {
			return best, true
		}
	}
	near, ok := suggest.Nearest(name, slices.Values(t.names))
	if !ok {
		return "", false
	}
	if _, ok := suggest.Nearest(lastTwo(name), slices.Values([]string{lastTwo(near)})); !ok {
		return "", false
	}
	return near, true
}

// ending is the message's name and what stands before its version.
func ending(name string) string {
	parts := strings.Split(name, ".")
	n := len(parts)
	if n < 3 || !strings.HasPrefix(parts[n-2], "v") {
		return ""
	}
	return parts[n-3] + "." + parts[n-1]
}

// shared counts the parts of a that are parts of b: http and network tell filters
// of the same name apart.
func shared(a, b string) int {
	n := 0
	parts := strings.Split(b, ".")
	for part := range strings.SplitSeq(a, ".") {
		if slices.Contains(parts, part) {
			n++
		}
	}
	return n
}

func lastTwo(name string) string {
	if end := ending(name); end != "" {
		return end
	}
	return name[strings.LastIndexByte(name, '.')+1:]
}

func nameOf(url string) protoreflect.FullName {
	return protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:])
}
