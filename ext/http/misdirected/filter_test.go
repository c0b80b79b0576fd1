// SPDX-License-Identifier: Apache-2.0

package misdirected

import (
	"crypto/x509"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/xds/ledger/ledgertest"
	"weir.dev/weir/xds/typedstruct"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.RunStruct(t, "fields.txt", Type, typedstruct.Fields(settings{})...)
}

// connected gives requests the connection they came by.
type connected struct{ conn *streaminfo.Connection }

func (c connected) Request(s *stream.Stream) error {
	s.Info.Conn = c.conn
	return nil
}

func (connected) Response(*stream.Stream) error { return nil }

const named = `{"value":{"allow":{"www.example.com":["example.com","*.static.example.com"],"*.api.example.com":["*.api.example.com"]}}}`

func TestMisdirected(t *testing.T) {
	leaf := tlstest.NewCA(t, "ca").Issue(t, tlstest.Leaf{DNS: []string{"www.example.com", "*.example.com"}}).Cert
	tests := []struct {
		name, config, sni string
		request           streamtest.Request
		cert              *x509.Certificate
		cleartext         bool
		want              int
	}{
		{"the same name", `{}`, "www.example.com", streamtest.Request{Authority: "www.example.com"}, leaf, false, 200},
		{"with a port", `{}`, "www.example.com", streamtest.Request{Authority: "www.example.com:8443"}, leaf, false, 200},
		{"in upper case, with a dot", `{}`, "www.example.com", streamtest.Request{Authority: "WWW.Example.com.:443"}, leaf, false, 200},
		{"another name", `{}`, "www.example.com", streamtest.Request{Authority: "shop.example.com"}, leaf, false, 421},
		{"a longer name", `{}`, "example.com", streamtest.Request{Authority: "www.example.com"}, leaf, false, 421},
		{"an address", `{}`, "www.example.com", streamtest.Request{Authority: "[::1]:443"}, leaf, false, 421},
		{"no authority", `{}`, "www.example.com", streamtest.Request{Authority: ":443"}, leaf, false, 421},
		{"no server name", `{}`, "", streamtest.Request{Authority: "shop.example.com"}, leaf, false, 200},
		{"cleartext", `{}`, "www.example.com", streamtest.Request{Authority: "shop.example.com"}, nil, true, 200},
		{"connect", `{}`, "www.example.com", streamtest.Request{Method: "CONNECT", Authority: "db:5432"}, leaf, false, 200},
		{"extended connect", `{}`, "www.example.com", streamtest.Request{Method: "CONNECT", Authority: "db:5432", Header: []string{":protocol: websocket"}}, leaf, false, 421},
		{"allowed", named, "www.example.com", streamtest.Request{Authority: "Example.com"}, leaf, false, 200},
		{"allowed below", named, "WWW.example.com", streamtest.Request{Authority: "a.b.static.example.com"}, leaf, false, 200},
		{"the wildcard's own name", named, "www.example.com", streamtest.Request{Authority: "static.example.com"}, leaf, false, 421},
		{"allowed, the other way", named, "example.com", streamtest.Request{Authority: "www.example.com"}, leaf, false, 421},
		{"wildcards", named, "a.api.example.com", streamtest.Request{Authority: "b.api.example.com"}, leaf, false, 200},
		{"the certificate's", `{"value":{"accept_certificate_names":true}}`, "www.example.com", streamtest.Request{Authority: "shop.example.com"}, leaf, false, 200},
		{"not the certificate's", `{"value":{"accept_certificate_names":true}}`, "www.example.com", streamtest.Request{Authority: "a.b.example.com"}, leaf, false, 421},
		{"no certificate known", `{"value":{"accept_certificate_names":true}}`, "www.example.com", streamtest.Request{Authority: "shop.example.com"}, nil, false, 421},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			conn := &streaminfo.Connection{ServerName: tt.sni}
			if !tt.cleartext {
				conn.TLS = &streaminfo.TLS{LocalCert: tt.cert}
			}
			rig.AddFilter("conn", connected{conn})
			rig.Add(Extension(), tt.config)
			res := rig.Run(tt.request, streamtest.Upstream{})
			if res.Status != tt.want || res.Called != (tt.want == 200) {
				t.Fatalf("status %d, want %d", res.Status, tt.want)
			}
			refused := rig.Counter("http.test.misdirected.refused")
			if tt.want == 421 && (res.Info.StatusDetails != "misdirected_request" || refused != 1) || tt.want == 200 && refused != 0 {
				t.Errorf("details %q, counted %d", res.Info.StatusDetails, refused)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for _, tt := range []struct{ value, want string }{
		{`{"alow":{}}`, `typed_config: value["alow"]: unknown field (did you mean "allow"?)`},
		{`{"allow":["a"]}`, `typed_config: value["allow"]: found a list, want a mapping`},
		{`{"allow":{"a.example":[]}}`, `typed_config: value["allow"]["a.example"]: the list is empty, which allows nothing: name hosts, or remove it`},
		{`{"allow":{"a.example":["b.example:443"]}}`, `typed_config: value["allow"]["a.example"][0]: "b.example:443" is not the name of a host: write it without a port, as www.example.com or *.example.com`},
		{`{"allow":{"*":["b.example"]}}`, `typed_config: value["allow"]["*"]: "*" is not the name of a host: write it without a port, as www.example.com or *.example.com`},
		{`{"allow":{"a.example":[".b"]}}`, `typed_config: value["allow"]["a.example"][0]: ".b" is not the name of a host: write it without a port, as www.example.com or *.example.com`},
		{`{"accept_certificate_names":"yes"}`, `typed_config: value["accept_certificate_names"]: found the text "yes", want true or false`},
	} {
		if _, err := rig.Compile(Extension(), `{"value":`+tt.value+`}`); err == nil || err.Error() != tt.want {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.value, err, tt.want)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	rig := streamtest.New(t)
	rig.AddFilter("conn", connected{&streaminfo.Connection{ServerName: "www.example.com", TLS: &streaminfo.TLS{}}})
	rig.Add(Extension(), named)
	for _, host := range []string{"www.example.com:443", "a.static.example.com"} {
		if n := rig.Allocs(streamtest.Request{Authority: host}); n != 0 {
			t.Errorf("%s: %v allocations", host, n)
		}
	}
}

func FuzzHostOf(f *testing.F) {
	for _, s := range []string{"a:1", "[::1]:1", "a.", "", ":", "]", "a:b:c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if host := hostOf(b); !strings.HasPrefix(string(b), host) {
			t.Errorf("%q of %q", host, b)
		}
	})
}
