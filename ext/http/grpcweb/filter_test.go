// SPDX-License-Identifier: Apache-2.0

package grpcweb

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config) }

func frame(flags byte, msg string) string {
	return string(grpcframe.AppendHead(nil, flags, len(msg))) + msg
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func rig(t *testing.T) *streamtest.Rig {
	r := streamtest.New(t)
	r.Add(Extension(), `{}`)
	return r
}

func cut(s string, n int) (p []streamtest.Piece) {
	for len(s) > 0 {
		k := min(n, len(s))
		p = append(p, streamtest.Piece{Data: s[:k]})
		s = s[k:]
	}
	return p
}

func request(ct, accept, body string, piece int) streamtest.Request {
	h := []string{"content-type: " + ct}
	if accept != "" {
		h = append(h, "accept: "+accept)
	}
	return streamtest.Request{Method: "POST", Path: "/a.B/C", Header: h, Body: cut(body, piece)}
}

func answer(piece int) streamtest.Upstream {
	return streamtest.Upstream{
		Header: []string{"content-type: application/grpc", "content-length: 99"}, Body: cut(frame(0, "hello")+frame(0, "")+frame(0, "you"), piece),
		Trailer: []string{"grpc-status: 0", "Grpc-Message: fine"},
	}
}

func TestCalls(t *testing.T) {
	const trailers = "grpc-status:0\r\ngrpc-message:fine\r\n"
	want := frame(0, "hello") + frame(0, "") + frame(0, "you") + frame(0x80, trailers)
	wantText := b64(frame(0, "hello")) + b64(frame(0, "")) + b64(frame(0, "you")) + b64(frame(0x80, trailers))
	message := frame(0, "question")
	tests := []struct {
		name, ct, accept, body string
		respType, resp         string
	}{
		{"binary", typeWeb, "", message, typeWebProto, want},
		{"binary proto", typeWebProto, "", message, typeWebProto, want},
		{"text", typeText, typeText, b64(message), typeTextProto, wantText},
		{"text proto", typeTextProto, typeTextProto, b64(message), typeTextProto, wantText},
		{"padding within", typeText, typeText, b64(message[:4]) + b64(message[4:5]) + b64(message[5:]), typeTextProto, wantText},
		{"text answered in binary", typeText, "*/*", b64(message), typeWebProto, want},
		{"binary answered in text", typeWeb, typeText, message, typeTextProto, wantText},
	}
	for _, tt := range tests {
		for _, piece := range []int{1, 2, 3, 5, 7, 1000} {
			r := rig(t)
			res := r.Run(request(tt.ct, tt.accept, tt.body, piece), answer(piece))
			up := res.Upstream
			if up.Body != message || up.Length != -1 || up.Header.Has("content-length") || up.Header.Get("content-type") != "application/grpc" || up.Header.Get("te") != "trailers" ||
				up.Header.Get("grpc-accept-encoding") != "identity,deflate,gzip" {
				t.Errorf("%s: upstream %+v", tt.name, up)
			}
			if res.Body != tt.resp || res.Length != -1 || res.Header.Has("content-length") || res.Header.Get("content-type") != tt.respType || len(res.Trailer) > 0 {
				t.Errorf("%s in pieces of %d: %+v\nwant %q", tt.name, piece, res.Seen, tt.resp)
			}
			if r.Counter("cluster.backend.grpc-web.a.B.C.0") != 1 || r.Counter("cluster.backend.grpc-web.a.B.C.total") != 1 {
				t.Errorf("%s: counted %d", tt.name, r.Counter("cluster.backend.grpc-web.a.B.C.0"))
			}
		}
	}
}

// TestMessagesComeAsTheyAre: a message in text form is sent whole before the next has
// come.
func TestMessagesComeAsTheyAre(t *testing.T) {
	more := make(chan struct{})
	got := ""
	req := request(typeText, typeText, "", 1)
	req.OnPiece = func(p string) {
		if got += p; got == b64(frame(0, "a")) {
			close(more)
		}
	}
	res := rig(t).Run(req, streamtest.Upstream{
		Header: []string{"content-type: application/grpc+proto"},
		Body:   []streamtest.Piece{{Data: frame(0, "a")}, {Data: frame(0, "b"), After: more}},
	})
	if res.Body != b64(frame(0, "a"))+b64(frame(0, "b")) {
		t.Errorf("%q", res.Body)
	}
}

func TestOtherAnswers(t *testing.T) {
	long := strings.Repeat("x", maxMessage+1)
	tests := []struct {
		name                           string
		up                             streamtest.Upstream
		httpStatus                     int
		status, message, body, trailer string
	}{
		{"trailers only", streamtest.Upstream{Header: []string{"content-type: application/grpc", "grpc-status: 5", "grpc-message: no"}}, 200, "5", "no", "", ""},
		{"an error page", streamtest.Upstream{Status: 503, Header: []string{"content-type: text/plain"}, Body: streamtest.Pieces("so", "rry\n")}, 503, "14", "sorry%0A", "", ""},
		{"a long one", streamtest.Upstream{Status: 404, Body: streamtest.Pieces(long)}, 404, "12", long[:maxMessage], "", ""},
		{"a page", streamtest.Upstream{Header: []string{"content-type: text/html"}, Body: streamtest.Pieces("<p>")}, 200, "2", "<p>", "", ""},
		{"a page with trailers", streamtest.Upstream{Body: streamtest.Pieces("<p>"), Trailer: []string{"x: y"}}, 200, "2", "<p>", "", ""},
		{"no body", streamtest.Upstream{Status: 502}, 502, "", "", "", ""},
		{"gRPC-Web already", streamtest.Upstream{Header: []string{"content-type: Application/gRPC-Web+proto; x=y"}, Body: streamtest.Pieces("abc")}, 200, "", "", "abc", ""},
		{"a local reply", streamtest.Upstream{Err: &stream.Error{Status: 503, Body: "no healthy upstream"}}, 503, "14", "no healthy upstream", "", ""},
		{"a local reply without a body", streamtest.Upstream{Err: &stream.Error{Status: 404}}, 404, "", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := rig(t).Run(request(typeWeb, "", frame(0, "q"), 100), tt.up)
			h := res.Header
			if res.Status != tt.httpStatus || h.Get("grpc-status") != tt.status || h.Get("grpc-message") != tt.message || res.Body != tt.body ||
				h.Get("content-type") != typeWebProto || len(res.Trailer) > 0 {
				t.Errorf("%+v", res.Seen)
			}
		})
	}
}

func TestBroken(t *testing.T) {
	for body, details := range map[string]string{
		"AAAA!AAA": "grpc_base_64_decode_failed", "AAAAA": "grpc_base_64_decode_failed_bad_size", "A===": "grpc_base_64_decode_failed", "AA=A": "grpc_base_64_decode_failed",
	} {
		res := rig(t).Run(request(typeText, typeText, body, 3), answer(100))
		if res.Status != 400 || res.Header.Get("grpc-status") != "13" || res.Header.Get("grpc-message") != "Bad gRPC-web request, invalid base64 data." || res.Info.StatusDetails != details {
			t.Errorf("%q: %+v %s", body, res.Seen, res.Info.StatusDetails)
		}
	}
	broken := errors.New("broken")
	up := answer(100)
	up.Body = append(up.Body, streamtest.Piece{Err: broken})
	for _, accept := range []string{"", typeText} {
		if res := rig(t).Run(request(typeWeb, accept, frame(0, "q"), 100), up); !errors.Is(res.Err, broken) {
			t.Errorf("%q: %v", accept, res.Err)
		}
	}
}

func TestOthersPass(t *testing.T) {
	for _, ct := range []string{"application/grpc", "application/grpc-web+json", "text/plain", "Application/gRPC-Web"} {
		res := rig(t).Run(request(ct, "", "body", 100), answer(100))
		if res.Upstream.Body != "body" || res.Upstream.Header.Get("content-type") != ct || res.Header.Get("content-type") != "application/grpc" || res.Trailer.Get("grpc-status") != "0" {
			t.Errorf("%s: %+v", ct, res)
		}
	}
	// CORS is for the cors filter.
	res := rig(t).Run(streamtest.Request{Method: "OPTIONS", Header: []string{"origin: https://a", "access-control-request-method: POST"}}, streamtest.Upstream{})
	if !res.Called || res.Status != 200 {
		t.Errorf("preflight: %+v", res)
	}
}

func TestNoAllocation(t *testing.T) {
	r := rig(t)
	if n := r.Allocs(streamtest.Request{Method: "POST", Path: "/a.B/C", Header: []string{"content-type: " + typeWeb}}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
