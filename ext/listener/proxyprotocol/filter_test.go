// SPDX-License-Identifier: Apache-2.0

package proxyprotocol_test

import (
	"net"
	"runtime"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/proxytest"
)

const (
	told = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% " +
		"%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:a)% %DYNAMIC_METADATA(ns:b)% %FILTER_STATE(envoy.network.proxy_protocol.tlv:FIELD:c)%"
	v1 = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
)

func options(t *testing.T) proxytest.Options {
	t.Helper()
	return proxytest.Options{Extensions: proxytest.WithTeller(t, all.Extensions(), told)}
}

func filter(fields string) string {
	return proxytest.ListenerFilter("proxy_protocol.v3.ProxyProtocol", fields)
}

func v2(t *testing.T, tlvs ...proxyproto.TLV) string {
	t.Helper()
	src, err := address.Parse("[2001:db8::1]:1")
	if err != nil {
		t.Fatal(err)
	}
	dst, err := address.Parse("[2001:db8::2]:2")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := proxyproto.AppendV2(nil, src, dst, tlvs)
	return string(b)
}

// pieces sends s in pieces of n bytes.
func pieces(c *proxytest.Client, s string, n int) {
	for s != "" {
		k := min(n, len(s))
		c.Send(s[:k])
		s = s[k:]
	}
}

func TestServed(t *testing.T) {
	const rules = ", rules: [{tlv_type: 1, on_tlv_present: {key: a}}, {tlv_type: 2, on_tlv_present: {metadata_namespace: ns, key: b, value_string_encoding: BASE64}}]"
	state := strings.Replace(rules, "key: a", "key: c", 1) + ", tlv_location: FILTER_STATE"
	tlvs := v2(t, proxyproto.TLV{Type: 1, Value: []byte("x\xffy")}, proxyproto.TLV{Type: 1, Value: []byte("z")}, proxyproto.TLV{Type: 2, Value: []byte{0}})
	local := string(proxyproto.AppendLocalV2(nil))
	for name, tt := range map[string]struct {
		fields, send, want string
		counter            string
	}{
		"v1":              {"", v1, "192.0.2.1:56324 198.51.100.2:443 127.0.0.1 - - -", "versions.v1.found"},
		"v2":              {"", v2(t), "[2001:db8::1]:1 [2001:db8::2]:2 127.0.0.1 - - -", "versions.v2.found"},
		"tlvs":            {rules, tlvs, "[2001:db8::1]:1 [2001:db8::2]:2 127.0.0.1 x!y AA== -", "versions.v2.found"},
		"tlvs in state":   {state, tlvs, "[2001:db8::1]:1 [2001:db8::2]:2 127.0.0.1 - - x!y", "versions.v2.found"},
		"60 KiB of tlvs":  {rules, v2(t, proxyproto.TLV{Type: 9, Value: make([]byte, 60000)}, proxyproto.TLV{Type: 1, Value: []byte("x")}), "[2001:db8::1]:1 [2001:db8::2]:2 127.0.0.1 x - -", "versions.v2.found"},
		"local":           {"", local, "ME", "versions.v2.found"},
		"local and more":  {"", local[:14] + "\x00\x03abc", "ME", "versions.v2.found"},
		"unknown":         {"", "PROXY UNKNOWN what ever\r\n", "ME", "versions.v1.found"},
		"unspec":          {"", local[:12] + "\x21\x00\x00\x00", "ME", "versions.v2.found"},
		"unix":            {"", local[:12] + "\x21\x31\x00\xd8/a" + strings.Repeat("\x00", 106) + "/b" + strings.Repeat("\x00", 106), "/a /b 127.0.0.1 - - -", "versions.v2.found"},
		"none, optional":  {", allow_requests_without_proxy_protocol: true", "", "ME", "not_found_allowed"},
		"optional":        {", allow_requests_without_proxy_protocol: true", v1, "192.0.2.1:56324 198.51.100.2:443 127.0.0.1 - - -", "versions.v1.found"},
		"v2 is no header": {", allow_requests_without_proxy_protocol: true, disallowed_versions: [V2]", v2(t), "ME", "not_found_allowed"},
		"prefixed":        {", stat_prefix: x", v1, "192.0.2.1:56324 198.51.100.2:443 127.0.0.1 - - -", "x.versions.v1.found"},
	} {
		p := proxytest.Start(t, proxytest.Told(filter(tt.fields), ""), options(t))
		for _, n := range []int{len(tt.send) + 1, 1 + len(tt.send)/200} {
			c := p.Dial()
			pieces(c, tt.send+"after", n)
			want := tt.want
			if want == "ME" {
				me := c.Conn().LocalAddr().String()
				want = me + " " + p.Addr() + " 127.0.0.1 - - -"
			}
			want += "\n"
			if name == "v2 is no header" {
				want += tt.send // It is the chain's.
			}
			want += "after"
			if got := c.ReadN(len(want)); got != want {
				t.Errorf("%s in pieces of %d: %q, want %q", name, n, got, want)
			}
			c.Close()
		}
		p.WaitCounter("proxy_proto."+tt.counter, 2)
	}
}

func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct{ fields, send, counter string }{
		"cleartext":           {"", "GET / HTTP/1.1\r\n\r\n", "not_found_disallowed"},
		"one byte":            {"", "G", "not_found_disallowed"},
		"bad v1":              {"", "PROXY TCP4 x y 1 2\r\n", "versions.v1.error"},
		"v1 without an end":   {"", "PROXY UNKNOWN " + strings.Repeat("x", 200), "versions.v1.error"},
		"bad v1, optional":    {", allow_requests_without_proxy_protocol: true", "PROXY TCP4 x y 1 2\r\n", "versions.v1.error"},
		"version 3":           {"", v2(t)[:12] + "\x31\x11\xff\xff", "versions.v2.error"},
		"a TLV over the end":  {"", v2(t)[:15] + "\x27" + v2(t)[16:] + "\x01\x00\x01", "versions.v2.error"},
		"addresses too short": {"", v2(t)[:15] + "\x01", "versions.v2.error"},
		"v1 disallowed":       {", disallowed_versions: [V1]", v1, "versions.v1.disallowed"},
		"v2 disallowed":       {", disallowed_versions: [V2]", v2(t), "versions.v2.disallowed"},
	} {
		p := proxytest.Start(t, proxytest.Told(filter(tt.fields), ""), options(t))
		c := p.Dial()
		c.Send(tt.send)
		c.ExpectClosed()
		p.WaitCounter("proxy_proto."+tt.counter, 1)
		want := uint64(1)
		if strings.HasSuffix(tt.counter, ".disallowed") {
			want = 0
		}
		if got := p.Counter("downstream_cx_proxy_proto_error"); got != want {
			t.Errorf("%s: %d errors", name, got)
		}
	}
}

// TestSlow: nobody gets past by being slow, neither without a header that is
// required nor with a part of one.
func TestSlow(t *testing.T) {
	const fields = "listener_filters_timeout: 0.3s\ncontinue_on_listener_filters_timeout: true"
	for _, tt := range []struct {
		fields, send string
		served       bool
	}{
		{"", "", false},
		{"", "PRO", false},
		{"", v1[:20], false},
		{"", v2(t)[:12], false},
		{"", v2(t)[:40], false},
		{"", v2(t)[:14] + "\xff\xff" + v2(t)[16:], false},
		{", allow_requests_without_proxy_protocol: true", v1[:20], false},
		{", allow_requests_without_proxy_protocol: true", v2(t)[:40], false},
		{", allow_requests_without_proxy_protocol: true", "", true},
		{", allow_requests_without_proxy_protocol: true", "PRO", true},
	} {
		p := proxytest.Start(t, proxytest.Told(filter(tt.fields), fields), options(t))
		c := p.Dial()
		c.Send(tt.send)
		if tt.served {
			if got := c.ReadN(9); got != "127.0.0.1" {
				t.Errorf("%q", got)
			}
			continue
		}
		c.ExpectClosed()
		p.WaitCounter("listener.l.downstream_pre_cx_timeout", 1)
	}
}

// TestThenOthers: what follows the header is what the next filters see.
func TestThenOthers(t *testing.T) {
	yaml := proxytest.Told(filter("")+proxytest.ListenerFilter("http_inspector.v3.HttpInspector", ""), "", "{application_protocols: [http/1.1], destination_port: 443, source_prefix_ranges: [{address_prefix: 192.0.2.0, prefix_len: 24}]}")
	p := proxytest.Start(t, yaml, options(t))
	c := p.Dial()
	pieces(c, v1+"GET / HTTP/1.1\r\n", 5)
	if got := c.ReadN(9); got != "192.0.2.1" {
		t.Errorf("%q", got)
	}
}

// TestUseProxyProto: the older field of a filter chain does the same.
func TestUseProxyProto(t *testing.T) {
	yaml := strings.Replace(proxytest.Told("", ""), "{name: c0,", "{use_proxy_proto: true, name: c0,", 1)
	p := proxytest.Start(t, yaml, options(t))
	c := p.Dial()
	c.Send(v1)
	if got := c.ReadN(9); got != "192.0.2.1" {
		t.Errorf("%q", got)
	}
	yaml = strings.Replace(proxytest.Told("", "", "{}", "{destination_port: 1}"), "{name: c0,", "{use_proxy_proto: true, name: c0,", 1)
	if _, err := proxytest.TryStart(t, yaml, options(t)); err == nil || !strings.Contains(err.Error(), "use_proxy_proto") {
		t.Errorf("chains that differ: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for fields, want := range map[string]string{
		", disallowed_versions: [V1, V2]":                             "disallowed_versions",
		", rules: [{tlv_type: 256, on_tlv_present: {key: a}}]":        "tlv_type",
		", pass_through_tlvs: {match_type: INCLUDE, tlv_type: [256]}": "pass_through_tlvs",
	} {
		if _, err := proxytest.TryStart(t, proxytest.Told(filter(fields), ""), options(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

// TestStreams: what a header tells is told of each stream of its connection.
func TestStreams(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("ok")))
	e := proxytest.Edge{
		Listener:  "listener_filters:\n" + filter(", rules: [{tlv_type: 1, on_tlv_present: {key: a}}]"),
		AccessLog: told,
		Manager:   "use_remote_address: true",
	}
	p := proxytest.Start(t, e.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
	c := p.Dial()
	c.Send(v2(t, proxyproto.TLV{Type: 1, Value: []byte("x")}))
	for range 2 {
		if r := c.Do("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); r.StatusCode != 200 {
			t.Fatal(r)
		}
	}
	for _, line := range p.LogLines(2) {
		if want := "[2001:db8::1]:1 [2001:db8::2]:2 127.0.0.1 x - -"; line != want {
			t.Errorf("%q, want %q", line, want)
		}
	}
	if got := up.Requests()[0]; !strings.Contains(got, "\nx-forwarded-for: 2001:db8::1\r") {
		t.Errorf("%q", got)
	}
}

// TestMemory: a client that announces much and sends little costs little.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector has memory of its own")
	}
	p := proxytest.Start(t, proxytest.Told(filter(""), ""), options(t))
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	const n = 400
	dial := func() {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := c.Write([]byte(v2(t)[:14] + "\xff\xff" + v2(t)[16:])); err != nil {
			t.Fatal(err)
		}
	}
	dial()
	p.WaitGauge("listener.l.downstream_pre_cx_active", 1)
	before := used()
	for range n {
		dial()
	}
	p.WaitGauge("listener.l.downstream_pre_cx_active", n+1)
	if each := (used() - before) / n; each > 24<<10 {
		t.Errorf("%d bytes for each connection", each)
	} else {
		t.Logf("%d bytes for each connection", each)
	}
}
