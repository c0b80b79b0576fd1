// SPDX-License-Identifier: Apache-2.0

package grpchttp1bridge

import (
	"errors"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config) }

func frame(msg string) string { return string(grpcframe.AppendHead(nil, 0, len(msg))) + msg }

func post(ct, body string) streamtest.Request {
	return streamtest.Request{Method: "POST", Path: "/a.B/C?q=1", Header: []string{"content-type: " + ct}, Body: streamtest.Pieces(body[:2], body[2:])}
}

func answer(trailer ...string) streamtest.Upstream {
	return streamtest.Upstream{Header: []string{"content-type: application/grpc"}, Body: streamtest.Pieces(frame("answer")[:3], frame("answer")[3:]), Trailer: trailer}
}

func TestBridge(t *testing.T) {
	tests := []struct {
		name, config, ct string
		up               streamtest.Upstream
		status           int
		grpc, message    string
		path, sent, body string
	}{
		{"fine", `{}`, typeGRPC, answer("grpc-status: 0"), 200, "0", "", "/a.B/C?q=1", frame("question"), frame("answer")},
		{"an error", `{}`, typeGRPC, answer("grpc-status: 5", "grpc-message: no%20such"), 503, "5", "no%20such", "/a.B/C?q=1", frame("question"), frame("answer")},
		{"not a status", `{}`, typeGRPC, answer("grpc-status: x"), 503, "x", "", "/a.B/C?q=1", frame("question"), frame("answer")},
		{"no status", `{}`, typeGRPC, answer("other: 1"), 200, "", "", "/a.B/C?q=1", frame("question"), frame("answer")},
		{"trailers only", `{}`, typeGRPC, streamtest.Upstream{Header: []string{"content-type: application/grpc", "grpc-status: 5"}}, 200, "5", "", "/a.B/C?q=1", frame("question"), ""},
		{"no query", `{"ignore_query_parameters":true}`, typeGRPC, answer("grpc-status: 0"), 200, "0", "", "/a.B/C", frame("question"), frame("answer")},
		{"protobuf", `{"upgrade_protobuf_to_grpc":true}`, typeProtobuf, answer("grpc-status: 0"), 200, "0", "", "/a.B/C?q=1", frame("question"), "answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := frame("question")
			if tt.ct == typeProtobuf {
				body = "question"
			}
			for _, chunked := range []bool{false, true} {
				rig := streamtest.New(t)
				rig.Add(Extension(), tt.config)
				req := post(tt.ct, body)
				req.Chunked = chunked
				res := rig.Run(req, tt.up)
				up := res.Upstream
				if up.Body != tt.sent || up.Header.Get(":path") != tt.path || up.Header.Get("content-type") != typeGRPC {
					t.Errorf("upstream %+v", up)
				}
				if up.Length >= 0 && up.Length != int64(len(tt.sent)) {
					t.Errorf("the upstream is told %d bytes", up.Length)
				}
				if res.Status != tt.status || res.Body != tt.body || res.Header.Get("grpc-status") != tt.grpc || res.Header.Get("grpc-message") != tt.message || len(res.Trailer) > 0 {
					t.Errorf("%+v", res.Seen)
				}
				if tt.body != "" && res.Length != int64(len(tt.body)) {
					t.Errorf("length %d", res.Length)
				}
			}
		})
	}
}

func TestNoMessage(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"upgrade_protobuf_to_grpc":true}`)
	req := post(typeProtobuf, "xx")
	req.Body = nil
	res := rig.Run(req, streamtest.Upstream{Status: 500, Header: []string{"content-type: text/plain"}, Body: streamtest.Pieces("sorry, no")})
	if res.Upstream.Body != frame("") || res.Body != "sorry, no" || res.Status != 500 {
		t.Errorf("%+v", res)
	}
}

func TestLimits(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"upgrade_protobuf_to_grpc":true}`)
	long := strings.Repeat("x", stream.DefaultBufferLimit)
	req := post(typeProtobuf, long+"x")
	req.Chunked = true
	if res := rig.Run(req, answer("grpc-status: 0")); res.Status != 413 || res.Called || res.Info.StatusDetails != "request_payload_too_large" {
		t.Errorf("request: %d %s", res.Status, res.Info.StatusDetails)
	}
	up := answer("grpc-status: 0")
	up.Body = streamtest.Pieces(long, "x")
	if res := rig.Run(post(typeGRPC, frame("q")), up); res.Header.Get("grpc-status") != "2" || res.Info.StatusDetails != "response_payload_too_large" {
		t.Errorf("response: %+v", res.Header)
	}
	broken := errors.New("broken")
	up.Body = []streamtest.Piece{{Data: "x"}, {Err: broken}}
	if res := rig.Run(post(typeGRPC, frame("q")), up); res.Header.Get("grpc-status") != "2" {
		t.Errorf("broken: %+v", res.Seen)
	}
}

// over makes the request one of another protocol.
type over struct{ p streaminfo.Protocol }

func (o over) Request(s *stream.Stream) error {
	s.Info.Protocol = o.p
	return nil
}

func (over) Response(*stream.Stream) error { return nil }

func TestOthersPass(t *testing.T) {
	rig := streamtest.New(t)
	rig.AddFilter("over", over{streaminfo.HTTP2})
	rig.Add(Extension(), `{"upgrade_protobuf_to_grpc":true,"ignore_query_parameters":true}`)
	res := rig.Run(post(typeGRPC, frame("q")), answer("grpc-status: 5"))
	if res.Status != 200 || res.Trailer.Get("grpc-status") != "5" || res.Upstream.Header.Get(":path") != "/a.B/C?q=1" {
		t.Errorf("HTTP/2: %+v", res)
	}
	rig = streamtest.New(t)
	rig.Add(Extension(), `{}`)
	res = rig.Run(post(typeProtobuf, "body"), answer("grpc-status: 5"))
	if res.Upstream.Body != "body" || res.Trailer.Get("grpc-status") != "5" {
		t.Errorf("protobuf that is not asked for: %+v", res)
	}
}
