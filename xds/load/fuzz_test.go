// SPDX-License-Identifier: Apache-2.0

package load

import (
	"os"
	"path/filepath"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/internal/golden"
	"weir.dev/weir/xds"
)

var fuzzLimits = Limits{Bytes: 1 << 16, Nodes: 10_000, Problems: 20}

// FuzzBootstrap proves that no document panics, and that what is accepted can be
// written to the wire.
func FuzzBootstrap(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		in, _ := golden.Parse(string(data)).Get("edge.yaml")
		f.Add([]byte(in))
	}
	f.Add([]byte("{\"node\":{\"id\":\"a\"}}"))
	f.Add([]byte("node: &a {metadata: {x: [1, 2.5, null, yes], <<: *a}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, pos, problems := Bootstrap("fuzz", data, Options{Limits: fuzzLimits})
		for _, p := range problems {
			if p.Reason == "" {
				t.Errorf("a problem without a reason: %+v", p)
			}
			_ = p.Error()
			pos.Line(p.Path)
		}
		if xds.HasErrors(problems) {
			return
		}
		if _, err := proto.Marshal(b); err != nil {
			t.Errorf("accepted, but not encodable: %v", err)
		}
	})
}

// FuzzTypedStruct does the same inside of an Any and a TypedStruct.
func FuzzTypedStruct(f *testing.F) {
	f.Add("type.googleapis.com/envoy.config.core.v3.Node", "{id: a, metadata: {x: 1}}")
	f.Add("envoy.extensions.filters.http.cors.v3.CorsPolicy", "{allow_origin_string_match: [{exact: a}]}")
	f.Add("google.protobuf.Struct", "{a: b}")
	f.Add("xds.type.v3.TypedStruct", "{type_url: xds.type.v3.TypedStruct, value: {}}")
	f.Fuzz(func(_ *testing.T, url, value string) {
		doc := "typed_config:\n  \"@type\": xds.type.v3.TypedStruct\n  type_url: " + quote(url) + "\n  value: " + value
		Message("fuzz", []byte(doc), &corev3.TypedExtensionConfig{}, Options{Limits: fuzzLimits})
		doc = "typed_config:\n  \"@type\": " + quote(url) + "\n  value: " + value
		Message("fuzz", []byte(doc), &corev3.TypedExtensionConfig{}, Options{Limits: fuzzLimits})
	})
}
