// SPDX-License-Identifier: Apache-2.0

package extauthz

import (
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/header"
)

// FuzzParse: no answer breaks a head, whatever it asks for.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"status":{"code":7},"denied_response":{"status":{"code":401},"body":"b","headers":[{"header":{"key":"a","value":"b"}}]}}`,
		`{"ok_response":{"headers":[{"header":{"key":"a\n","value":"b\r\nc: d"},"append":true}],"headers_to_remove":[":path"],"query_parameters_to_set":[{"key":"a","value":"b c"}]}}`,
		`{"error_response":{"status":{"code":500}},"dynamic_metadata":{"a":[1,{"b":null}]}}`,
	} {
		m := &authv3.CheckResponse{}
		if err := protojson.Unmarshal([]byte(s), m); err != nil {
			f.Fatal(err)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parse(b)
		if err != nil {
			return
		}
		var h header.Map
		h.Add(header.Path, "/a?b=c")
		for _, list := range [][]mutation{d.reply, d.request, d.response} {
			for i := range list {
				if list[i].sound() {
					list[i].apply(&h)
				}
			}
		}
		for n, v := range h.All() {
			if strings.ContainsAny(n.String()+string(v), "\r\n\x00") {
				t.Errorf("%q: %q", n, v)
			}
		}
		if p := d.query("/a?b=c"); strings.ContainsAny(p, " \r\n\x00") || p[0] != '/' {
			t.Errorf("path %q", p)
		}
	})
}
