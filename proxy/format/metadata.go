// SPDX-License-Identifier: Apache-2.0

package format

import (
	"encoding/json"
	"fmt"
	"strings"

	"weir.dev/weir/proxy/streaminfo"
)

// metadata picks one of the metadata that a stream has or was matched to.
type metadata func(*streaminfo.Stream) streaminfo.Metadata

// ofConnection is what listener and network filters told of the connection: it
// is part of the dynamic metadata of each of its streams that has no own value.
func ofConnection(s *streaminfo.Stream) streaminfo.Metadata {
	if s.Conn == nil {
		return nil
	}
	return s.Conn.Metadata
}

// kinds are the first argument of %METADATA%.
var kinds = map[string]metadata{
	"DYNAMIC":       func(s *streaminfo.Stream) streaminfo.Metadata { return s.Metadata },
	"CLUSTER":       func(s *streaminfo.Stream) streaminfo.Metadata { return s.ClusterMetadata },
	"ROUTE":         func(s *streaminfo.Stream) streaminfo.Metadata { return s.RouteMetadata },
	"UPSTREAM_HOST": func(s *streaminfo.Stream) streaminfo.Metadata { return s.Upstream.HostMetadata },
	"VIRTUAL_HOST":  func(s *streaminfo.Stream) streaminfo.Metadata { return s.VirtualHostMetadata },
	"LISTENER": func(s *streaminfo.Stream) streaminfo.Metadata {
		if s.Conn == nil {
			return nil
		}
		return s.Conn.ListenerMetadata
	},
	"LISTENER_FILTER_CHAIN": func(s *streaminfo.Stream) streaminfo.Metadata {
		if s.Conn == nil {
			return nil
		}
		return s.Conn.FilterChainMetadata
	},
}

// metadataOf reads "NAMESPACE:KEY:KEY", or the older ["NAMESPACE", "KEY"].
func metadataOf(get ...metadata) Constructor {
	return func(arg string, _ bool) (Operator, error) {
		path := strings.Split(arg, ":")
		if a := strings.TrimSpace(arg); strings.HasPrefix(a, "[") {
			path = nil
			if err := json.Unmarshal([]byte(a), &path); err != nil {
				return Operator{}, fmt.Errorf("%q is not a JSON list of strings: %w", arg, err)
			}
			if len(path) == 0 {
				return Operator{}, fmt.Errorf("%q names no namespace", arg)
			}
		}
		return lookupOp(get, path[0], path[1:]), nil
	}
}

func metadataByKind(arg string, _ bool) (Operator, error) {
	kind, rest, ok := strings.Cut(arg, ":")
	get, known := kinds[kind]
	switch {
	case !known:
		names := make([]string, 0, len(kinds))
		for k := range kinds {
			names = append(names, k)
		}
		return Operator{}, fmt.Errorf("there is no metadata of the type %.40q; the nearest is %s", kind, nearest(kind, names))
	case !ok:
		return Operator{}, fmt.Errorf("%q names no namespace", arg)
	}
	if kind == "DYNAMIC" {
		return metadataOf(get, ofConnection)(rest, true)
	}
	return metadataOf(get)(rest, true)
}

// lookupOp takes the first value that one of the metadata has.
func lookupOp(from []metadata, namespace string, path []string) Operator {
	return valueOp(func(c Context) any {
		for _, get := range from {
			m := get(c.Stream)
			if len(path) == 0 {
				if o := m[namespace]; o != nil {
					return o
				}
			} else if v, ok := m.Lookup(namespace, path...); ok {
				return v
			}
		}
		return nil
	})
}

// valueOp prints a tree of values: a string as it is, anything else as JSON;
// nil is no value.
func valueOp(find func(Context) any) Operator {
	return Operator{
		Text: func(dst []byte, c Context) ([]byte, bool) {
			switch v := find(c).(type) {
			case nil:
				return dst, false
			case string:
				return append(dst, v...), true
			default:
				return AppendJSONValue(dst, v), true
			}
		},
		JSON: func(dst []byte, c Context) ([]byte, bool) {
			v := find(c)
			if v == nil {
				return dst, false
			}
			return AppendJSONValue(dst, v), true
		},
	}
}

// Fielder is a filter state object with named fields (%FILTER_STATE(X:FIELD:f)%).
type Fielder interface {
	// Field returns a string, a number or a boolean, or nil.
	Field(name string) any
}

// Valuer is a filter state object with a structured form
// (%FILTER_STATE(X:TYPED)%). Objects without one print their text.
type Valuer interface {
	// LogValue returns a tree as those of [streaminfo.Metadata].
	LogValue() any
}

// filterState reads "KEY", "KEY:PLAIN", "KEY:TYPED" or "KEY:FIELD:name".
func filterState(get func(*streaminfo.Stream, string) (streaminfo.StateObject, bool)) Constructor {
	return func(arg string, _ bool) (Operator, error) {
		key, rest, _ := strings.Cut(arg, ":")
		style, field, hasField := strings.Cut(rest, ":")
		switch {
		case key == "":
			return Operator{}, fmt.Errorf("%q names no object", arg)
		case (style == "FIELD") != (field != "") || hasField && style != "FIELD":
			return Operator{}, fmt.Errorf("%q: FIELD, and only FIELD, is followed by the name of a field", arg)
		}
		switch style {
		case "PLAIN":
			return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
				o, ok := get(c.Stream, key)
				return append(dst, o.Text...), ok
			}}, nil
		case "FIELD":
			return valueOp(func(c Context) any {
				o, _ := get(c.Stream, key)
				if f, ok := o.Value.(Fielder); ok {
					return f.Field(field)
				}
				return nil
			}), nil
		case "", "TYPED":
			// As text too the typed form is JSON: strings are quoted.
			run := func(dst []byte, c Context) ([]byte, bool) {
				o, ok := get(c.Stream, key)
				if !ok {
					return dst, false
				}
				return appendTyped(dst, o)
			}
			return Operator{Text: run, JSON: run}, nil
		}
		return Operator{}, fmt.Errorf("%q: %q is none of PLAIN, TYPED, FIELD", arg, style)
	}
}

func appendTyped(dst []byte, o streaminfo.StateObject) ([]byte, bool) {
	switch v := o.Value.(type) {
	case Valuer:
		tree := v.LogValue()
		return AppendJSONValue(dst, tree), tree != nil
	case bool, float64, []any, map[string]any:
		return AppendJSONValue(dst, v), true
	}
	return AppendQuoted(dst, o.Text), true
}

func streamState(s *streaminfo.Stream, key string) (streaminfo.StateObject, bool) {
	if o, ok := s.FilterState[key]; ok || s.Conn == nil {
		return o, ok
	}
	o, ok := s.Conn.FilterState[key]
	return o, ok
}

func upstreamState(s *streaminfo.Stream, key string) (streaminfo.StateObject, bool) {
	o, ok := s.Upstream.FilterState[key]
	return o, ok
}

// perRequestState is the older %PER_REQUEST_STATE(KEY)% of header
// manipulation, which is %FILTER_STATE(KEY:PLAIN)%.
func perRequestState(arg string, _ bool) (Operator, error) {
	return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
		o, ok := streamState(c.Stream, arg)
		return append(dst, o.Text...), ok
	}}, nil
}
