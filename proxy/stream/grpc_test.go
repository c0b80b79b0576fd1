// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"bytes"
	"testing"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
)

func TestIsGRPC(t *testing.T) {
	for ct, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc;charset=utf-8": true,
		"application/grpc-web": false, "application/grpc-web+proto": false, "application/grp": false, "application/json": false, "": false,
	} {
		if got := stream.IsGRPC([]byte(ct)); got != want {
			t.Errorf("%q: %v", ct, got)
		}
	}
}

func TestGRPCTimeout(t *testing.T) {
	for v, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "4m": 4 * time.Millisecond,
		"5u": 5 * time.Microsecond, "99999999n": 99999999, "0S": 0, "99999999H": 2_000_000 * time.Hour,
		"": -1, "S": -1, "100000000S": -1, "-1S": -1, "1x": -1, "1": -1,
	} {
		got, ok := stream.ParseGRPCTimeout([]byte(v))
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v %v", v, got, ok)
		}
	}
}

// reply answers every request.
type reply struct{ r stream.Reply }

func (f *reply) Request(s *stream.Stream) error {
	s.Reply(f.r)
	return nil
}

func (*reply) Response(*stream.Stream) error { return nil }

func TestLocalReplyToGRPC(t *testing.T) {
	const grpc = "content-type: application/grpc+proto"
	tests := []struct {
		name            string
		method          string
		reply           stream.Reply
		status, message string
	}{
		{"bad request", "POST", stream.Reply{Status: 400, Body: "bad"}, "13", "bad"},
		{"unauthorized", "POST", stream.Reply{Status: 401}, "16", ""},
		{"forbidden", "POST", stream.Reply{Status: 403, Body: "RBAC: access denied"}, "7", "RBAC: access denied"},
		{"no route", "POST", stream.Reply{Status: 404}, "12", ""},
		{"too large", "POST", stream.Reply{Status: 413, Body: "Payload Too Large"}, "2", "Payload Too Large"},
		{"time-out of the client", "POST", stream.Reply{Status: 408}, "2", ""},
		{"rate limited", "POST", stream.Reply{Status: 429}, "14", ""},
		{"rate limited as resource exhausted", "POST", stream.Reply{Status: 429, GRPCStatus: stream.GRPC(8)}, "8", ""},
		{"internal", "POST", stream.Reply{Status: 500}, "2", ""},
		{"bad gateway", "POST", stream.Reply{Status: 502}, "14", ""},
		{"no host", "POST", stream.Reply{Status: 503, Body: "no healthy upstream"}, "14", "no healthy upstream"},
		{"time-out of the upstream", "POST", stream.Reply{Status: 504, Body: "upstream request timeout"}, "14", "upstream request timeout"},
		{"fine after all", "POST", stream.Reply{Status: 503, GRPCStatus: stream.GRPC(0)}, "0", ""},
		{"escapes", "POST", stream.Reply{Status: 500, Body: "50% ~ of \u00fc\n"}, "2", "50%25 ~ of %C3%BC%0A"},
		{"JSON", "POST", stream.Reply{Status: 500, Body: "{}\n", ContentType: "application/json"}, "2", "{}"},
		{"HEAD", "HEAD", stream.Reply{Status: 503, Body: "no"}, "14", ""},
		{"told by a header", "POST", stream.Reply{Status: 503, Header: func(h *header.Map) { h.Set(header.GRPCStatus, "9") }}, "9", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := streamtest.Run(t, &reply{tt.reply}, streamtest.Request{Method: tt.method, Header: []string{grpc}}, streamtest.Upstream{})
			if res.Status != 200 || res.Info.Status != 200 || res.HasBody || res.Header.Has("content-length") {
				t.Errorf("%+v", res.Seen)
			}
			if h := res.Header; h.Get("content-type") != "application/grpc" || h.Get("grpc-status") != tt.status || h.Get("grpc-message") != tt.message {
				t.Errorf("%v", h)
			}
			if got := stream.AppendGRPCText(nil, []byte(tt.message)); tt.message != "" && tt.reply.ContentType == "" && string(got) != tt.reply.Body {
				t.Errorf("read back: %q", got)
			}
			plain := streamtest.Run(t, &reply{tt.reply}, streamtest.Request{Method: tt.method}, streamtest.Upstream{})
			if plain.Status != tt.reply.Status || plain.Body != tt.reply.Body || plain.Header.Has("grpc-message") {
				t.Errorf("to others: %+v", plain.Seen)
			}
		})
	}
}

// disguise makes gRPC of a request and nothing of a gRPC request, and fails.
type disguise struct{ contentType string }

func (f *disguise) Request(s *stream.Stream) error {
	s.Request.Header.Set(header.ContentType, f.contentType)
	return &stream.Error{Status: 503, Body: "no", GRPCStatus: stream.GRPC(8)}
}

func (*disguise) Response(*stream.Stream) error { return nil }

func TestAnswersAreInTheClientsForm(t *testing.T) {
	res := streamtest.Run(t, &disguise{"application/grpc"}, streamtest.Request{Header: []string{"content-type: application/json"}}, streamtest.Upstream{})
	if res.Status != 503 || res.Body != "no" || res.Header.Has("grpc-status") {
		t.Errorf("JSON: %+v", res.Seen)
	}
	res = streamtest.Run(t, &disguise{"application/x-protobuf"}, streamtest.Request{Header: []string{"content-type: application/grpc"}}, streamtest.Upstream{})
	if res.Status != 200 || res.Header.Get("grpc-status") != "8" || res.Header.Get("grpc-message") != "no" {
		t.Errorf("gRPC: %+v", res.Seen)
	}
}

func TestGRPCStatusMapping(t *testing.T) {
	want := map[int]int{0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401, 17: 500, -1: 500}
	for code, status := range want {
		if got := stream.HTTPFromGRPC(code); got != status {
			t.Errorf("%d: %d", code, got)
		}
	}
	for v, code := range map[string]int{"0": 0, "16": 16, "100": 100, "": -1, "-1": -1, "1a": -1, "12345678901": -1} {
		if got, ok := stream.ParseGRPCStatus([]byte(v)); ok != (code >= 0) || ok && got != code {
			t.Errorf("%q: %d %v", v, got, ok)
		}
	}
}

func FuzzGRPCMessage(f *testing.F) {
	for _, s := range []string{"", "plain", "50%", "%41%4", "%zz", "\x00\xff~"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		msg := stream.AppendGRPCMessage(nil, text)
		for _, c := range msg {
			if c < ' ' || c > '~' {
				t.Fatalf("%q holds %q", msg, c)
			}
		}
		if got := stream.AppendGRPCText(nil, msg); !bytes.Equal(got, text) {
			t.Fatalf("%q came back as %q", text, got)
		}
		stream.AppendGRPCText(nil, text) // Must not panic.
	})
}
