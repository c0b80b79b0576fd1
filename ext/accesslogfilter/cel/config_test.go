// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"testing"

	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &celv3.ExpressionFilter{}) }

func TestFilter(t *testing.T) {
	var req, resp header.Map
	req.Add(header.Path, "/api/users")
	req.Add(header.Method, "GET")
	resp.Add(header.Status, "503")
	info := &streaminfo.Stream{Request: &req, Response: &resp, Status: 503}
	newFilter := New()
	tests := []struct {
		expression string
		want       bool
	}{
		{"response.code >= 400", true},
		{"response.code < 400", false},
		{"request.path.startsWith('/api')", true},
		{"request.method == 'POST'", false},
		{"request.headers['x-missing'] == 'a'", false},
	}
	for _, tt := range tests {
		cfg, err := anypb.New(&celv3.ExpressionFilter{Expression: tt.expression})
		if err != nil {
			t.Fatal(err)
		}
		f, err := newFilter(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := f(info, accesslog.DownstreamEnd); got != tt.want {
			t.Errorf("%s: %v", tt.expression, got)
		}
	}
}

func TestBadExpression(t *testing.T) {
	cfg, err := anypb.New(&celv3.ExpressionFilter{Expression: "response.code >="})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New()(cfg); err == nil {
		t.Fatal("a broken expression was taken")
	}
}
