// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"strings"
	"testing"

	"weir.dev/weir/proxy/header"
)

// inPieces parses in, which arrives as the pieces that end at cuts, each time
// in new memory. It returns what dump says, or the error's reason.
func inPieces(p *Parser, response bool, in string, cuts ...int) string {
	var m header.Map
	p.Next()
	start := 0
	for _, end := range append(cuts, len(in)) {
		if end < start {
			continue
		}
		var n int
		var done bool
		var err error
		if buf := []byte(in[start:end]); response {
			n, done, err = p.Response(buf, &m)
		} else {
			n, done, err = p.Request(buf, &m)
		}
		if err != nil {
			return err.Error()
		}
		if start += n; done {
			return dump(p.Head(), &m) + "+" + in[start:]
		}
	}
	return "waits"
}

// TestEverySplit cuts every accepted head at every place, and every refused one
// too: it must be refused wherever it is cut.
func TestEverySplit(t *testing.T) {
	var p Parser
	p.Reset(lenient())
	check := func(response, ok bool, in string) {
		t.Helper()
		want := inPieces(&p, response, in)
		if ok && strings.HasPrefix(want, "http:") {
			t.Errorf("%q: %s", in, want)
		}
		for i := range len(in) {
			got := inPieces(&p, response, in, i)
			if ok && got != want || strings.HasPrefix(got, "http:") == ok {
				t.Errorf("%q cut at %d:\n got %s\nwant %s", in, i, got, want)
			}
		}
		bytewise := make([]int, len(in))
		for i := range bytewise {
			bytewise[i] = i
		}
		if got := inPieces(&p, response, in, bytewise...); ok && got != want || strings.HasPrefix(got, "http:") == ok {
			t.Errorf("%q byte by byte:\n got %s\nwant %s", in, got, want)
		}
	}
	for _, tt := range acceptedRequests() {
		check(false, true, tt.in+"POST / body")
	}
	for _, tt := range refusedRequests() {
		check(false, false, tt.in)
	}
	check(false, true, browserRequest)
	for _, tt := range responses() {
		p.SetRequest([]byte(tt.method), tt.method == "upgrade")
		check(true, tt.err == nil, tt.in)
	}
}

// TestSlowSenderIsLinear sends a long line byte by byte and counts, by the
// parser's own mark, what it would look at again.
func TestSlowSenderIsLinear(t *testing.T) {
	in := []byte("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 50000) + "\r\n\r\n")
	var p Parser
	var m header.Map
	p.Reset(nil)
	start := 0
	for end := range len(in) + 1 {
		before := p.scanned
		n, done, err := p.Request(in[start:end], &m)
		if err != nil {
			t.Fatal(err)
		}
		if start += n; done {
			return
		}
		if n == 0 && p.scanned != end-start || p.scanned < before && n == 0 {
			t.Fatalf("%d bytes waiting, %d marked as seen", end-start, p.scanned)
		}
	}
	t.Fatal("not done")
}
