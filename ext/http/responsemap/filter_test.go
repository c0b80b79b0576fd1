// SPDX-License-Identifier: Apache-2.0

package responsemap

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
	"weir.dev/weir/xds/typedstruct"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.RunStruct(t, "fields.txt", Type, typedstruct.Fields(settings{})...)
}

// told notes of a response what the router does.
type told struct{}

func (told) Request(*stream.Stream) error { return nil }

func (told) Response(s *stream.Stream) error {
	if !s.Replied() {
		s.Info.Status, _ = strconv.Atoi(string(s.Response.Header.Get(header.Status)))
		s.Info.StatusDetails = "via_upstream"
	}
	return nil
}

// of configures the filter, or a route.
func of(responses string) string {
	return `{"type_url":"type.googleapis.com/` + Type + `","value":{"responses":[` + responses + `]}}`
}

func TestResponse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("%RESPONSE_CODE% of a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := streamtest.Upstream{Status: 503, Header: []string{"retry-after: 9", "content-type: a/b", "content-encoding: gzip"}, Body: streamtest.Pieces("long")}
	for _, tt := range []struct {
		name, config, route, asked string
		up                         streamtest.Upstream
		status                     int
		body, kind, details        string
		kept                       bool
	}{
		{name: "a host's", config: of(`{"status":503,"text_format":"%RESPONSE_CODE% of %REQ(:PATH)%"}`), up: host, status: 503, body: "503 of /", kind: "text/plain", details: "via_upstream", kept: true},
		{name: "content type", config: of(`{"status":503,"text_format":"a","content_type":"text/html"}`), up: host, status: 503, body: "a", kind: "text/html", kept: true},
		{name: "empty", config: of(`{"status":503}`), up: host, status: 503, kind: "text/plain", kept: true},
		{name: "JSON", config: of(`{"status":503,"json_format":{"code":"%RESPONSE_CODE%","x":"1"}}`), up: host, status: 503, body: `{"code":503,"x":"1"}` + "\n", kind: "application/json", kept: true},
		{name: "a file", config: of(`{"status":503,"text_format_file":"` + file + `"}`), up: host, status: 503, body: "503 of a file", kind: "text/plain", kept: true},
		{name: "a file that is not there", config: of(`{"status":503,"text_format_file":"` + file + `x"}`), up: host, status: 503, body: "long", kind: "a/b", kept: true},
		{name: "another status", config: of(`{"status":502}`), up: host, status: 503, body: "long", kind: "a/b", kept: true},
		{name: "the first counts", config: of(`{"status":503,"text_format":"a"},{"status":503}`), up: host, status: 503, body: "a", kind: "text/plain", kept: true},
		{name: "made here", config: of(`{"status":504,"text_format":"instead of %LOCAL_REPLY_BODY%"}`), up: streamtest.Upstream{Err: &stream.Error{Status: 504, Body: "late", Details: "broken"}}, status: 504, body: "instead of late", kind: "text/plain", details: "broken"},
		{name: "by route", config: of(`{"status":503}`), route: of(`{"status":503,"text_format":"route"}`), up: host, status: 503, body: "route", kind: "text/plain", kept: true},
		{name: "none by route", config: of(`{"status":503}`), route: of(``), up: host, status: 503, body: "long", kind: "a/b", kept: true},
		{name: "gRPC", config: of(`{"status":503}`), asked: "content-type: application/grpc", up: host, status: 503, body: "long", kind: "a/b", kept: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.config)
			rig.AddFilter("told", told{})
			rig.Route(streamtest.Route{Filter: Extension(), Entry: tt.route})
			req := streamtest.Request{}
			if tt.asked != "" {
				req.Header = []string{tt.asked}
			}
			res := rig.Run(req, tt.up)
			if res.Status != tt.status || res.Body != tt.body || res.Header.Get("content-type") != tt.kind || (res.Header.Get("retry-after") == "9") != tt.kept {
				t.Errorf("%d %q %v", res.Status, res.Body, res.Header)
			}
			if tt.kind != "a/b" && res.Header.Get("content-encoding") != "" {
				t.Errorf("the body has a coding: %v", res.Header)
			}
			if tt.details != "" && res.Info.StatusDetails != tt.details {
				t.Errorf("the details are %q", res.Info.StatusDetails)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for name, tt := range map[string]struct{ config, want string }{
		"a status":     {of(`{"status":399}`), `value["responses"][0]["status"]: 399 is not from 400 to 599`},
		"two formats":  {of(`{"status":404,"text_format":"a","json_format":{}}`), "there can be one of"},
		"a format":     {of(`{"status":404,"text_format":"%NOTHING%"}`), "NOTHING"},
		"another word": {of(`{"status":404,"text":"a"}`), "unknown field"},
	} {
		if _, err := rig.Compile(Extension(), tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
