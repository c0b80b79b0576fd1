// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// enumName is the name that an enum's value should have: in upper case, with
// underscores.
func enumName(s string) string { return strings.ReplaceAll(strings.ToUpper(s), "-", "_") }

// upperEnums rewrites the JSON of a message so that names of enum values are as
// the message has them.
func upperEnums(text []byte, d protoreflect.MessageDescriptor) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("there is more behind the message")
	}
	return json.Marshal(upperMessage(v, d))
}

func upperMessage(v any, d protoreflect.MessageDescriptor) any {
	o, ok := v.(map[string]any)
	if !ok || strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		return v // Well-known messages have forms of their own, without enums.
	}
	for name, x := range o {
		f := d.Fields().ByJSONName(name)
		if f == nil {
			f = d.Fields().ByTextName(name)
		}
		if f == nil {
			continue
		}
		switch {
		case f.IsMap():
			if m, ok := x.(map[string]any); ok {
				for k, y := range m {
					m[k] = upperValue(y, f.MapValue())
				}
			}
		case f.IsList():
			if l, ok := x.([]any); ok {
				for i, y := range l {
					l[i] = upperValue(y, f)
				}
			}
		default:
			o[name] = upperValue(x, f)
		}
	}
	return o
}

func upperValue(v any, f protoreflect.FieldDescriptor) any {
	if f.Message() != nil {
		return upperMessage(v, f.Message())
	}
	s, ok := v.(string)
	if f.Enum() == nil || !ok || f.Enum().Values().ByName(protoreflect.Name(s)) != nil {
		return v
	}
	if u := enumName(s); f.Enum().Values().ByName(protoreflect.Name(u)) != nil {
		return u
	}
	return v
}
