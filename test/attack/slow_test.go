// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// TestSlow keeps connections open by saying less than a request: each ends in time.
func TestSlow(t *testing.T) {
	head := headers(1, true, request("GET", "/"))
	open := frame(tHeaders, endStream, 1, request("GET", "/"))
	hello := preface + frame(tSettings, 0, 0, "")
	const limits = "request_headers_timeout: 0.3s\ncommon_http_protocol_options: {idle_timeout: 0.5s}\nstream_idle_timeout: 0.5s\n"
	for _, tt := range []struct{ name, manager, say string }{
		{"nothing", limits, ""},
		{"nothing to HTTP/2", limits + "codec_type: HTTP2", ""},
		{"a part of the preface", limits, preface[:10]},
		{"a part of the preface to HTTP/2", limits + "codec_type: HTTP2", preface[:10]},
		{"the preface", limits, preface},
		{"the preface to HTTP/2", limits + "codec_type: HTTP2", preface},
		{"no request", limits, hello},
		{"no request to HTTP/2", limits + "codec_type: HTTP2", hello},
		{"a part of a frame", limits, hello + head[:5]},
		{"a part of a head", limits, hello + head[:20]},
		{"a head without end", limits, hello + open},
		{"a head without end after a request", limits, hello + head + frame(tHeaders, endStream, 3, request("GET", "/"))},
		{"a head without end beside a request", "request_headers_timeout: 0.3s\nstream_idle_timeout: 0s", hello + headers(1, true, request("GET", "/slow")) + frame(tHeaders, endStream, 3, request("GET", "/"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBackend(t, false)
			p := edge(t, b, proxytest.Edge{Manager: tt.manager})
			start := time.Now() // Before the proxy's clock, which begins with what it hears.
			c := p.Dial()
			c.Send(tt.say)
			c.ReadAll()
			if took := time.Since(start); took < 200*time.Millisecond {
				t.Errorf("the connection ended after %v", took)
			}
			p.WaitGauge("http.test.downstream_cx_active", 0)
			settled(t, p)
		})
	}
}

// TestSlowBody begins requests and does not end them.
func TestSlowBody(t *testing.T) {
	b := newBackend(t, false)
	p := edge(t, b, proxytest.Edge{Manager: "request_timeout: 0.3s"})
	w := dialWire(t, p)
	if err := w.send(headers(1, false, request("POST", "/")), frame(tData, 0, 1, "x")); err != nil {
		t.Fatal(err)
	}
	if r := w.reply(1); r.status != "408" {
		t.Errorf("%q, reset %v %d", r.status, r.reset, r.code)
	}
	w.alive(3, "/")
	settled(t, p)
}

// TestSlowHandshake begins TLS and does not end it.
func TestSlowHandshake(t *testing.T) {
	pair := tlstest.NewCA(t, "attack CA").Issue(t, tlstest.Leaf{DNS: []string{"a.test"}})
	b := newBackend(t, false)
	p := edge(t, b, proxytest.Edge{Chain: "transport_socket_connect_timeout: 0.3s\n" + tlsChain(pair, "")})
	for _, say := range []string{"", "\x16", "\x16\x03\x01\x00\xff\x01\x00\x00\xfb\x03\x03"} {
		c := p.Dial()
		c.Send(say)
		c.ReadAll()
	}
	p.WaitGauge("listener.127.0.0.1_0.downstream_cx_active", 0)
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: proxytest.Patience}, "tcp", p.Addr(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) // The attack is not about names.
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, conn)
	if err := w.send(preface, frame(tSettings, 0, 0, "")); err != nil {
		t.Fatal(err)
	}
	w.alive(1, "/")
}
