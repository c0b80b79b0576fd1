// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// A mask is a tree of field names; one without children keeps its field whole.
type mask map[protoreflect.Name]mask

// parseMask reads a google.protobuf.FieldMask in its text form: paths with dots between names and commas between paths.
func parseMask(s string) mask {
	root := mask{}
	for path := range strings.SplitSeq(s, ",") {
		at := root
		for name := range strings.SplitSeq(strings.TrimSpace(path), ".") {
			next, ok := at[protoreflect.Name(name)]
			if !ok {
				next = mask{}
				at[protoreflect.Name(name)] = next
			}
			at = next
		}
	}
	return root
}

// trim clears what the mask does not name. It is false, and the message then unusable, if the mask names a field the
// message does not have or goes into a repeated one, as in protobuf's FieldMaskUtil. Going into an Any goes into what it
// holds.
func (k mask) trim(m protoreflect.Message) bool {
	if len(k) == 0 {
		return true
	}
	fields := m.Descriptor().Fields()
	for name, sub := range k {
		fd := fields.ByName(name)
		if fd == nil {
			return false
		}
		if len(sub) == 0 {
			continue
		}
		if fd.Message() == nil || fd.IsList() || fd.IsMap() {
			return false
		}
		if !m.Has(fd) {
			continue
		}
		inner := m.Mutable(fd).Message()
		if a, ok := inner.Interface().(*anypb.Any); ok {
			if !sub.trimAny(a) {
				return false
			}
		} else if !sub.trim(inner) {
			return false
		}
	}
	m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if _, ok := k[fd.Name()]; !ok {
			m.Clear(fd)
		}
		return true
	})
	return true
}

func (k mask) trimAny(a *anypb.Any) bool {
	inner, err := a.UnmarshalNew()
	if err != nil || !k.trim(inner.ProtoReflect()) {
		return false
	}
	return anypb.MarshalFrom(a, inner, proto.MarshalOptions{Deterministic: true}) == nil
}
