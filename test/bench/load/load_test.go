// SPDX-License-Identifier: Apache-2.0

package load

import (
	"io"
	"log"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/test/bench/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a backend until the test ends and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	s, err := backend.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.Addr().String()
}

func TestClosedLoopAgainstBackend(t *testing.T) {
	addr := serve(t)
	for _, tc := range []struct {
		path   string
		length int
	}{{"/100", 100}, {"/r/{n}/16k", 16 << 10}, {"/1m", 1 << 20}} {
		t.Run(tc.path, func(t *testing.T) {
			var edges []string
			res, err := Closed(Spec{
				Addr: addr, Conns: 64, Host: "h{n}.test", Path: tc.path, Spread: 100, Length: tc.length,
				Warmup: 10 * time.Millisecond, Measure: 300 * time.Millisecond,
			}, Hooks{
				Start: func() error { edges = append(edges, "start"); return nil },
				End:   func() error { edges = append(edges, "end"); return nil },
			})
			if err != nil || res.Wrong() != 0 || res.Answered == 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			if res.Bytes != res.Answered*uint64(tc.length) {
				t.Errorf("%d bytes in %d answers of %d", res.Bytes, res.Answered, tc.length)
			}
			if strings.Join(edges, " ") != "start end" {
				t.Errorf("hooks ran as %v", edges)
			}
		})
	}
}

func TestOpenLoopAgainstBackend(t *testing.T) {
	const rate = 20_000
	res, err := Open(Spec{
		Addr: serve(t), Conns: 64, Host: "a", Path: "/100", Length: 100, Rate: rate, Measure: 500 * time.Millisecond,
	}, Hooks{})
	if err != nil || res.BadStatus+res.BadLength+res.Broken != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if res.P50 <= 0 || res.P50 > res.P99 || res.P99 > res.Max {
		t.Errorf("quantiles out of order: %+v", res)
	}
	if float64(res.Answered) > 1.2*rate*res.Wall.Seconds() {
		t.Errorf("%d answers in %v: more than were due", res.Answered, res.Wall)
	}
}

func TestParkAgainstBackend(t *testing.T) {
	calls := 0
	hook := func() error { calls++; return nil }
	res, err := Park(Spec{Addr: serve(t), Conns: 300, Host: "a", Path: "/100", Length: 100}, hook, hook)
	if err != nil || res.Wrong() != 0 || res.Reconnects != 0 || res.Answered != 300 || calls != 2 {
		t.Fatalf("%+v, %v, %d calls", res, err, calls)
	}
}

func TestWrongAnswersAreCounted(t *testing.T) {
	addr := serve(t)
	_, err := Closed(Spec{Addr: addr, Conns: 8, Host: "a", Path: "/none", Length: 100, Measure: 10 * time.Second}, Hooks{})
	if err == nil || !strings.Contains(err.Error(), "another status than 200") {
		t.Errorf("a status of 404: %v", err)
	}
	_, err = Closed(Spec{Addr: addr, Conns: 8, Host: "a", Path: "/100", Length: 99, Measure: 10 * time.Second}, Hooks{})
	if err == nil || !strings.Contains(err.Error(), "another length than 99") {
		t.Errorf("a length of 100 in place of 99: %v", err)
	}
}

func TestBrokenConnectionsAreCounted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// Reads the request, so that the end is a FIN and not a reset, and answers nothing.
			c.Read(make([]byte, 1024))
			c.Close()
		}
	}()
	defer func() { l.Close(); <-done }()
	_, err = Closed(Spec{Addr: l.Addr().String(), Conns: 4, Host: "a", Path: "/100", Length: 100, Measure: 20 * time.Second}, Hooks{})
	if err == nil || !strings.Contains(err.Error(), "broken off") {
		t.Errorf("answers broken off: %v", err)
	}
}

func TestParseHead(t *testing.T) {
	for _, tc := range []struct {
		name, in             string
		head, status, length int
		err                  string
	}{
		{name: "plain", in: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbody", head: 40, status: 200, length: 100},
		{name: "later and lower case", in: "HTTP/1.1 503 No\r\nc: d\r\ncontent-length:7\r\ne: f\r\n\r\n", head: 49, status: 503, length: 7},
		{name: "incomplete", in: "HTTP/1.1 200 OK\r\nContent-Le"},
		{name: "chunked", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", err: "without content-length"},
		{name: "negative", in: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", err: "is not a length"},
		{name: "not HTTP", in: "SSH-2.0-abcdef\r\n\r\n", err: "not an HTTP/1 answer"},
		{name: "not a status", in: "HTTP/1.1 2x0 OK\r\n\r\n", err: "not a status line"},
		{name: "too long", in: strings.Repeat("a", 2<<10), err: "longer than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			head, status, length, err := parseHead([]byte(tc.in))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil || head != tc.head || status != tc.status || length != tc.length {
				t.Fatalf("got %d, %d, %d, %v", head, status, length, err)
			}
		})
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbody"))
	f.Add([]byte("HTTP/1.1 200\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		head, _, length, err := parseHead(b)
		if err == nil && (head > len(b) || length < 0) {
			t.Fatalf("head %d of %d bytes, length %d", head, len(b), length)
		}
	})
}

// quiet is a log for servers whose clients come and go as they please.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
