// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"weir.dev/weir/proxy/header"
)

// againstStandard reads one request with this package and, if it is accepted,
// with net/http, which must accept it and read the same. It reports whether it
// was accepted.
//
// net/http may refuse, with reason:
//   - a path with a percent sign that begins no escape: net/url checks that,
//     Envoy passes it on;
//   - "*" with a method other than OPTIONS is refused here, not there;
//   - hosts with what RFC 3986 allows and net/url does not parse in absolute
//     form.
//
// It reads otherwise, with reason: empty lines before the request line, which
// it refuses and RFC 9112 §2.2 asks to skip; Host with a value it cleans.
func againstStandard(t *testing.T, o *Options, in []byte) bool {
	t.Helper()
	var p Parser
	var m header.Map
	p.Reset(o)
	n, done, err := p.Request(bytes.Clone(in), &m)
	if err != nil || !done {
		return false
	}
	h := p.Head()
	head := bytes.TrimLeft(in[:n], "\r\n")
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		if _, perr := url.ParseRequestURI(targetOf(head)); perr != nil && !strings.HasPrefix(string(m.Get(header.Method)), "CONNECT") {
			return true
		}
		t.Fatalf("%q: net/http refuses: %v", head, err)
	}
	if got := string(m.Get(header.Method)); got != r.Method {
		t.Fatalf("%q: method %q, net/http %q", head, got, r.Method)
	}
	if got := string(m.Get(header.Authority)); got != r.Host {
		t.Fatalf("%q: host %q, net/http %q", head, got, r.Host)
	}
	if want := r.RequestURI; !h.Absolute && !p.isConnect && string(m.Get(header.Path)) != want {
		t.Fatalf("%q: path %q, net/http %q", head, m.Get(header.Path), want)
	}
	if r.Proto != h.Version.String() {
		t.Fatalf("%q: version %s, net/http %s", head, h.Version, r.Proto)
	}
	want := h.ContentLength
	switch {
	case h.Chunked:
		want = -1
	case want < 0:
		want = 0
	}
	if r.ContentLength != want || (len(r.TransferEncoding) > 0) != h.Chunked {
		t.Fatalf("%q: content length %d chunked %v, net/http %d %v", head, want, h.Chunked, r.ContentLength, r.TransferEncoding)
	}
	compareFields(t, head, &m, r)
	requestRoundTrip(t, &m, h)
	return true
}

func targetOf(head []byte) string {
	line, _, _ := strings.Cut(string(head), "\r\n")
	_, rest, _ := strings.Cut(line, " ")
	return strings.TrimSuffix(strings.TrimSuffix(rest, " HTTP/1.1"), " HTTP/1.0")
}

// compareFields checks that each field of the map is one of net/http's, in
// order, and that what net/http has beyond them is hop-by-hop.
func compareFields(t *testing.T, head []byte, m *header.Map, r *http.Request) {
	t.Helper()
	got := map[string][]string{}
	for n, v := range m.All() {
		if !n.IsPseudo() {
			got[n.String()] = append(got[n.String()], string(v))
		}
	}
	theirs := map[string][]string{}
	for k, vs := range r.Header {
		theirs[strings.ToLower(k)] = append(theirs[strings.ToLower(k)], vs...)
	}
	for k, vs := range got {
		if k == "te" {
			continue // Reduced to "trailers".
		}
		if strings.Join(vs, "\n") != strings.Join(theirs[k], "\n") {
			t.Fatalf("%q: field %s is %q, net/http %q", head, k, vs, theirs[k])
		}
	}
	for k := range theirs {
		if _, ok := got[k]; ok {
			continue
		}
		switch k {
		case "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "http2-settings", "expect", "content-length", "pragma", "cache-control":
			continue // Hop-by-hop, void, or made up by net/http from Pragma.
		}
		if !strings.Contains(strings.ToLower(strings.Join(theirs["connection"], ",")), k) {
			t.Fatalf("%q: field %s is lost", head, k)
		}
	}
}

func TestAgainstStandard(t *testing.T) {
	for _, tt := range acceptedRequests() {
		if !againstStandard(t, lenient(), []byte(tt.in)) {
			t.Errorf("%q is not accepted", tt.in)
		}
	}
	if !againstStandard(t, lenient(), []byte(browserRequest)) {
		t.Error("the browser's request is not accepted")
	}
	for _, tt := range responses() {
		responseRoundTrip(t, []byte(tt.in), tt.method)
	}
}
