// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// FuzzConnection gives a proxy what a client may send behind the preface: no task
// panics, no request is made up, and nothing stays.
func FuzzConnection(f *testing.F) {
	for _, k := range tricks() {
		if len(k.data) < 4096 {
			f.Add([]byte(k.frames(1) + headers(3, true, request("GET", "/"))))
		}
	}
	for _, s := range aborts {
		f.Add([]byte(s))
	}
	for _, s := range []string{
		window(0, 1<<31-1), window(1, 0), frame(tPing, 0, 0, "12345678"), frame(tGoAway, 0, 0, u32(0)+u32(0)), rst(1, cancel), frame(tPriority, 0, 1, u32(1)+"\x10"),
		frame(tSettings, 0, 0, setting(4, 0)) + headers(1, true, request("GET", "/large")), frame(tHeaders, endHeaders|padded|priority, 1, "\x01\x00\x00\x00\x00\x10"+request("GET", "/")+"\x00"),
		headers(1, true, request("GET", "/")+store("cookie", "")+strings.Repeat(indexed, 50)), frame(tContinuation, endHeaders, 1, ""), frame(0xfa, 0xff, 7, "x"),
	} {
		f.Add([]byte(s + headers(1, true, request("GET", "/"))))
	}
	b := newBackend(f, false)
	b.release()
	p := edge(f, b, proxytest.Edge{Manager: "codec_type: HTTP2\nstream_idle_timeout: 2s\nupgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]\n" +
		"http2_protocol_options: {allow_connect: true, override_stream_error_on_invalid_http_message: true}"})
	addr := p.Addr()
	asked := int64(0) // over all inputs: the host may see one when the next is sent already
	f.Fuzz(func(t *testing.T, in []byte) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(deadline()); err != nil {
			t.Fatal(err)
		}
		// The proxy may close before it has all.
		_, _ = conn.Write(append([]byte(preface+frame(tSettings, 0, 0, "")), in...))
		_ = conn.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("%q: %v", in, err)
		}
		for _, g := range []string{"http.test.downstream_rq_active", "http2.streams_active", "http2.pending_send_bytes", "cluster.up.upstream_rq_active"} {
			proxytest.Eventually(t, g, func() (int64, bool) { m, _ := p.Metric(g); return m.Level, m.Level == 0 })
		}
		// A head takes a frame of nine bytes and one of type HEADERS.
		asked += int64(bytes.Count(in, []byte{tHeaders}))
		if served := b.total.Load(); served > asked {
			t.Errorf("%d requests became %d with %q", asked, served, in)
		}
		if m, ok := p.Metric("server.panics"); m.Count != 0 || !ok {
			t.Fatalf("%q: a task panicked", in)
		}
	})
}
