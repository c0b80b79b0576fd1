// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"weir.dev/weir/proxy/header"
)

func FuzzRequest(f *testing.F) {
	for _, tt := range acceptedRequests() {
		f.Add([]byte(tt.in), 5)
	}
	for _, tt := range refusedRequests() {
		f.Add([]byte(tt.in), 20)
	}
	f.Add([]byte(browserRequest), 100)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if cut < 0 || cut > len(in) {
			cut = len(in)
		}
		var p Parser
		p.Reset(lenient())
		whole := inPieces(&p, false, string(in))
		split := inPieces(&p, false, string(in), cut)
		refused := strings.HasPrefix(whole, "http/1:")
		if refused && !strings.HasPrefix(split, "http/1:") && split != "waits" || !refused && whole != split {
			t.Fatalf("in one piece %s\ncut at %d %s", whole, cut, split)
		}
		againstStandard(t, lenient(), in)
	})
}

func FuzzResponse(f *testing.F) {
	for _, tt := range responses() {
		f.Add([]byte(tt.in), 5, tt.method)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int, method string) {
		if cut < 0 || cut > len(in) {
			cut = len(in)
		}
		var p Parser
		p.Reset(nil)
		p.SetRequest([]byte(method), method == "upgrade")
		whole := inPieces(&p, true, string(in))
		split := inPieces(&p, true, string(in), cut)
		refused := strings.HasPrefix(whole, "http/1:")
		if refused && !strings.HasPrefix(split, "http/1:") && split != "waits" || !refused && whole != split {
			t.Fatalf("in one piece %s\ncut at %d %s", whole, cut, split)
		}
		responseRoundTrip(t, in, method)
	})
}

func FuzzChunked(f *testing.F) {
	for _, tt := range chunkRows() {
		f.Add([]byte(tt.in), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		if size <= 0 || size > len(in) {
			size = 1
		}
		run := func(size int) (string, error) {
			var c Chunked
			var trailers header.Map
			c.Reset(&Options{EnableTrailers: true}, &trailers, false)
			return decodeChunked(&c, &trailers, bytes.Clone(in), size)
		}
		whole, err := run(max(len(in), 1))
		split, serr := run(size)
		if err == nil && (serr != nil || whole != split) || err != nil && serr == nil && !strings.HasSuffix(split, " waits") {
			t.Fatalf("in one piece %q %v\nin pieces of %d %q %v", whole, err, size, split, serr)
		}
		if err != nil || strings.HasSuffix(whole, " waits") {
			return
		}
		// What is taken here, the standard library must read the same.
		body, err := io.ReadAll(newStandardChunked(in))
		if err != nil {
			// Whitespace before the semicolon is the one thing that RFC 9112
			// §7.1.1 has recipients take and net/http does not, and net/http
			// bounds extensions in proportion to the data.
			if bytes.ContainsAny(in, " \t") || strings.Contains(err.Error(), "non-data") {
				return
			}
			t.Fatalf("net/http: %v", err)
		}
		if !strings.HasPrefix(whole, string(body)+"|") {
			t.Fatalf("net/http reads %q, not %q", body, whole)
		}
	})
}

// newStandardChunked reads a chunked body by way of net/http. It stops before
// the trailers, whose rules differ there.
func newStandardChunked(in []byte) io.Reader {
	head := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	r, err := http.ReadRequest(bufio.NewReaderSize(io.MultiReader(strings.NewReader(head), bytes.NewReader(in)), 16<<10))
	if err != nil {
		return strings.NewReader("net/http refuses the head")
	}
	return r.Body
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("GET", "/a?b", "h:80", "x-a", "v w", int64(3), uint8(1))
	f.Add("0", "/", "0", "0", "0", int64(3), uint8(1))
	f.Add("CONNECT", "", "h:80", "te", "trailers", int64(0), uint8(0))
	f.Add("POST", "/", "[::1]", "content-length", "7", int64(9), uint8(2))
	f.Add("GET", "/", "h", "x\r\ny", "a\r\nb", int64(0), uint8(5))
	f.Fuzz(func(t *testing.T, method, path, authority, name, value string, length int64, flags uint8) {
		var m header.Map
		m.Add(header.Method, method)
		if method != "CONNECT" {
			m.Add(header.Path, path)
		}
		m.Add(header.Authority, authority)
		m.Add(header.NewName(name), value)
		fr := Framing{Body: Body(flags % 3), Length: length, Close: flags&4 != 0, Upgrade: flags&8 != 0, Case: Case(flags >> 4 & 1)}
		if fr.Body != BodyLength {
			fr.Length = -1
		}
		out, err := AppendRequest(nil, &m, &fr)
		if err != nil || m.Has(header.Expect) {
			return // An odd expectation can be written, but is answered 417.
		}
		o := lenient()
		o.AllowCustomMethods = true
		if !againstStandard(t, o, out) {
			t.Fatalf("%q was written and is not read", out)
		}
	})
}

// requestRoundTrip writes a parsed request and reads it again: nothing may be
// lost or added.
func requestRoundTrip(t *testing.T, m *header.Map, h *Head) {
	t.Helper()
	fr := Framing{Upgrade: h.Upgrade, Close: !h.KeepAlive, HTTP10: h.HTTP10(), KeepAlive: h.HTTP10() && h.KeepAlive}
	switch {
	case h.Chunked:
		fr.Body = BodyChunked
	case h.ContentLength >= 0:
		fr.Body, fr.Length = BodyLength, h.ContentLength
	}
	out, err := AppendRequest(nil, m, &fr)
	if err != nil {
		t.Fatalf("a request that was read cannot be written: %v", err)
	}
	var p Parser
	var again header.Map
	p.Reset(&Options{AllowAbsoluteURL: true, AcceptHTTP10: true, AllowCustomMethods: true, MaxHeaders: 1000, MaxHeadBytes: 1 << 20})
	n, done, err := p.Request(bytes.Clone(out), &again)
	if err != nil || !done || n != len(out) {
		t.Fatalf("%q: %d %v %v", out, n, done, err)
	}
	m.Del(header.Scheme)
	if diff := cmp.Diff(sorted(m), sorted(&again)); diff != "" {
		t.Fatalf("%q changed on the way:\n%s", out, diff)
	}
	g := p.Head()
	if g.ContentLength != h.ContentLength || g.Chunked != h.Chunked || g.KeepAlive != h.KeepAlive || g.Upgrade != h.Upgrade {
		t.Fatalf("%q:\n got %+v\nwant %+v", out, g, h)
	}
}

func responseRoundTrip(t *testing.T, in []byte, method string) {
	t.Helper()
	var p, q Parser
	var m, again header.Map
	p.Reset(nil)
	p.SetRequest([]byte(method), method == "upgrade")
	if _, done, err := p.Response(bytes.Clone(in), &m); !done || err != nil {
		return
	}
	h := p.Head()
	fr := Framing{Upgrade: h.Upgrade, Close: !h.KeepAlive && !h.Upgrade, HTTP10: h.HTTP10(), KeepAlive: h.HTTP10() && h.KeepAlive}
	switch {
	case h.Chunked:
		fr.Body = BodyChunked
	case h.ContentLength >= 0:
		fr.Body, fr.Length = BodyLength, h.ContentLength
	}
	out, err := AppendResponse(nil, &m, &fr)
	if err != nil {
		t.Fatalf("a response that was read cannot be written: %v", err)
	}
	q.Reset(&Options{MaxHeaders: 1000, MaxHeadBytes: 1 << 20})
	q.SetRequest([]byte(method), method == "upgrade")
	n, done, err := q.Response(bytes.Clone(out), &again)
	if err != nil || !done || n != len(out) {
		t.Fatalf("%q: %d %v %v", out, n, done, err)
	}
	if diff := cmp.Diff(sorted(&m), sorted(&again)); diff != "" {
		t.Fatalf("%q changed on the way:\n%s", out, diff)
	}
	g := q.Head()
	if g.ContentLength != h.ContentLength || g.Chunked != h.Chunked || g.UntilClose != h.UntilClose || g.Tunnel != h.Tunnel || g.HasBody != h.HasBody {
		t.Fatalf("%q:\n got %+v\nwant %+v", out, g, h)
	}
}

// sorted lists the fields of a map by name, those of one name in their order.
func sorted(m *header.Map) map[string][]string {
	out := map[string][]string{}
	for n, v := range m.All() {
		s := string(v)
		if n == header.ContentLength {
			s = strings.TrimLeft(s, "0") // It is written from its value.
		}
		out[n.String()] = append(out[n.String()], s)
	}
	return out
}
