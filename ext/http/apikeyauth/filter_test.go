// SPDX-License-Identifier: Apache-2.0

package apikeyauth

import (
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config, Extension().Route) }

const own = `{"credentials":[{"key":"k1","client":"one"},{"key":"k2","client":"two"}],
	"key_sources":[{"header":"X-Key"},{"query":"key"},{"cookie":"key"}],"forwarding":{"header":"x-client","hide_credentials":true}}`

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		name, own, route, path string
		header                 []string
		status                 int
		details                string
		upstream               string // the path and the cookies that the host sees
	}{
		{"in a header", own, "", "/a", []string{"x-key: k1", "x-client: eve"}, 200, "", "/a "},
		{"as a bearer", own, "", "/a", []string{"x-key: Bearer k1"}, 200, "", "/a "},
		{"in the query", own, "", "/a?b=c&key=k%31&d", nil, 200, "", "/a?b=c&d "},
		{"in a cookie", own, "", "/a", []string{"cookie: a=b; key=k1; c=d"}, 200, "", "/a a=b; c=d"},
		{"the only cookie", own, "", "/a", []string{"cookie: key=k1"}, 200, "", "/a "},
		{"missing", own, "", "/a", nil, 401, "missing_api_key", ""},
		{"unknown", own, "", "/a", []string{"x-key: k3"}, 401, "unknown_api_key", ""},
		{"the first counts", own, "", "/a?key=k1", []string{"x-key: k3"}, 401, "unknown_api_key", ""},
		{"nothing configured", `{}`, "", "/a", nil, 401, "missing_key_sources", ""},
		{"no credentials", `{"key_sources":[{"header":"x-key"}]}`, "", "/a", nil, 401, "missing_credentials", ""},
		{"allowed for the route", own, `{"allowed_clients":["one"]}`, "/a", []string{"x-key: k1"}, 200, "", "/a "},
		{"not allowed for the route", own, `{"allowed_clients":["two"]}`, "/a", []string{"x-key: k1"}, 403, "client_not_allowed", ""},
		{"credentials of the route", own, `{"credentials":[{"key":"k9","client":"one"}]}`, "/a", []string{"x-key: k9"}, 200, "", "/a "},
		{"not the filter's", own, `{"credentials":[{"key":"k9","client":"one"}]}`, "/a", []string{"x-key: k1"}, 401, "unknown_api_key", ""},
		{"sources of the route", own, `{"key_sources":[{"header":"x-other"}]}`, "/a", []string{"x-other: k1"}, 200, "", "/a "},
		{"forwarding of the route", own, `{"forwarding":{"header":"x-client"}}`, "/a?key=k1", nil, 200, "", "/a?key=k1 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.own)
			rig.Route(streamtest.Route{Filter: Extension(), Entry: tt.route})
			res := rig.Run(streamtest.Request{Path: tt.path, Header: tt.header}, streamtest.Upstream{})
			if res.Status != tt.status || tt.details != "" && res.Info.StatusDetails != tt.details {
				t.Fatalf("%d %s", res.Status, res.Info.StatusDetails)
			}
			name := map[int]string{200: "allowed", 401: "unauthorized", 403: "forbidden"}[tt.status]
			if rig.Counter("http.test.api_key_auth."+name) != 1 {
				t.Error("not counted as " + name)
			}
			if tt.status != 200 {
				return
			}
			path, cookie := "", ""
			for _, l := range res.Upstream.Header {
				if v, ok := strings.CutPrefix(l, ":path: "); ok {
					path = v
				}
				if v, ok := strings.CutPrefix(l, "cookie: "); ok {
					cookie = v
				}
			}
			if path+" "+cookie != tt.upstream || !slices.Contains(res.Upstream.Header, "x-client: one") || slices.Contains(res.Upstream.Header, "x-client: eve") {
				t.Errorf("%q", res.Upstream.Header)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for bad, want := range map[string]string{
		`{"credentials":[{"key":"k","client":"a"},{"key":"k","client":"b"}]}`: "credentials[1].key",
		`{"key_sources":[{}]}`:                 "key_sources[0]: has neither",
		`{"key_sources":[{"header":":path"}]}`: "key_sources[0].header",
		`{"forwarding":{"header":"a b"}}`:      "forwarding.header",
	} {
		if _, err := rig.Compile(Extension(), bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
