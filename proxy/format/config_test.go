// SPDX-License-Identifier: Apache-2.0

package format

import (
	"io"
	"io/fs"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/cel/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/generic_secret/v3" // a type that is known to protobuf but not here
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func testLoader() *Loader {
	return &Loader{
		Options: testOptions(),
		Formatters: map[string]func(*anypb.Any) (map[string]Constructor, error){
			string((&celv3.Cel{}).ProtoReflect().Descriptor().FullName()): func(*anypb.Any) (map[string]Constructor, error) {
				return map[string]Constructor{"CEL": func(arg string, _ bool) (Operator, error) { return constant("cel " + arg), nil }}, nil
			},
		},
		Open: func(path string) (io.ReadCloser, error) {
			if path != "/f" {
				return nil, fs.ErrNotExist
			}
			return io.NopCloser(strings.NewReader("file %RESPONSE_CODE%")), nil
		},
	}
}

func TestLoad(t *testing.T) {
	const formatter = `{"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.formatter.`
	tests := []struct{ in, want, contentType string }{
		{`{"text_format": "%RESPONSE_CODE% %REQ(X)%"}`, "204 -", "text/plain"},
		{`{"text_format": "%RESPONSE_CODE% %REQ(X)%", "omit_empty_values": true, "content_type": "text/html"}`, "204 ", "text/html"},
		{`{"text_format_source": {"inline_string": "i %REQ(:METHOD)%"}}`, "i POST", "text/plain"},
		{`{"text_format_source": {"inline_bytes": "JVJFUSg6TUVUSE9EKSU="}}`, "POST", "text/plain"},
		{`{"text_format_source": {"inline_bytes": "/wBvaw=="}}`, "\xff\x00ok", "text/plain"},
		{`{"text_format_source": {"filename": "/f"}}`, "file 204", "text/plain"},
		{`{"text_format_source": {"environment_variable": "F"}}`, "env of F", "text/plain"},
		{`{"json_format": {"b": "%RESPONSE_CODE%", "a": [1, true]}, "json_format_options": {"sort_properties": true}}`, `{"a":[1,true],"b":204}` + "\n", "application/json"},
		{`{"text_format": "%METADATA(ROUTE:com.test:none)% %REQ_WITHOUT_QUERY(:PATH)%", "formatters": [` +
			formatter + `metadata.v3.Metadata"}}, ` + formatter + `req_without_query.v3.ReqWithoutQuery"}}]}`, "- /api/v1/locations", "text/plain"},
		{`{"text_format": "%CEL(f(a) || b)%", "formatters": [` + formatter + `cel.v3.Cel"}}]}`, "cel f(a) || b", "text/plain"},
	}
	for _, tt := range tests {
		m := &corev3.SubstitutionFormatString{}
		if err := protojson.Unmarshal([]byte(tt.in), m); err != nil {
			t.Fatal(err)
		}
		before := proto.CloneOf(m)
		f, err := testLoader().Load(m)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if got := string(f.AppendTo(nil, stream())); got != tt.want || f.ContentType() != tt.contentType {
			t.Errorf("%s: got %q (%s)", tt.in, got, f.ContentType())
		}
		if !proto.Equal(m, before) {
			t.Errorf("%s: the message was changed", tt.in)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{}`, "one of text_format"},
		{`{"text_format": "%X%"}`, "text_format: "},
		{`{"text_format_source": {}}`, "text_format_source: one of filename"},
		{`{"text_format_source": {"filename": "/none"}}`, "text_format_source: filename: "},
		{`{"text_format_source": {"filename": "/f", "watched_directory": {"path": "/"}}}`, "watched_directory"},
		{`{"json_format": {"a": null}}`, "json_format.a"},
		{`{"text_format": "", "content_type": "a\r\nb"}`, "content_type"},
		{`{"text_format": "", "formatters": [{"name": "n"}]}`, "formatters[0] (n): typed_config is missing"},
		{`{"text_format": "", "formatters": [{"name": "n", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.formatter.generic_secret.v3.GenericSecret"}}]}`,
			"no formatter extension envoy.extensions.formatter.generic_secret.v3.GenericSecret"},
	}
	for _, tt := range tests {
		m := &corev3.SubstitutionFormatString{}
		if err := protojson.Unmarshal([]byte(tt.in), m); err != nil {
			t.Fatal(err)
		}
		if _, err := testLoader().Load(m); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.in, err, tt.want)
		}
	}
}
