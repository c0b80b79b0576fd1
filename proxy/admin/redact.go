// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"strings"

	udpaannotations "github.com/cncf/xds/go/udpa/annotations"
	udpatypev1 "github.com/cncf/xds/go/udpa/type/v1"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
)

const redacted = "[redacted]"

// redact takes the secrets out of a message: whatever lies in a field marked udpa.annotations.sensitive, or known to be
// secret, at any depth, also inside Any and TypedStruct. Strings and bytes become "[redacted]", other values are cleared.
func redact(m protoreflect.Message, sensitive bool) {
	switch v := m.Interface().(type) {
	case *anypb.Any:
		redactAny(v, sensitive)
		return
	case *udpatypev1.TypedStruct:
		v.Value = redactStruct(v.GetTypeUrl(), v.GetValue(), sensitive)
		return
	case *xdstypev3.TypedStruct:
		v.Value = redactStruct(v.GetTypeUrl(), v.GetValue(), sensitive)
		return
	case *structpb.Value:
		// A Value of nothing has no JSON form, so numbers cannot just be cleared.
		if sensitive && v.GetStructValue() == nil && v.GetListValue() == nil {
			v.Kind = &structpb.Value_StringValue{StringValue: redacted}
			return
		}
	case *fieldmaskpb.FieldMask:
		if sensitive {
			v.Paths = nil
		}
		return
	}
	// A field of a newer definition cannot be told to be harmless; JSON would leave it out anyway.
	m.SetUnknown(nil)
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		hide := sensitive || isSensitive(fd)
		switch {
		case fd.IsMap():
			redactMap(m, fd, v.Map(), hide)
		case fd.Message() != nil && fd.IsList():
			for i := range v.List().Len() {
				redact(v.List().Get(i).Message(), hide)
			}
		case fd.Message() != nil:
			redact(v.Message(), hide)
		case !hide:
		case fd.IsList() && hidden(fd).IsValid():
			for i := range v.List().Len() {
				v.List().Set(i, hidden(fd))
			}
		case hidden(fd).IsValid():
			m.Set(fd, hidden(fd))
		default:
			m.Clear(fd)
		}
		return true
	})
}

func isSensitive(fd protoreflect.FieldDescriptor) bool {
	switch fd.FullName() { // Secrets that Envoy's definitions do not mark.
	case "envoy.extensions.filters.http.aws_lambda.v3.Credentials.secret_access_key",
		"envoy.extensions.filters.http.aws_lambda.v3.Credentials.session_token",
		"envoy.extensions.common.aws.v3.InlineCredentialProvider.session_token",
		"envoy.extensions.common.aws.v3.CredentialsFileCredentialProvider.credentials_data_source",
		"envoy.extensions.common.aws.v3.AssumeRoleWithWebIdentityCredentialProvider.web_identity_token_data_source":
		return true
	}
	s, ok := proto.GetExtension(fd.Options(), udpaannotations.E_Sensitive).(bool)
	return ok && s
}

// hidden is what stands for a value, invalid for kinds that cannot say so.
func hidden(fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(redacted)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(redacted))
	}
	return protoreflect.Value{}
}

func redactMap(m protoreflect.Message, fd protoreflect.FieldDescriptor, kv protoreflect.Map, hide bool) {
	value := fd.MapValue()
	if value.Message() == nil && hide && !hidden(value).IsValid() {
		m.Clear(fd)
		return
	}
	kv.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		if value.Message() != nil {
			redact(v.Message(), hide)
		} else if hide {
			kv.Set(k, hidden(value))
		}
		return true
	})
}

// redactAny opens what is packed. What cannot be opened cannot be searched, nor shown as JSON, so a note takes its place.
func redactAny(a *anypb.Any, sensitive bool) {
	if a.GetTypeUrl() == "" {
		return
	}
	inner, err := a.UnmarshalNew()
	if err == nil {
		redact(inner.ProtoReflect(), sensitive)
		err = anypb.MarshalFrom(a, inner, proto.MarshalOptions{Deterministic: true})
	}
	if err != nil {
		note := &structpb.Struct{Fields: map[string]*structpb.Value{
			"type_url": structpb.NewStringValue(strings.ToValidUTF8(a.GetTypeUrl(), "?")),
			"note":     structpb.NewStringValue("not shown: the type is unknown or its bytes are broken"),
		}}
		if anypb.MarshalFrom(a, note, proto.MarshalOptions{Deterministic: true}) != nil {
			panic("BUG: a struct of strings cannot be packed")
		}
	}
}

// redactStruct redacts a message in the form of a Struct. If its type is unknown or it does not fit, nothing says which
// fields are secret; then all its values are taken for such.
func redactStruct(url string, s *structpb.Struct, sensitive bool) *structpb.Struct {
	if s == nil {
		return nil
	}
	mt, err := protoregistry.GlobalTypes.FindMessageByURL(url)
	if err == nil && !sensitive {
		inner := mt.New().Interface()
		var raw []byte
		if raw, err = protojson.Marshal(s); err == nil {
			err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(raw, inner)
		}
		if err == nil {
			redact(inner.ProtoReflect(), false)
			raw, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(inner)
		}
		out := &structpb.Struct{}
		if err == nil && protojson.Unmarshal(raw, out) == nil {
			return out
		}
	}
	redact(s.ProtoReflect(), true)
	return s
}
