// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Share has a message take the parts of another that say the same as its own: thousands of clusters say most things
// alike. Both have to be of one type, and neither may be changed any more.
func Share(m, of proto.Message) {
	to, from := m.ProtoReflect(), of.ProtoReflect()
	to.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Message() == nil || fd.IsList() || fd.IsMap() || !from.Has(fd) {
			return true
		}
		if other := from.Get(fd); proto.Equal(v.Message().Interface(), other.Message().Interface()) {
			to.Set(fd, other)
		}
		return true
	})
}
