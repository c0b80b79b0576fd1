// SPDX-License-Identifier: Apache-2.0

package omithostmetadata

import (
	"testing"

	omithostmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

func TestPredicate(t *testing.T) {
	host := map[string]any{"zone": "a", "weight": 3.0, "tags": []any{"x", "y"}, "on": true}
	for _, c := range []struct {
		name, match string
		refused     bool
	}{
		{"same", `{"zone":"a"}`, true},
		{"other", `{"zone":"b"}`, false},
		{"all must match", `{"zone":"a","weight":4}`, false},
		{"all match", `{"zone":"a","weight":3,"on":true}`, true},
		{"one of a list", `{"tags":"y"}`, true},
		{"none of a list", `{"tags":"z"}`, false},
		{"not there", `{"rack":"1"}`, false},
		{"no keys", `{}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg omithostmetadatav3.OmitHostMetadataConfig
			if err := protojson.Unmarshal([]byte(`{"metadata_match":{"filter_metadata":{"envoy.lb":`+c.match+`}}}`), &cfg); err != nil {
				t.Fatal(err)
			}
			p, err := New(&cfg)
			if err != nil {
				t.Fatal(err)
			}
			h := upstream.NewHost(upstream.Endpoint{Metadata: streaminfo.Metadata{"envoy.lb": host}}, nil, 1)
			if got := p(h, nil); got != c.refused {
				t.Errorf("refused is %v", got)
			}
			if p(upstream.NewHost(upstream.Endpoint{}, nil, 1), nil) {
				t.Error("a host without metadata is refused")
			}
		})
	}
}
