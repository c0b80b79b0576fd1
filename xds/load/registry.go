// SPDX-License-Identifier: Apache-2.0

package load

import (
	_ "embed" // for known.txt
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"weir.dev/weir/internal/suggest"
)

// knownNames are the messages of Envoy's extensions that are not linked in.
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
	_, ok := slices.BinarySearch(t.known, string(nameOf(url)))
	return ok
}

// explain says what is wrong with a type URL that Find does not find, and what
// would be right.
func (t *Types) explain(url string) (reason, remedy string) {
	name := string(nameOf(url))
	if t.Known(url) {
		return "Envoy has " + name + ", and Weir does not support it", "remove it"
	}
	reason = "unknown type " + quote(url)
	if strings.Contains(name, ".v2.") || strings.Contains(name, ".v2alpha.") || strings.HasPrefix(name, "envoy.api.v2") {
		reason = name + " is of Envoy's API v2, which this file is not in"
	}
	if near, ok := suggest.Nearest(name, t.all()); ok {
		return reason, "did you mean " + quote("type.googleapis.com/"+near) + "?"
	}
	return reason, `a type looks like "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"`
}

func (t *Types) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, list := range [][]string{t.names, t.known} {
			for _, name := range list {
				if !yield(name) {
					return
				}
			}
		}
	}
}

func nameOf(url string) protoreflect.FullName {
	return protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:])
}
