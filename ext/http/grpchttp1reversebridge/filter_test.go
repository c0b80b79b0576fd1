// SPDX-License-Identifier: Apache-2.0

package grpchttp1reversebridge

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

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config, Extension().Route)
}

const (
	plain    = `{"content_type":"application/x-protobuf"}`
	withhold = `{"content_type":"application/x-protobuf","withhold_grpc_frames":true}`
	sized    = `{"content_type":"application/x-protobuf","withhold_grpc_frames":true,"response_size_header":"X-Size"}`
)

func frame(msg string) string { return string(grpcframe.AppendHead(nil, 0, len(msg))) + msg }

func call(piece int) streamtest.Request {
	r := streamtest.Request{Method: "POST", Path: "/a.B/C", Header: []string{"content-type: application/grpc+proto"}}
	for text := frame("question"); len(text) > 0; {
		n := min(piece, len(text))
		r.Body = append(r.Body, streamtest.Piece{Data: text[:n]})
		text = text[n:]
	}
	return r
}

func answerOf(h ...string) streamtest.Upstream {
	return streamtest.Upstream{Header: append(h, "content-type: application/x-protobuf"), Body: streamtest.Pieces("ans", "wer")}
}

// over makes the request one of HTTP/2.
type over struct{}

func (over) Request(s *stream.Stream) error {
	s.Info.Protocol = streaminfo.HTTP2
	return nil
}

func (over) Response(*stream.Stream) error { return nil }

func TestBridge(t *testing.T) {
	failed := answerOf()
	failed.Status = 503
	trailed := answerOf()
	trailed.Trailer = []string{"x-sum: 1", "grpc-status: 9"}
	empty := answerOf("x-size: 0")
	empty.Body = nil
	tests := []struct {
		name, config       string
		up                 streamtest.Upstream
		sent, body, status string
	}{
		{"frames stay", plain, answerOf(), frame("question"), "answer", "0"},
		{"frames stay, a failure", plain, failed, frame("question"), "answer", "14"},
		{"no frames", withhold, answerOf(), "question", frame("answer"), "0"},
		{"no frames, trailers", withhold, trailed, "question", frame("answer"), "0"},
		{"no frames, a failure", withhold, failed, "question", frame("answer"), "14"},
		{"no frames, no body", withhold, empty, "question", frame(""), "0"},
		{"size told", sized, answerOf("x-size: 6"), "question", frame("answer"), "0"},
		{"size told twice", sized, answerOf("x-size: 6, 7"), "question", frame("answer"), "0"},
		{"size told, no body", sized, empty, "question", frame(""), "0"},
	}
	for _, tt := range tests {
		for _, piece := range []int{1, 3, 5, 100} {
			for _, h2 := range []bool{false, true} {
				rig := streamtest.New(t)
				if h2 {
					rig.AddFilter("over", over{})
				}
				rig.Add(Extension(), tt.config)
				res := rig.Run(call(piece), tt.up)
				up := res.Upstream
				if up.Body != tt.sent || up.Length != int64(len(tt.sent)) || up.Header.Get("content-type") != "application/x-protobuf" || up.Header.Get("accept") != "application/x-protobuf" {
					t.Errorf("%s: upstream %+v", tt.name, up)
				}
				if res.Status != 200 || res.Body != tt.body || res.Trailer.Get("grpc-status") != tt.status || res.Header.Get("content-type") != "application/grpc+proto" || res.Err != nil {
					t.Errorf("%s: %+v", tt.name, res.Seen)
				}
				if h2 && res.Length >= 0 && res.Length != int64(len(tt.body)) || !h2 && res.Length != -1 {
					t.Errorf("%s: length %d", tt.name, res.Length)
				}
			}
		}
	}
}

func TestErrors(t *testing.T) {
	wrong := answerOf("x-size: 7")
	text := streamtest.Upstream{Header: []string{"content-type: text/plain"}, Body: streamtest.Pieces("sorry")}
	tests := []struct {
		name, config             string
		req                      streamtest.Request
		up                       streamtest.Upstream
		status, message, details string
	}{
		{"another type", plain, call(100), text, "2", "envoy reverse bridge: upstream responded with unsupported content-type text/plain, status code 200", "grpc_bridge_content_type_wrong"},
		{"no type", plain, call(100), streamtest.Upstream{Status: 404}, "2", "envoy reverse bridge: upstream responded with no content-type header, status code 404", "grpc_bridge_content_type_wrong"},
		{"no size", sized, call(100), answerOf(), "13", "envoy reverse bridge: upstream did not set content length", "grpc_bridge_content_length_missing"},
		{"no frame", withhold, streamtest.Request{Header: []string{"content-type: application/grpc"}, Body: streamtest.Pieces("\x00\x00", "\x00\x00")}, answerOf(), "2", "invalid request body", "grpc_bridge_data_too_small"},
		{"too long", withhold, call(100), streamtest.Upstream{Header: answerOf().Header, Body: streamtest.Pieces(strings.Repeat("x", stream.DefaultBufferLimit+1))}, "2", "Internal Server Error", "response_payload_too_large"},
		{"local reply", withhold, call(100), streamtest.Upstream{Err: &stream.Error{Status: 503, Body: "no host", Details: "why"}}, "14", "no host", "why"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), tt.config)
			res := rig.Run(tt.req, tt.up)
			if res.Status != 200 || res.HasBody || res.Header.Get("grpc-status") != tt.status || res.Header.Get("grpc-message") != tt.message || res.Info.StatusDetails != tt.details {
				t.Errorf("%+v %s", res.Seen, res.Info.StatusDetails)
			}
		})
	}
	rig := streamtest.New(t)
	rig.Add(Extension(), sized)
	res := rig.Run(call(100), wrong)
	var e *stream.Error
	if !errors.As(res.Err, &e) || e.Details != "grpc_bridge_content_length_wrong" {
		t.Errorf("a wrong size: %v", res.Err)
	}
}

func TestHeadOnly(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), plain)
	up := answerOf()
	up.Body, up.Status = nil, 503
	res := rig.Run(call(100), up)
	if res.Status != 200 || res.HasBody || res.Header.Get("grpc-status") != "14" {
		t.Errorf("%+v", res.Seen)
	}
}

func TestOthersPass(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), withhold)
	rig.Route(streamtest.Route{Filter: Extension(), Entry: `{"disabled":true}`})
	if res := rig.Run(call(100), answerOf()); res.Upstream.Body != frame("question") || res.Body != "answer" {
		t.Errorf("disabled: %+v", res)
	}
	rig.Route(streamtest.Route{Filter: Extension(), Host: `{"disabled":true}`, Entry: `{}`})
	if res := rig.Run(call(100), answerOf()); res.Body != frame("answer") {
		t.Errorf("enabled again: %+v", res)
	}
	req := call(100)
	req.Body = nil
	if res := rig.Run(req, answerOf()); res.Upstream.Header.Get("content-type") != "application/grpc+proto" || res.Body != "answer" {
		t.Errorf("no body: %+v", res)
	}
	if res := rig.Run(streamtest.Request{Body: streamtest.Pieces("body")}, answerOf()); res.Upstream.Body != "body" || res.Body != "answer" {
		t.Errorf("not gRPC: %+v", res)
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for bad, field := range map[string]string{`{}`: "content_type", `{"content_type":"a","response_size_header":"a\u0000b"}`: "ResponseSizeHeader"} {
		if _, err := rig.Compile(Extension(), bad); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
