// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"errors"
	"fmt"
	"os"
	"strings"

	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.grpc_json_transcoder"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:   Name,
		Config: &transcoderv3.GrpcJsonTranscoder{},
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			own, err := compile(cfg)
			if err != nil {
				return nil, err
			}
			return &Filter{name: c.Name, slot: c.Slot, own: own}, nil
		},
		Route:    &transcoderv3.GrpcJsonTranscoder{},
		NewRoute: func(cfg proto.Message, _ *extension.Services) (any, error) { return compile(cfg) },
	}
}

func compile(cfg proto.Message) (*Config, error) {
	m, ok := cfg.(*transcoderv3.GrpcJsonTranscoder)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a GrpcJsonTranscoder", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	c := &Config{disabled: len(m.GetServices()) == 0}
	if c.disabled {
		return c, nil // The descriptors are not even looked at, as in Envoy.
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	c.set(m)
	files, err := readFiles(m)
	if err != nil {
		return nil, err
	}
	c.types = dynamicpb.NewTypes(files)
	c.print.Resolver, c.read.Resolver = c.types, c.types
	for i, name := range m.GetServices() {
		d, err := files.FindDescriptorByName(protoreflect.FullName(name))
		s, ok := d.(protoreflect.ServiceDescriptor)
		if err != nil || !ok {
			return nil, fmt.Errorf("services[%d]: %q is not a service of the descriptor set: name it with its package", i, name)
		}
		for j := range s.Methods().Len() {
			if err := c.addMethod(s.Methods().Get(j), m.GetAutoMapping()); err != nil {
				return nil, fmt.Errorf("services[%d]: %s: %w", i, s.Methods().Get(j).FullName(), err)
			}
		}
	}
	return c, nil
}

// set takes over what needs no descriptors.
func (c *Config) set(m *transcoderv3.GrpcJsonTranscoder) {
	p, v := m.GetPrintOptions(), m.GetRequestValidationOptions()
	c.print = protojson.MarshalOptions{
		UseProtoNames: p.GetPreserveProtoFieldNames(), UseEnumNumbers: p.GetAlwaysPrintEnumsAsInts(), EmitDefaultValues: p.GetAlwaysPrintPrimitiveFields(),
	}
	c.read = protojson.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true, RecursionLimit: maxDepth}
	c.indent, c.lines, c.events = p.GetAddWhitespace(), p.GetStreamNewlineDelimited(), p.GetStreamSseStyleDelimited()
	c.keepRoute, c.convert = m.GetMatchIncomingRequestRoute(), m.GetConvertGrpcStatus()
	c.ignored = map[string]bool{}
	for _, name := range m.GetIgnoredQueryParameters() {
		c.ignored[name] = true
	}
	c.ignoreUnknown, c.capture = m.GetIgnoreUnknownQueryParameters(), m.GetCaptureUnknownQueryParameters()
	switch m.GetUrlUnescapeSpec() {
	case transcoderv3.GrpcJsonTranscoder_ALL_CHARACTERS_EXCEPT_SLASH:
		c.unescape = exceptSlash
	case transcoderv3.GrpcJsonTranscoder_ALL_CHARACTERS:
		c.unescape = everything
	default:
		c.unescape = exceptReserved
	}
	c.plus, c.tree.anyVerb, c.anyCase = m.GetQueryParamUnescapePlus(), m.GetMatchUnregisteredCustomVerb(), m.GetCaseInsensitiveEnumParsing()
	c.rejectMethod, c.rejectParams, c.rejectCollisions = v.GetRejectUnknownMethod(), v.GetRejectUnknownQueryParameters(), v.GetRejectBindingBodyFieldCollisions()
	c.maxRequest, c.maxResponse = stream.DefaultBufferLimit, stream.DefaultBufferLimit
	if n := m.GetMaxRequestBodySize(); n != nil {
		c.maxRequest = int(n.GetValue())
	}
	if n := m.GetMaxResponseBodySize(); n != nil {
		c.maxResponse = int(n.GetValue())
	}
}

func readFiles(m *transcoderv3.GrpcJsonTranscoder) (*protoregistry.Files, error) {
	field, data := "proto_descriptor_bin", m.GetProtoDescriptorBin()
	if name := m.GetProtoDescriptor(); name != "" {
		field = "proto_descriptor"
		var err error
		if data, err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
	}
	const remedy = "make one with protoc --include_imports --descriptor_set_out"
	if len(data) == 0 {
		return nil, fmt.Errorf("%s is empty: give a descriptor set; %s", field, remedy)
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(data, set); err != nil {
		return nil, fmt.Errorf("%s is not a descriptor set (%s): %s", field, plain(err), remedy)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("%s is not complete (%s): %s", field, plain(err), remedy)
	}
	return files, nil
}

// addMethod adds the rules of a method; one without rules is not transcoded.
func (c *Config) addMethod(m protoreflect.MethodDescriptor, auto bool) error {
	r, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if r == nil || r.GetPattern() == nil {
		if !auto {
			return nil
		}
		r = &annotations.HttpRule{
			Pattern: &annotations.HttpRule_Post{Post: fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())}, Body: "*",
		}
	}
	if err := c.addRule(m, r); err != nil {
		return err
	}
	for i, more := range r.GetAdditionalBindings() {
		if len(more.GetAdditionalBindings()) > 0 {
			return fmt.Errorf("additional_bindings[%d] has additional_bindings of its own: put them beside it", i)
		}
		if err := c.addRule(m, more); err != nil {
			return fmt.Errorf("additional_bindings[%d]: %w", i, err)
		}
	}
	return nil
}

func pattern(r *annotations.HttpRule) (method, path string) {
	switch p := r.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return "GET", p.Get
	case *annotations.HttpRule_Put:
		return "PUT", p.Put
	case *annotations.HttpRule_Post:
		return "POST", p.Post
	case *annotations.HttpRule_Delete:
		return "DELETE", p.Delete
	case *annotations.HttpRule_Patch:
		return "PATCH", p.Patch
	case *annotations.HttpRule_Custom:
		return p.Custom.GetKind(), p.Custom.GetPath()
	}
	return "", ""
}

func (c *Config) addRule(m protoreflect.MethodDescriptor, h *annotations.HttpRule) error {
	method, path := pattern(h)
	if method == "" {
		return errors.New("google.api.http has no pattern: give get, put, post, delete, patch or custom")
	}
	tpl, err := parseTemplate(path)
	if err != nil {
		return fmt.Errorf("the path template %q %w", path, err)
	}
	r := &rule{
		method: m, path: fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()), in: m.Input(), out: m.Output(),
		manyIn: m.IsStreamingClient(), manyOut: m.IsStreamingServer(), hasBody: h.GetBody() != "",
	}
	for _, v := range tpl.vars {
		fields, err := resolve(m.Input(), v.path)
		if err != nil {
			return fmt.Errorf("the path template %q: %w", path, err)
		}
		if f := fields[len(fields)-1]; f.IsList() || f.IsMap() {
			return fmt.Errorf("the path template %q: the field %s is repeated: a variable has one value", path, f.FullName())
		}
		r.vars = append(r.vars, bound{v, fields})
	}
	if b := h.GetBody(); b != "" && b != "*" {
		if r.body, err = resolve(m.Input(), strings.Split(b, ".")); err != nil {
			return fmt.Errorf("body: %w", err)
		}
	}
	if b := h.GetResponseBody(); b != "" && b != "*" {
		if r.response, err = resolve(m.Output(), strings.Split(b, ".")); err != nil {
			return fmt.Errorf("response_body: %w", err)
		}
	}
	r.rawIn, r.rawOut = isHTTPBody(m.Input(), r.body), isHTTPBody(m.Output(), r.response)
	if old := c.tree.add(method, tpl, r); old != nil {
		return fmt.Errorf("%s %q already belongs to %s: give one of them another path", method, path, old.method.FullName())
	}
	return nil
}

// unknownParams is the extension of an HttpBody that holds the parameters nobody
// knows.
func unknownParams(params map[string][]string) ([]byte, error) {
	u := &transcoderv3.UnknownQueryParams{Key: map[string]*transcoderv3.UnknownQueryParams_Values{}}
	for name, values := range params {
		u.Key[strings.ToValidUTF8(name, "\ufffd")] = &transcoderv3.UnknownQueryParams_Values{Values: values}
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(u)
}
