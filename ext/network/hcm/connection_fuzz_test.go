// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/proxy/proxytest"
)

// FuzzConnection feeds a whole proxy arbitrary bytes: it must neither panic nor
// keep the connection nor a request, whatever it sends must be HTTP, and the
// upstream must not get more requests than were answered.
func FuzzConnection(f *testing.F) {
	for _, tt := range refusals {
		if len(tt.request) < 4096 {
			f.Add([]byte(tt.request + next))
		}
	}
	for _, tt := range badBodies {
		if len(tt.body) < 4096 {
			f.Add([]byte("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + tt.body + next))
		}
	}
	f.Add([]byte(get("/") + post("/", "abc", "content-length: 3") + post("/", "1\r\na\r\n0\r\nx: y\r\n\r\n", "transfer-encoding: chunked") + websocket))
	up := proxytest.NewUpstream(f, mirror)
	p := startAt(f, proxytest.Edge{Manager: allPaths + "codec_type: HTTP1\nuse_remote_address: true\nstream_idle_timeout: 2s\n" +
		"http_protocol_options: {accept_http_10: true, enable_trailers: true, allow_chunked_length: true}\nupgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]\n" + replies}, up)
	addr := p.Addr()
	f.Fuzz(func(t *testing.T, in []byte) {
		before := len(up.Requests())
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(time.Now().Add(proxytest.Patience)); err != nil {
			t.Fatal(err)
		}
		// The proxy may close before it has all.
		_, _ = conn.Write(in)
		_ = conn.(*net.TCPConn).CloseWrite()
		out, err := io.ReadAll(conn)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("%q: %v", in, err)
		}
		answers := 0
		r := bufio.NewReader(bytes.NewReader(out))
		for range bytes.Count(out, []byte("HTTP/1.1 ")) {
			res, err := http.ReadResponse(r, &http.Request{Method: "GET"})
			if err != nil {
				break // Behind a response to HEAD or a tunnel.
			}
			if res.StatusCode >= 200 {
				answers++
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				break
			}
		}
		if len(out) > 0 && answers == 0 && !strings.HasPrefix(string(out), "HTTP/1.1 1") {
			t.Errorf("%q was answered %q", in, out)
		}
		proxytest.Eventually(t, "downstream_rq_active", func() (int64, bool) {
			m, _ := p.Metric("http.test.downstream_rq_active")
			return m.Level, m.Level == 0
		})
		if served := len(up.Requests()) - before; served > bytes.Count(in, []byte("HTTP/1.")) {
			t.Errorf("%q became %d requests", in, served)
		}
		if m, ok := p.Metric("server.panics"); m.Count != 0 || !ok {
			t.Fatalf("%q: a task panicked", in)
		}
	})
}
