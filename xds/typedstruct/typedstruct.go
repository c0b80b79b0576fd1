// SPDX-License-Identifier: Apache-2.0

// Package typedstruct is how extensions that Envoy does not have are configured:
// by a xds.type.v3.TypedStruct, whose type_url names the extension and whose value
// is read into a Go struct, as strictly as a message is:
//
//	type config struct {
//		Allow map[string][]string `field:"allow"`
//	}
//
// Where a TypedStruct names one of Envoy's own messages, package load resolves it to
// that message, and nobody meets it here.
package typedstruct

import (
	"fmt"
	"strings"

	udpatypev1 "github.com/cncf/xds/go/udpa/type/v1"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// namespace is what the names of all types begin with that are read here.
const namespace = "weir.dev."

// Prefix is what a type URL begins with.
const prefix = "type.googleapis.com/"

// Own reports whether a name is of an extension of Weir's own.
func Own(name protoreflect.FullName) bool { return strings.HasPrefix(string(name), namespace) }

// New returns the TypedStruct, without a value, of the type called name, such as
// weir.dev.filters.http.Misdirected.
func New(name protoreflect.FullName) *xdstypev3.TypedStruct {
	return &xdstypev3.TypedStruct{TypeUrl: prefix + string(name)}
}

// Name is the name of the type that s is of: what follows the last slash of its
// type_url.
func Name(s *xdstypev3.TypedStruct) protoreflect.FullName {
	url := s.GetTypeUrl()
	return protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:])
}

// From returns the TypedStruct that a holds; one of udpa.type.v1 is returned as one
// of xds.type.v3, which has the same fields. It returns nil if a holds something else.
func From(a *anypb.Any) (*xdstypev3.TypedStruct, error) {
	s := &xdstypev3.TypedStruct{}
	switch a.MessageName() {
	case s.ProtoReflect().Descriptor().FullName(), (*udpatypev1.TypedStruct)(nil).ProtoReflect().Descriptor().FullName():
	default:
		return nil, nil
	}
	if err := proto.Unmarshal(a.GetValue(), s); err != nil {
		return nil, fmt.Errorf("read a TypedStruct: %w", err)
	}
	return s, nil
}
