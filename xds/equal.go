// SPDX-License-Identifier: Apache-2.0

package xds

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Equal reports whether two messages say the same. Those of a kind that is large and is made of shared parts are
// compared by what they do not share.
func Equal(a, b proto.Message) bool {
	if a == b {
		return true
	}
	x, isRoutes := a.(*routev3.RouteConfiguration)
	y, areRoutes := b.(*routev3.RouteConfiguration)
	if isRoutes && areRoutes {
		return equalRoutes(x, y)
	}
	return proto.Equal(a, b)
}

func equalRoutes(a, b *routev3.RouteConfiguration) bool {
	if len(a.GetVirtualHosts()) != len(b.GetVirtualHosts()) {
		return false
	}
	for i, vh := range a.GetVirtualHosts() {
		if other := b.GetVirtualHosts()[i]; vh != other && !proto.Equal(vh, other) {
			return false
		}
	}
	return equalBesides(a.ProtoReflect(), b.ProtoReflect(), "virtual_hosts")
}

// equalBesides reports whether two messages are equal but for one field.
func equalBesides(a, b protoreflect.Message, field protoreflect.Name) bool {
	same, n := true, 0
	a.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Name() != field {
			n++
			same = b.Has(fd) && v.Equal(b.Get(fd))
		}
		return same
	})
	b.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if fd.Name() != field {
			n--
		}
		return true
	})
	return same && n == 0
}
