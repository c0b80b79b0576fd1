// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"errors"
	"fmt"
	"strings"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/xds/typedstruct"
)

// Decode reads the configuration in a if it is for the extension that is registered
// with want: of the type of want or, if want is a TypedStruct, a TypedStruct of the
// same type_url. Otherwise ok is false. The message may be changed.
func Decode(a *anypb.Any, want proto.Message) (m proto.Message, ok bool, err error) {
	if a == nil {
		return nil, false, nil
	}
	if own, is := want.(*xdstypev3.TypedStruct); is {
		s, err := typedstruct.From(a)
		if err != nil {
			return nil, false, fmt.Errorf("typed_config: %w", err)
		}
		if s == nil || typedstruct.Name(s) != typedstruct.Name(own) {
			return nil, false, nil
		}
		return s, true, nil
	}
	if a.MessageName() != want.ProtoReflect().Descriptor().FullName() {
		return nil, false, nil
	}
	m = want.ProtoReflect().New().Interface()
	if err := a.UnmarshalTo(m); err != nil {
		return nil, false, fmt.Errorf("typed_config: %w", err)
	}
	return m, true, nil
}

// Name is the name of the extension that a configures: that of the message, or that
// which a TypedStruct names.
func Name(a *anypb.Any) string {
	if s, err := typedstruct.From(a); err == nil && s != nil {
		return string(typedstruct.Name(s))
	}
	return string(a.MessageName())
}

// ConfigName is the name of the extension that is registered with want.
func ConfigName(want proto.Message) string {
	if own, is := want.(*xdstypev3.TypedStruct); is {
		return string(typedstruct.Name(own))
	}
	return string(want.ProtoReflect().Descriptor().FullName())
}

// MessageOf is the name of the message that a type URL names.
func MessageOf(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// Unknown tells that no extension is configured by a.
func Unknown(a *anypb.Any) error {
	if a == nil {
		return errors.New("typed_config is missing")
	}
	return fmt.Errorf("typed_config: the extension %s is not supported", Name(a))
}
