// SPDX-License-Identifier: Apache-2.0

package extproc_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/proxytest"
)

// raw serves what is none of gRPC's servers.
func raw(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: p}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return ln.Addr().String()
}

func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

func framed(t testing.TB, list ...*extprocv3.ProcessingResponse) []byte {
	t.Helper()
	var out []byte
	for _, a := range list {
		b, err := proto.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, frame(b)...)
	}
	return out
}

// TestHostile: whatever a processor does, a request comes to its end.
func TestHostile(t *testing.T) {
	forbidden := set("transfer-encoding", "chunked", "connection", "close", "content-length", "1", ":status", "200", "te", "x", ":path", "no path", ":authority", "a b", ":method", "CONNECT", ":scheme", "ftp", ":unknown", "x", "upgrade", "websocket")
	many := &extprocv3.HeaderMutation{}
	for i := range 200 {
		many.SetHeaders = append(many.SetHeaders, set(fmt.Sprint("x-", i), "v").GetSetHeaders()...)
	}
	const anyRoute = "mutation_rules: {allow_all_routing: true, allow_envoy: true}"
	cases := []struct {
		name, fields string
		answer       []byte
		status       int
	}{
		{"garbage", "", frame([]byte("\xff\xff\xff\xff garbage")), 500},
		{"no frame", "", []byte("garbage, in plain text, without a frame"), 500},
		{"half a frame", "", []byte("\x00\x00"), 500},
		{"lies about its length", "", []byte("\x00\xff\xff\xff\xffx"), 500},
		{"compressed", "", append([]byte{1}, frame([]byte("x"))[1:]...), 500},
		{"forbidden fields", anyRoute, framed(t, onRequest(&extprocv3.CommonResponse{HeaderMutation: forbidden})), 200},
		{"forbidden fields are an error", "mutation_rules: {disallow_is_error: true}", framed(t, onRequest(&extprocv3.CommonResponse{HeaderMutation: forbidden})), 500},
		{"a line break", "", framed(t, onRequest(&extprocv3.CommonResponse{HeaderMutation: set("x-a", "a\r\nx-b: c")})), 500},
		{"a bad name", "", framed(t, onRequest(&extprocv3.CommonResponse{HeaderMutation: set("x a", "a")})), 500},
		{"no name", "", framed(t, onRequest(&extprocv3.CommonResponse{HeaderMutation: set("", "a")})), 500},
		{"many fields", "", framed(t, onRequest(&extprocv3.CommonResponse{HeaderMutation: many})), 500},
		{"a huge field", "", framed(t, onRequest(&extprocv3.CommonResponse{HeaderMutation: set("x-a", strings.Repeat("x", 1<<20))})), 500},
		{"two answers", "", framed(t, onRequest(&extprocv3.CommonResponse{}), onRequest(&extprocv3.CommonResponse{})), 500},
		{"a status that is none", "", framed(t, reply(7, "")), 200},
		{"a duplex answer", "processing_mode: {request_body_mode: STREAMED}", framed(t, onRequest(&extprocv3.CommonResponse{}), onRequestBody(&extprocv3.CommonResponse{BodyMutation: piece("x", true)})), 500},
	}
	for _, c := range cases {
		addr := raw(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = io.ReadFull(r.Body, make([]byte, 5)) // A question has come.
			_, _ = w.Write(c.answer)
			w.Header().Set("Grpc-Status", "0")
		})
		t.Run(c.name, func(t *testing.T) {
			for _, h2 := range []bool{false, true} {
				fields := "message_timeout: 5s"
				if c.fields != "" {
					fields += ", " + c.fields
				}
				p, _ := start(t, config{fields: fields, upstreamH2: h2}, addr)
				res := do(t, client(t, h2), request(t, p, "POST", "/", "hello"))
				if res.err != nil || res.status != c.status {
					t.Errorf("%+v, want %d", res, c.status)
				}
			}
		})
	}
}

// TestEndless: what a processor sends without end waits, in the processor.
func TestEndless(t *testing.T) {
	var sent atomic.Int64
	addr := (&processor{serve: func(s talk) error {
		for _, a := range []*extprocv3.ProcessingResponse{onRequest(&extprocv3.CommonResponse{})} {
			if _, err := s.Recv(); err != nil {
				return err
			}
			if err := s.Send(a); err != nil {
				return err
			}
		}
		if _, err := s.Recv(); err != nil {
			return err
		}
		more := strings.Repeat("x", 64<<10)
		for {
			if err := s.Send(onRequestBody(&extprocv3.CommonResponse{BodyMutation: piece(more, false)})); err != nil {
				return nil
			}
			sent.Add(int64(len(more)))
		}
	}}).listen(t)
	// An upstream that takes nothing.
	held := make(chan struct{})
	up := proxytest.NewUpstream(t, func(s *proxytest.Session) { _, _ = s.Head(); <-held })
	t.Cleanup(func() { close(held) })
	p := startAt(t, config{fields: "processing_mode: {request_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: SEND}"}, addr, up.Addr())
	c := p.Dial()
	c.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
	settled(t, &sent)
	if n := sent.Load(); n > 32<<20 {
		t.Errorf("%d bytes were taken", n)
	}
	c.Close() // And with the client all ends.
	p.WaitGauge("cluster.proc.upstream_rq_active", 0)
}

// settled waits until a number stands still.
func settled(t *testing.T, n *atomic.Int64) {
	t.Helper()
	proxytest.Eventually(t, "the flow stops", func() (int64, bool) {
		before := n.Load()
		tick := time.NewTimer(300 * time.Millisecond)
		defer tick.Stop()
		<-tick.C
		return before, before > 0 && n.Load() == before
	})
}

// TestSlow: a processor that takes nothing more holds the client up.
func TestSlow(t *testing.T) {
	for _, fields := range []string{
		"processing_mode: {request_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: SEND}",
		"message_timeout: 100s, processing_mode: {request_body_mode: STREAMED}",
		"observability_mode: true, processing_mode: {request_body_mode: STREAMED}",
	} {
		stop := make(chan struct{})
		addr := (&processor{serve: func(s talk) error {
			if _, err := s.Recv(); err != nil {
				return err
			}
			if err := s.Send(onRequest(&extprocv3.CommonResponse{})); err != nil {
				return err
			}
			select {
			case <-stop:
			case <-s.Context().Done():
			}
			return nil
		}}).listen(t)
		p, _ := start(t, config{fields: fields}, addr)
		var sent atomic.Int64
		conn, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n")
			for piece := make([]byte, 64<<10); ; {
				n, err := conn.Write(piece)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		}()
		settled(t, &sent)
		if n := sent.Load(); n > 64<<20 {
			t.Errorf("%s: %d bytes were taken", fields, n)
		}
		_ = conn.Close()
		<-done
		close(stop)
		p.WaitGauge("cluster.proc.upstream_rq_active", 0)
	}
}

// TestLate: messages that come when all is over are nobody's.
func TestLate(t *testing.T) {
	addr := (&processor{serve: func(s talk) error {
		for range 2 {
			q, err := s.Recv()
			if err != nil {
				return err
			}
			if err := s.Send(agree(q)); err != nil {
				return err
			}
		}
		for range 100 {
			if err := s.Send(reply(403, "late")); err != nil {
				return nil
			}
		}
		return nil
	}}).listen(t)
	p, _ := start(t, config{fields: "message_timeout: 5s"}, addr)
	c := client(t, false) // Of one connection, whose next requests are not disturbed.
	for range 50 {
		if res := do(t, c, request(t, p, "POST", "/", "hello")); res.err != nil || res.status != 200 || res.body != "hello" {
			t.Fatalf("%+v", res)
		}
	}
	p.WaitGauge("cluster.proc.upstream_rq_active", 0)
}

// TestLeaves: a client that leaves leaves nothing behind.
func TestLeaves(t *testing.T) {
	addr := (&processor{serve: func(s talk) error { <-s.Context().Done(); return nil }}).listen(t)
	p, _ := start(t, config{fields: "message_timeout: 100s, processing_mode: {request_body_mode: STREAMED}"}, addr)
	for range 20 {
		c := p.Dial()
		c.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel")
		p.WaitCounterPast("http.test.ext_proc.streams_started", 1)
		c.Reset()
	}
	p.WaitGauge("cluster.proc.upstream_rq_active", 0)
}
