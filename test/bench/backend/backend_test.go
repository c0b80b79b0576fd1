// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves until the test ends.
func start(t *testing.T) *Server {
	t.Helper()
	s, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"))
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
	return s
}

func TestAnswers(t *testing.T) {
	s := start(t)
	for _, tc := range []struct {
		name, request string
		status        int
		length        int64
		closes        bool
	}{
		{"100 bytes", "GET /100 HTTP/1.1\r\nHost: a\r\n\r\n", 200, 100, false},
		{"16 KiB below a path", "GET /r/00017/16k HTTP/1.1\r\nHost: a\r\n\r\n", 200, 16 << 10, false},
		{"1 MiB", "GET /1m HTTP/1.1\r\nHost: a\r\n\r\n", 200, 1 << 20, false},
		{"body skipped", "POST /100 HTTP/1.1\r\ncontent-length: 5\r\n\r\nGET /", 200, 100, false},
		{"unknown target", "GET /other HTTP/1.1\r\n\r\n", 404, 0, false},
		{"chunked body", "POST /100 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411, 0, true},
		{"negative length", "POST /100 HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411, 0, true},
		{"other method", "DELETE /100 HTTP/1.1\r\n\r\n", 405, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r := bufio.NewReader(c)
			rounds := 2
			if tc.closes {
				rounds = 1
			}
			for range rounds {
				if _, err := io.WriteString(c, tc.request); err != nil {
					t.Fatal(err)
				}
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				n, err := io.Copy(io.Discard, res.Body)
				if err != nil || res.StatusCode != tc.status || n != tc.length {
					t.Fatalf("status %d, %d bytes, error %v; want %d and %d", res.StatusCode, n, err, tc.status, tc.length)
				}
			}
			if tc.closes {
				if _, err := r.ReadByte(); err != io.EOF {
					t.Fatalf("after the answer: %v, want EOF", err)
				}
			}
		})
	}
}

func TestPipelinedAndSplitRequests(t *testing.T) {
	s := start(t)
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The second answer is far larger than a socket's buffer, so the third request waits for it to drain.
	all := "GET /100 HTTP/1.1\r\n\r\nGET /1m HTTP/1.1\r\n\r\nGET /100 HTTP/1.1\r\n\r\n"
	for _, part := range []string{all[:7], all[7:]} {
		if _, err := io.WriteString(c, part); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(c)
	for _, want := range []int64{100, 1 << 20, 100} {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, res.Body); err != nil || n != want {
			t.Fatalf("%d bytes, error %v; want %d", n, err, want)
		}
	}
}

func TestHeadTooLarge(t *testing.T) {
	s := start(t)
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /100 HTTP/1.1\r\nA: "+strings.Repeat("a", 2*headLimit)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); len(b) > 0 || (err != nil && !strings.Contains(err.Error(), "reset")) {
		t.Fatalf("read %q, %v; want the connection closed", b, err)
	}
}

func TestRespondAllocatesNothing(t *testing.T) {
	s := start(t)
	head := []byte("GET /r/00017/100 HTTP/1.1\r\nHost: a\r\n\r\n")
	if n := testing.AllocsPerRun(100, func() { s.respond(head) }); n != 0 {
		t.Fatalf("respond allocates %v times", n)
	}
}

func FuzzRespond(f *testing.F) {
	f.Add([]byte("GET /100 HTTP/1.1\r\n\r\n"))
	f.Add([]byte("POST /1m HTTP/1.1\r\nContent-Length: 7\r\n\r\n"))
	f.Add([]byte("\r\n\r\n"))
	s := &Server{canned: map[string][]byte{"100": answer("200 OK", 100)}}
	f.Fuzz(func(t *testing.T, head []byte) {
		if _, body, _ := s.respond(head); body < 0 {
			t.Fatalf("a body of %d bytes", body)
		}
	})
}
