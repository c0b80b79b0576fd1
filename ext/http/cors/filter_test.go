// SPDX-License-Identifier: Apache-2.0

package cors

import (
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config, Extension().Route)
}

const policy = `{"allow_origin_string_match":[{"exact":"https://a.example"},{"suffix":".b.example"}],
	"allow_methods":"GET, PUT","allow_headers":"x-one","expose_headers":"x-two","max_age":"600","allow_credentials":true}`

func preflight(more ...string) streamtest.Request {
	return streamtest.Request{Method: "OPTIONS", Header: append([]string{"access-control-request-method: PUT"}, more...)}
}

func TestCORS(t *testing.T) {
	simple := func(origin string) streamtest.Request {
		return streamtest.Request{Header: []string{"origin: " + origin}}
	}
	tests := []struct {
		name    string
		route   streamtest.Route
		runtime map[string]string
		req     streamtest.Request
		called  bool
		want    string // the access-control headers without their prefix
		valid   int64
		invalid int64
	}{
		{"no origin", streamtest.Route{Entry: policy}, nil, streamtest.Request{}, true, "", 0, 0},
		{"no policy", streamtest.Route{}, nil, simple("https://a.example"), true, "", 0, 0},
		{"simple", streamtest.Route{Entry: policy}, nil, simple("https://a.example"), true,
			"allow-origin=https://a.example allow-credentials=true expose-headers=x-two", 1, 0},
		{"simple by suffix", streamtest.Route{Host: policy}, nil, simple("https://x.b.example"), true,
			"allow-origin=https://x.b.example allow-credentials=true expose-headers=x-two", 1, 0},
		{"other origin", streamtest.Route{Table: policy}, nil, simple("https://evil.example"), true, "", 0, 1},
		{"preflight", streamtest.Route{Entry: policy}, nil, preflight("origin: https://a.example"), false,
			"allow-origin=https://a.example allow-credentials=true allow-methods=GET, PUT allow-headers=x-one max-age=600 expose-headers=x-two", 1, 0},
		{"options without a method asked for", streamtest.Route{Entry: policy}, nil,
			streamtest.Request{Method: "OPTIONS", Header: []string{"origin: https://a.example"}}, true,
			"allow-origin=https://a.example allow-credentials=true expose-headers=x-two", 1, 0},
		{"preflight of another origin is forwarded", streamtest.Route{Entry: policy}, nil, preflight("origin: https://evil.example"), true, "", 0, 1},
		{"preflight of another origin is answered",
			streamtest.Route{Entry: `{"allow_origin_string_match":[{"exact":"https://a.example"}],"allow_methods":"GET","forward_not_matching_preflights":false}`},
			nil, preflight("origin: https://evil.example"), false, "allow-methods=GET", 0, 1},
		{"stars", streamtest.Route{Entry: `{"allow_origin_string_match":[{"exact":"*"}],"allow_methods":"*","allow_headers":"*"}`}, nil,
			preflight("origin: https://any.example", "access-control-request-headers: x-a, x-b"), false,
			"allow-origin=https://any.example allow-methods=PUT allow-headers=x-a, x-b", 1, 0},
		{"private network", streamtest.Route{Entry: `{"allow_origin_string_match":[{"prefix":"https"}],"allow_private_network_access":true}`}, nil,
			preflight("origin: https://a.example", "access-control-request-private-network: true"), false,
			"allow-origin=https://a.example allow-private-network=true", 1, 0},
		{"private network not asked for", streamtest.Route{Entry: `{"allow_origin_string_match":[{"prefix":"https"}],"allow_private_network_access":true}`}, nil,
			preflight("origin: https://a.example"), false, "allow-origin=https://a.example", 1, 0},
		{"levels are merged by field", streamtest.Route{
			Table: `{"max_age":"1","expose_headers":"x-table"}`,
			Host:  `{"allow_origin_string_match":[{"prefix":"https"}],"max_age":"2","allow_credentials":true}`,
			Entry: `{"allow_methods":"DELETE","allow_credentials":false}`,
		}, nil, preflight("origin: https://a.example"), false,
			"allow-origin=https://a.example allow-methods=DELETE max-age=2 expose-headers=x-table", 1, 0},
		{"disabled for the route", streamtest.Route{Host: policy, Entry: streamtest.Disabled}, nil, simple("https://a.example"), true, "", 0, 0},
		{"switched off", streamtest.Route{Entry: `{"allow_origin_string_match":[{"prefix":"https"}],"filter_enabled":{"default_value":{}}}`}, nil,
			preflight("origin: https://a.example"), true, "", 0, 0},
		{"shadow", streamtest.Route{Entry: `{"allow_origin_string_match":[{"prefix":"https"}],"filter_enabled":{"default_value":{}},"shadow_enabled":{"default_value":{"numerator":100}}}`}, nil,
			preflight("origin: https://a.example"), true, "", 1, 0},
		{"switched on by runtime", streamtest.Route{Entry: `{"allow_origin_string_match":[{"prefix":"https"}],"filter_enabled":{"default_value":{},"runtime_key":"cors.on"}}`},
			map[string]string{"cors.on": "100"}, simple("https://a.example"), true, "allow-origin=https://a.example", 1, 0},
		{"deprecated", streamtest.Route{HostCORS: policy}, nil, simple("https://a.example"), true,
			"allow-origin=https://a.example allow-credentials=true expose-headers=x-two", 1, 0},
		{"deprecated at both levels", streamtest.Route{HostCORS: policy, EntryCORS: `{"allow_methods":"POST"}`}, nil, preflight("origin: https://a.example"), false,
			"allow-origin=https://a.example allow-methods=POST allow-headers=x-one max-age=600 expose-headers=x-two", 1, 0},
		{"deprecated is not looked at beside the new", streamtest.Route{HostCORS: policy, Entry: `{"max_age":"1"}`}, nil, simple("https://a.example"), true, "", 0, 1},
		{"not for direct responses", streamtest.Route{Host: policy, Direct: 204}, nil, simple("https://a.example"), true, "", 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), `{}`)
			tt.route.Filter = Extension()
			rig.Route(tt.route)
			rig.SetRuntime(tt.runtime)
			res := rig.Run(tt.req, streamtest.Upstream{Header: []string{"x-two: 2"}})
			if res.Status != 200 || res.Called != tt.called {
				t.Errorf("status %d, upstream called: %v", res.Status, res.Called)
			}
			if !tt.called && res.Info.StatusDetails != "cors_response" {
				t.Errorf("details: %s", res.Info.StatusDetails)
			}
			var got []string
			for _, l := range res.Header {
				if rest, ok := strings.CutPrefix(l, "access-control-"); ok {
					got = append(got, strings.Replace(rest, ": ", "=", 1))
				}
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("got  %s\nwant %s", g, tt.want)
			}
			if v, i := rig.Counter("http.test.cors.origin_valid"), rig.Counter("http.test.cors.origin_invalid"); v != tt.valid || i != tt.invalid {
				t.Errorf("valid %d, invalid %d", v, i)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for _, bad := range []string{
		`{"allow_origin_string_match":[{"safe_regex":{"regex":"("}}]}`,
		`{"allow_origin_string_match":[{}]}`,
		`{"filter_enabled":{}}`,
	} {
		if _, err := rig.CompileRoute(Extension(), bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{}`)
	rig.Route(streamtest.Route{Filter: Extension(), Entry: policy})
	if n := rig.Allocs(streamtest.Request{}); n != 0 {
		t.Errorf("%v allocations without an origin", n)
	}
	if n := rig.Allocs(streamtest.Request{Header: []string{"origin: https://a.example"}}); n != 0 {
		t.Errorf("%v allocations with an origin", n)
	}
}
