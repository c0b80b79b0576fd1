// SPDX-License-Identifier: Apache-2.0

package csrf

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config) }

const (
	on  = `{"filter_enabled":{"default_value":{"numerator":100}},"additional_origins":[{"exact":"friend.example:8443"},{"suffix":".kin.example"}]}`
	off = `{"filter_enabled":{"default_value":{}}}`
	// shadow is off, and counts.
	shadow = `{"filter_enabled":{"default_value":{}},"shadow_enabled":{"default_value":{"numerator":100}}}`
	keyed  = `{"filter_enabled":{"default_value":{},"runtime_key":"csrf.on"},"shadow_enabled":{"default_value":{},"runtime_key":"csrf.shadow"}}`
)

func TestCSRF(t *testing.T) {
	const valid, invalid, missing = "valid", "invalid", "missing"
	tests := []struct {
		name    string
		config  string
		route   streamtest.Route
		runtime map[string]string
		method  string
		header  []string
		status  int
		counted string
	}{
		{"a read", on, streamtest.Route{}, nil, "GET", []string{"origin: https://evil.example"}, 200, ""},
		{"HEAD", on, streamtest.Route{}, nil, "HEAD", []string{"origin: https://evil.example"}, 200, ""},
		{"a preflight", on, streamtest.Route{}, nil, "OPTIONS", []string{"origin: https://evil.example"}, 200, ""},
		{"its own", on, streamtest.Route{}, nil, "POST", []string{"origin: https://shop.example"}, 200, valid},
		{"its own with a port", on, streamtest.Route{}, nil, "POST", []string{"host: shop.example:8080", "origin: http://shop.example:8080"}, 200, valid},
		{"its own in capitals", on, streamtest.Route{}, nil, "POST", []string{"host: Shop.Example", "origin: https://shop.example"}, 200, valid},
		{"another port", on, streamtest.Route{}, nil, "POST", []string{"host: shop.example:8080", "origin: http://shop.example"}, 403, invalid},
		{"PUT", on, streamtest.Route{}, nil, "PUT", []string{"origin: https://evil.example"}, 403, invalid},
		{"DELETE", on, streamtest.Route{}, nil, "DELETE", []string{"origin: https://evil.example"}, 403, invalid},
		{"PATCH", on, streamtest.Route{}, nil, "PATCH", []string{"origin: https://evil.example"}, 403, invalid},
		{"nothing said", on, streamtest.Route{}, nil, "POST", []string{"x: y"}, 403, missing},
		{"null", on, streamtest.Route{}, nil, "POST", []string{"origin: null"}, 403, invalid},
		{"a referer", on, streamtest.Route{}, nil, "POST", []string{"referer: https://shop.example/cart?x#y"}, 200, valid},
		{"a referer of another", on, streamtest.Route{}, nil, "POST", []string{"referer: https://evil.example/shop.example"}, 403, invalid},
		{"the origin goes before the referer", on, streamtest.Route{}, nil, "POST", []string{"origin: https://evil.example", "referer: https://shop.example/"}, 403, invalid},
		{"a name before an @", on, streamtest.Route{}, nil, "POST", []string{"origin: https://shop.example@evil.example"}, 403, invalid},
		{"a backslash", on, streamtest.Route{}, nil, "POST", []string{`referer: https://evil.example\@shop.example/`}, 403, invalid},
		{"a friend", on, streamtest.Route{}, nil, "POST", []string{"origin: https://friend.example:8443"}, 200, valid},
		{"a friend at another port", on, streamtest.Route{}, nil, "POST", []string{"origin: https://friend.example"}, 403, invalid},
		{"kin", on, streamtest.Route{}, nil, "POST", []string{"origin: https://a.kin.example"}, 200, valid},
		{"off", off, streamtest.Route{}, nil, "POST", []string{"origin: https://evil.example"}, 200, ""},
		{"shadow", shadow, streamtest.Route{}, nil, "POST", []string{"origin: https://evil.example"}, 200, invalid},
		{"a valid shadow", shadow, streamtest.Route{}, nil, "POST", []string{"origin: https://shop.example"}, 200, valid},
		{"on by runtime", keyed, streamtest.Route{}, map[string]string{"csrf.on": "100"}, "POST", []string{"origin: https://evil.example"}, 403, invalid},
		{"shadow by runtime", keyed, streamtest.Route{}, map[string]string{"csrf.shadow": "100"}, "POST", []string{"x: y"}, 200, missing},
		{"off by runtime", keyed, streamtest.Route{}, nil, "POST", []string{"origin: https://evil.example"}, 200, ""},
		{"off for a route", on, streamtest.Route{Host: on, Entry: off}, nil, "POST", []string{"x: y"}, 200, ""},
		{"on for a host", off, streamtest.Route{Table: off, Host: on}, nil, "POST", []string{"x: y"}, 403, missing},
		{"a route's policy replaces the filter's", on, streamtest.Route{Entry: `{"filter_enabled":{"default_value":{"numerator":100}}}`}, nil, "POST", []string{"origin: https://a.kin.example"}, 403, invalid},
		{"disabled", on, streamtest.Route{Entry: streamtest.Disabled}, nil, "POST", []string{"x: y"}, 200, ""},
		{"before a direct response", on, streamtest.Route{Direct: 204}, nil, "POST", []string{"x: y"}, 403, missing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.config)
			tt.route.Filter = Extension()
			rig.Route(tt.route)
			rig.SetRuntime(tt.runtime)
			host := "shop.example"
			if rest, ok := strings.CutPrefix(tt.header[0], "host: "); ok {
				host, tt.header = rest, tt.header[1:]
			}
			res := rig.Run(streamtest.Request{Method: tt.method, Authority: host, Header: tt.header}, streamtest.Upstream{})
			if res.Status != tt.status || res.Called != (tt.status == 200) {
				t.Errorf("status %d, called %v", res.Status, res.Called)
			}
			if tt.status == 403 && (res.Body != "Invalid origin" || res.Info.StatusDetails != "csrf_origin_mismatch") {
				t.Errorf("%q, %s", res.Body, res.Info.StatusDetails)
			}
			counter := func(name string) int64 { return rig.Counter("http.test.csrf." + name) }
			got := fmt.Sprint(counter("request_valid"), counter("request_invalid"), counter("missing_source_origin"))
			want := map[string]string{"": "0 0 0", valid: "1 0 0", invalid: "0 1 0", missing: "0 1 1"}[tt.counted]
			if got != want {
				t.Errorf("valid, invalid and missing are %s, want %s", got, want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for _, bad := range []string{
		`{}`,
		`{"filter_enabled":{}}`,
		`{"filter_enabled":{"default_value":{}},"additional_origins":[{"safe_regex":{"regex":"("}}]}`,
		`{"filter_enabled":{"default_value":{}},"additional_origins":[{}]}`,
	} {
		if _, err := rig.CompileRoute(Extension(), bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), on)
	rig.Route(streamtest.Route{})
	for _, header := range [][]string{{"origin: https://shop.example"}, {"origin: https://a.kin.example"}} {
		if n := rig.Allocs(streamtest.Request{Method: "POST", Authority: "shop.example", Header: header}); n != 0 {
			t.Errorf("%v allocations with %q", n, header)
		}
	}
}
