// SPDX-License-Identifier: Apache-2.0

package buffer

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config, Extension().Route)
}

func TestBuffer(t *testing.T) {
	pieces := streamtest.Pieces
	tests := []struct {
		name   string
		route  string
		req    streamtest.Request
		status int
		length string   // content-length upstream
		pieces []string // of the body upstream
	}{
		{"no body", "", streamtest.Request{}, 200, "", nil},
		{"one piece", "", streamtest.Request{Body: pieces("hello")}, 200, "5", []string{"hello"}},
		{"pieces", "", streamtest.Request{Body: pieces("hel", "lo", " you")}, 200, "9", []string{"hello you"}},
		{"chunked", "", streamtest.Request{Body: pieces("hello", " you"), Chunked: true}, 200, "9", []string{"hello you"}},
		{"chunked and empty", "", streamtest.Request{Chunked: true}, 200, "0", nil},
		{"at the limit", "", streamtest.Request{Body: pieces("12345", "67890")}, 200, "10", []string{"1234567890"}},
		{"over the limit by its length", "", streamtest.Request{Body: pieces("12345", "678901")}, 413, "", nil},
		{"over the limit", "", streamtest.Request{Body: pieces("12345", "678901"), Chunked: true}, 413, "", nil},
		{"over the limit at once", "", streamtest.Request{Body: pieces("12345678901"), Chunked: true}, 413, "", nil},
		{"disabled", `{"disabled":true}`, streamtest.Request{Body: pieces("12345", "678901")}, 200, "11", []string{"12345", "678901"}},
		{"other limit", `{"buffer":{"max_request_bytes":11}}`, streamtest.Request{Body: pieces("12345", "678901")}, 200, "11", []string{"12345678901"}},
		{"smaller limit", `{"buffer":{"max_request_bytes":1}}`, streamtest.Request{Body: pieces("1", "2")}, 413, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), `{"max_request_bytes":10}`)
			rig.Route(streamtest.Route{Filter: Extension(), Entry: tt.route})
			res := rig.Run(tt.req, streamtest.Upstream{})
			if res.Status != tt.status {
				t.Fatalf("status %d", res.Status)
			}
			if tt.status == 413 {
				if res.Called || res.Info.StatusDetails != "request_payload_too_large" || res.Body != "Payload Too Large" || rig.Counter("http.test.downstream_rq_too_large") != 1 {
					t.Errorf("%+v", res)
				}
				return
			}
			if got := res.Upstream.Header.Get("content-length"); got != tt.length {
				t.Errorf("content-length: %q", got)
			}
			if !slices.Equal(res.Upstream.Pieces, tt.pieces) {
				t.Errorf("pieces: %q", res.Upstream.Pieces)
			}
		})
	}
}

func TestWaitsForTheEnd(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"max_request_bytes":10}`)
	gate := make(chan struct{})
	call := rig.Start(streamtest.Request{Body: []streamtest.Piece{{Data: "a"}, {Data: "b", After: gate}}},
		streamtest.Upstream{OnPiece: func(string) {
			select {
			case <-gate:
			default:
				t.Error("the upstream sees the body before it has ended")
			}
		}})
	close(gate)
	if res := call.Wait(); res.Upstream.Body != "ab" {
		t.Errorf("body: %q", res.Upstream.Body)
	}
}

func TestTrailersAndErrors(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"max_request_bytes":10}`)
	res := rig.Run(streamtest.Request{Body: streamtest.Pieces("a"), Trailer: []string{"x-sum: 1"}}, streamtest.Upstream{})
	if res.Upstream.Trailer.Get("x-sum") != "1" || res.Upstream.Length != 1 {
		t.Errorf("%+v", res.Upstream)
	}
	broken := errors.New("broken")
	res = rig.Run(streamtest.Request{Body: []streamtest.Piece{{Data: "a"}, {Err: broken}}}, streamtest.Upstream{})
	if res.Called || res.Status != 500 {
		t.Errorf("a broken body: %+v", res)
	}
	res = rig.Run(streamtest.Request{Body: []streamtest.Piece{{Err: stream.ErrDownstreamGone}}}, streamtest.Upstream{})
	if res.Called || res.Status != 0 || res.Info.StatusDetails != "downstream_remote_disconnect" {
		t.Errorf("a client that left: %+v", res)
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for _, bad := range []string{`{}`, `{"max_request_bytes":0}`} {
		if _, err := rig.Compile(Extension(), bad); err == nil || !strings.Contains(err.Error(), "max_request_bytes") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, bad := range []string{`{}`, `{"disabled":false}`, `{"buffer":{}}`} {
		if _, err := rig.CompileRoute(Extension(), bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"max_request_bytes":10}`)
	if n := rig.Allocs(streamtest.Request{}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
