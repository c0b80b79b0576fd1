// SPDX-License-Identifier: Apache-2.0

package responsemap

import (
	"errors"
	"fmt"
	"io/fs"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds/typedstruct"
)

// Name is what filter chains usually call the filter. Envoy has no such filter.
const Name = "weir.filters.http.response_map"

// Type is the type that a TypedStruct names to configure the filter, and a route.
const Type = "weir.dev.filters.http.ResponseMap"

// settings are the fields of the configuration. Those of a route take the place of the
// filter's: with none, its responses stay as they are.
type settings struct {
	// Responses are those that get another body; of two for one status the first counts.
	Responses []response `field:"responses"`
}

// response is a body. Of text_format, text_format_file and json_format there can be one;
// without any, the body is empty.
type response struct {
	// Status is that of the responses, from 400 to 599.
	Status uint32 `field:"status"`
	// TextFormat is the body, with command operators.
	TextFormat string `field:"text_format"`
	// TextFormatFile is a file that has it. Without the file, responses keep their body.
	TextFormatFile string `field:"text_format_file"`
	// JSONFormat has members of an object, whose values are formats.
	JSONFormat map[string]string `field:"json_format"`
	// ContentType is text/plain by default, or application/json of json_format.
	ContentType string `field:"content_type"`
}

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: Name, Config: typedstruct.New(Type), New: newFilter, Route: typedstruct.New(Type), NewRoute: newRoute,
	}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	r, err := compile(cfg, c.Services)
	if err != nil {
		return nil, err
	}
	return &Filter{name: c.Name, rules: r}, nil
}

func newRoute(cfg proto.Message, s *extension.Services) (any, error) { return compile(cfg, s) }

// The statuses that a response may have to get another body.
const (
	lowest  = 400
	highest = 599
)

func compile(cfg proto.Message, s *extension.Services) (*Rules, error) {
	m, ok := cfg.(*xdstypev3.TypedStruct)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a TypedStruct", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	var p settings
	if err := typedstruct.Decode(m, &p); err != nil {
		return nil, fmt.Errorf("typed_config: %w", err)
	}
	out := &Rules{bodies: map[int]*format.Format{}}
	load := format.Loader{Options: format.Options{Hostname: s.Node.Hostname, Multiline: true}}
	for i, r := range p.Responses {
		at := fmt.Sprintf(`typed_config: value["responses"][%d]`, i)
		if r.Status < lowest || r.Status > highest {
			return nil, fmt.Errorf(`%s["status"]: %d is not from %d to %d`, at, r.Status, lowest, highest)
		}
		if _, twice := out.bodies[int(r.Status)]; twice {
			continue
		}
		from, err := r.message()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		body, err := load.Load(from)
		if missing := new(fs.PathError); errors.As(err, &missing) {
			s.Log("config").Warn("responses keep their bodies", "status", r.Status, "error", err.Error())
			body, err = nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		out.bodies[int(r.Status)] = body
	}
	return out, nil
}

// message is the body in Envoy's terms.
func (r *response) message() (*corev3.SubstitutionFormatString, error) {
	n := 0
	for _, has := range []bool{r.TextFormat != "", r.TextFormatFile != "", r.JSONFormat != nil} {
		if has {
			n++
		}
	}
	out := &corev3.SubstitutionFormatString{ContentType: r.ContentType}
	switch {
	case n > 1:
		return nil, errors.New("there can be one of text_format, text_format_file and json_format")
	case r.TextFormatFile != "":
		out.Format = &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_Filename{Filename: r.TextFormatFile},
		}}
	case r.JSONFormat != nil:
		members := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for name, value := range r.JSONFormat {
			members.Fields[name] = structpb.NewStringValue(value)
		}
		out.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: members}
	default:
		out.Format = &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: r.TextFormat},
		}}
	}
	return out, nil
}
