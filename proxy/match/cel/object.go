// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"weir.dev/weir/proxy/header"
)

// object is a CEL map whose values are found only when asked for.
type object struct {
	names []string
	get   func(name string) (any, bool)
}

func newObject(names []string, get func(string) (any, bool)) *object {
	return &object{names: names, get: get}
}

// Find returns the value of a key.
func (o *object) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	v, ok := o.get(string(name))
	if !ok {
		return nil, false
	}
	return types.DefaultTypeAdapter.NativeToValue(v), true
}

// Get returns the value of a key, or an error.
func (o *object) Get(key ref.Val) ref.Val {
	if v, ok := o.Find(key); ok {
		return v
	}
	return types.NewErr("no such key: %v", key)
}

// Contains reports whether there is a key.
func (o *object) Contains(key ref.Val) ref.Val {
	_, ok := o.Find(key)
	return types.Bool(ok)
}

// all returns a map of everything, for what is seldom asked: loops,
// comparison, size.
func (o *object) all() traits.Mapper {
	m := make(map[string]any, len(o.names))
	for _, n := range o.names {
		if v, ok := o.get(n); ok {
			m[n] = v
		}
	}
	return types.NewStringInterfaceMap(types.DefaultTypeAdapter, m)
}

// ConvertToNative converts to a Go map.
func (o *object) ConvertToNative(t reflect.Type) (any, error) { return o.all().ConvertToNative(t) }

// ConvertToType converts to a CEL type.
func (o *object) ConvertToType(t ref.Type) ref.Val { return o.all().ConvertToType(t) }

// Equal compares with another map.
func (o *object) Equal(other ref.Val) ref.Val { return o.all().Equal(other) }

// Type is map.
func (o *object) Type() ref.Type { return types.MapType }

// Value returns the object itself.
func (o *object) Value() any { return o }

// Iterator iterates over the keys that have a value.
func (o *object) Iterator() traits.Iterator { return o.all().Iterator() }

// Size returns how many keys have a value.
func (o *object) Size() ref.Val { return o.all().Size() }

// headerObject returns the fields of a head; the values of one name are joined
// by commas.
func headerObject(h *header.Map) *object {
	var names []string
	for n := range h.All() {
		names = append(names, n.String())
	}
	return newObject(names, func(name string) (any, bool) {
		v, ok := h.AppendJoined(nil, header.NewName(name))
		return string(v), ok
	})
}
