// SPDX-License-Identifier: Apache-2.0

package extproc_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &extprocfilterv3.ExternalProcessor{}, &extprocfilterv3.ExtProcPerRoute{})
}

// everyway runs a test over the versions of HTTP on both sides.
func everyway(t *testing.T, f func(t *testing.T, downH2, upH2 bool)) {
	for _, v := range [][2]bool{{false, false}, {true, true}, {false, true}, {true, false}} {
		name := map[bool]string{false: "h1", true: "h2"}
		t.Run(name[v[0]]+" to "+name[v[1]], func(t *testing.T) { f(t, v[0], v[1]) })
	}
}

func TestHeaders(t *testing.T) {
	proc := &processor{serve: each(func(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		if q.GetRequestHeaders() != nil {
			m := set("x-new", "a", "x-old", "b", ":path", "/there", ":method", "DELETE", "host", "evil", "x-envoy-retry-on", "5xx", "transfer-encoding", "chunked", "content-length", "7")
			m.RemoveHeaders = []string{"X-Gone", ":path", "host"}
			return onRequest(&extprocv3.CommonResponse{HeaderMutation: m})
		}
		m := set("x-answer", "yes", ":status", "202")
		m.RemoveHeaders = []string{"x-up"}
		return onResponse(&extprocv3.CommonResponse{HeaderMutation: m})
	})}
	addr := proc.listen(t)
	everyway(t, func(t *testing.T, downH2, upH2 bool) {
		p, up := start(t, config{fields: "message_timeout: 5s", upstreamH2: upH2}, addr)
		res := do(t, client(t, downH2), request(t, p, "POST", "/here", "hello", "x-old", "1", "x-gone", "1"))
		if res.err != nil || res.status != 202 || res.body != "hello" || res.header.Get("x-answer") != "yes" || res.header.Get("x-up") != "" {
			t.Fatalf("%+v", res)
		}
		got := up.last(t)
		if got.method != "POST" || got.path != "/there" || got.host != p.Addr() || got.body != "hello" || got.length != 5 {
			t.Errorf("%+v", got)
		}
		if h := got.header; h.Get("x-new") != "a" || h.Get("x-old") != "b" || h.Get("x-gone") != "" || h.Get("x-envoy-retry-on") != "" {
			t.Errorf("%v", h)
		}
		for name, want := range map[string]uint64{"streams_started": 1, "stream_msgs_sent": 2, "stream_msgs_received": 2, "rejected_header_mutations": 7, "streams_failed": 0} {
			if n := p.Counter("http.test.ext_proc." + name); n != want {
				t.Errorf("%s: %d, want %d", name, n, want)
			}
		}
	})
}

// shout has every body in capitals, whatever the mode.
func shout(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	a := agree(q)
	for _, x := range []struct {
		q *extprocv3.HttpBody
		a *extprocv3.BodyResponse
	}{{q.GetRequestBody(), a.GetRequestBody()}, {q.GetResponseBody(), a.GetResponseBody()}} {
		if x.q != nil {
			x.a.Response.BodyMutation = replace(strings.ToUpper(string(x.q.GetBody())) + ".")
		}
	}
	if h := a.GetRequestHeaders(); h != nil {
		h.Response.HeaderMutation = &extprocv3.HeaderMutation{RemoveHeaders: []string{"content-length"}}
	}
	if h := a.GetResponseHeaders(); h != nil {
		h.Response.HeaderMutation = &extprocv3.HeaderMutation{RemoveHeaders: []string{"content-length"}}
	}
	if tr := a.GetRequestTrailers(); tr != nil {
		tr.HeaderMutation = set("x-mine", "n")
	}
	if tr := a.GetResponseTrailers(); tr != nil {
		tr.HeaderMutation = set("x-sum", "2")
	}
	return a
}

func TestBodies(t *testing.T) {
	addr := (&processor{serve: each(shout)}).listen(t)
	for _, mode := range []string{"BUFFERED", "STREAMED", "BUFFERED_PARTIAL"} {
		for _, tail := range []bool{false, true} {
			t.Run(fmt.Sprint(mode, tail), func(t *testing.T) {
				everyway(t, func(t *testing.T, downH2, upH2 bool) {
					trailerMode, mine := "SKIP", "m"
					if tail {
						trailerMode, mine = "SEND", "n"
					}
					p, up := start(t, config{fields: fmt.Sprintf("message_timeout: 5s, processing_mode: {request_body_mode: %s, response_body_mode: %s, request_trailer_mode: %s, response_trailer_mode: %s}", mode, mode, trailerMode, trailerMode), upstreamH2: upH2}, addr)
					r := request(t, p, "POST", "/", "hello", "x-trailers", "1", "te", "trailers")
					r.Trailer = http.Header{"X-Mine": {"m"}}
					r.ContentLength = -1
					res := do(t, client(t, downH2), r)
					got := up.last(t)
					if got.err != nil || !strings.HasPrefix(got.body, "HELLO.") || got.trailer.Get("x-mine") != mine {
						t.Errorf("the upstream got %+v", got)
					}
					want := "1"
					if tail {
						want = "2"
					}
					if res.err != nil || res.status != 200 || !strings.HasPrefix(res.body, "HELLO.") || !strings.HasSuffix(res.body, ".") || res.trailer.Get("x-sum") != want {
						t.Errorf("the client got %+v", res)
					}
					// And without trailers or bodies.
					if res := do(t, client(t, downH2), request(t, p, "POST", "/", "hi")); res.err != nil || !strings.HasPrefix(res.body, "HI.") {
						t.Errorf("without trailers: %+v", res)
					}
					if res := do(t, client(t, downH2), request(t, p, "GET", "/", "")); res.err != nil || res.status != 200 {
						t.Errorf("without a body: %+v", res)
					}
				})
			})
		}
	}
}

func TestLargeBodies(t *testing.T) {
	addr := (&processor{serve: each(agree)}).listen(t)
	large := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	everyway(t, func(t *testing.T, downH2, upH2 bool) {
		p, up := start(t, config{fields: "message_timeout: 20s, processing_mode: {request_body_mode: STREAMED, response_body_mode: STREAMED}", upstreamH2: upH2}, addr)
		res := do(t, client(t, downH2), request(t, p, "POST", "/", large))
		if got := up.last(t); got.body != large {
			t.Errorf("the upstream got %d bytes, %v", len(got.body), got.err)
		}
		if res.err != nil || res.body != large {
			t.Errorf("the client got %d bytes, %v", len(res.body), res.err)
		}
		p, up = start(t, config{fields: "message_timeout: 20s, processing_mode: {request_body_mode: BUFFERED_PARTIAL, response_body_mode: BUFFERED_PARTIAL}", upstreamH2: upH2}, addr)
		res = do(t, client(t, downH2), request(t, p, "POST", "/", large))
		if got := up.last(t); got.body != large || res.err != nil || res.body != large {
			t.Errorf("in part: the upstream got %d bytes, the client %d, %v", len(got.body), len(res.body), res.err)
		}
		p, _ = start(t, config{fields: "message_timeout: 20s, processing_mode: {request_body_mode: BUFFERED}", upstreamH2: upH2}, addr)
		if res := do(t, client(t, downH2), request(t, p, "POST", "/", large)); res.err == nil && res.status != 413 {
			t.Errorf("too large: %d %v", res.status, res.err)
		}
		p, _ = start(t, config{fields: "message_timeout: 20s, processing_mode: {response_body_mode: BUFFERED}", upstreamH2: upH2}, addr)
		if res := do(t, client(t, downH2), request(t, p, "POST", "/", large)); res.err != nil || res.status != 500 {
			t.Errorf("a response too large: %d %v", res.status, res.err)
		}
	})
}

// TestFullDuplex: the processor takes all of a message before it says a word, and answers
// in pieces of its own.
func TestFullDuplex(t *testing.T) {
	duplex := func(s talk) error {
		for _, in := range []bool{true, false} {
			var all strings.Builder
			head, tail := false, false
			for done := false; !done; {
				q, err := s.Recv()
				if err != nil {
					return err
				}
				h, b, tr := q.GetRequestHeaders(), q.GetRequestBody(), q.GetRequestTrailers()
				if !in {
					h, b, tr = q.GetResponseHeaders(), q.GetResponseBody(), q.GetResponseTrailers()
				}
				head = head || h != nil
				all.Write(b.GetBody())
				tail = tail || tr != nil
				done = h.GetEndOfStream() || b.GetEndOfStream() || tr != nil
			}
			onHead, onBody := onRequest, onRequestBody
			if !in {
				onHead, onBody = onResponse, onResponseBody
			}
			out := []*extprocv3.ProcessingResponse{
				onHead(&extprocv3.CommonResponse{HeaderMutation: set("x-all", fmt.Sprint(all.Len()))}),
				onBody(&extprocv3.CommonResponse{BodyMutation: piece("<", false)}),
				onBody(&extprocv3.CommonResponse{BodyMutation: piece(all.String(), false)}),
				onBody(&extprocv3.CommonResponse{BodyMutation: piece(">", !tail)}),
			}
			if tail && in {
				out = append(out, &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{HeaderMutation: set("x-mine", "n")}}})
			} else if tail {
				out = append(out, &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{HeaderMutation: set("x-sum", "2")}}})
			}
			for _, a := range out {
				if err := s.Send(a); err != nil {
					return err
				}
			}
		}
		return nil
	}
	addr := (&processor{serve: duplex}).listen(t)
	large := strings.Repeat("0123456789abcdef", 1<<15) // 512 KiB
	everyway(t, func(t *testing.T, downH2, upH2 bool) {
		p, up := start(t, config{fields: "processing_mode: {request_body_mode: FULL_DUPLEX_STREAMED, response_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: SEND, response_trailer_mode: SEND}", upstreamH2: upH2}, addr)
		for _, tail := range []bool{false, true} {
			r := request(t, p, "POST", "/", large)
			if tail {
				r.Header.Set("x-trailers", "1")
				r.Header.Set("te", "trailers")
				r.Trailer = http.Header{"X-Mine": {"m"}}
				r.ContentLength = -1
			}
			res := do(t, client(t, downH2), r)
			got := up.last(t)
			if got.body != "<"+large+">" || got.header.Get("x-all") != fmt.Sprint(len(large)) || (got.trailer.Get("x-mine") == "n") != tail {
				t.Errorf("%v: the upstream got %d bytes, %v %v %v", tail, len(got.body), got.header, got.trailer, got.err)
			}
			if res.err != nil || res.body != "<<"+large+">>" || (res.trailer.Get("x-sum") == "2") != tail {
				t.Errorf("%v: the client got %d bytes, %v %v", tail, len(res.body), res.trailer, res.err)
			}
		}
	})
}
