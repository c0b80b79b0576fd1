// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
)

func TestUnaryResponses(t *testing.T) {
	k := newMessages(t)
	book := k.frame("shop.Book", `{"id":"7","title":"<T>","kind":1,"author":{"bornIn":5}}`)
	shelf := k.frame("shop.Shelf", `{"name":"n","books":[{"id":1},{"id":2}]}`)
	empty := k.frame("shop.Shelf", `{}`)
	tests := []struct {
		name, config, path, body string
		want                     string
	}{
		{"plain", "", "/v1/shelves/a/books/7", book, `{"id":"7","title":"<T>","author":{"bornIn":5},"kind":"KIND_BIG"}`},
		{"names", `"print_options":{"preserve_proto_field_names":true,"always_print_enums_as_ints":true}`, "/v1/shelves/a/books/7", book, `{"id":"7","title":"<T>","author":{"born_in":5},"kind":1}`},
		{"white space", `"print_options":{"add_whitespace":true}`, "/v1/shelves/a/books/7", book, "{\n \"id\": \"7\",\n \"title\": \"<T>\",\n \"author\": {\n  \"bornIn\": 5\n },\n \"kind\": \"KIND_BIG\"\n}\n"},
		{"primitive fields", `"print_options":{"always_print_primitive_fields":true}`, "/v1/shelves/a/books/7", k.frame("shop.Book", `{}`),
			`{"id":"0","title":"","tags":[],"kind":"KIND_NONE","price":0,"sold":false,"cover":"","kinds":[],"byLang":{}}`},
		{"response field", "", "/v1/shelves/a:list", shelf, `[{"id":"1"},{"id":"2"}]`},
		{"response field, empty", "", "/v1/shelves/a:list", empty, `[]`},
		{"response message", "", "/v1/best", k.frame("shop.Shelf", `{"best":{"id":3}}`), `{"id":"3"}`},
		{"response message, empty", "", "/v1/best", empty, `{}`},
		{"no message", "", "/v1/best", "", ""},
	}
	for _, tt := range tests {
		for _, piece := range []int{1, 4, 1000} {
			res := rig(t, tt.config).Run(streamtest.Request{Path: tt.path}, grpc(tt.body, piece))
			if res.Status != 200 || res.Body != tt.want || res.Header.Get("content-type") != "application/json" || res.Length != int64(len(tt.want)) || res.Header.Get("grpc-status") != "0" {
				t.Errorf("%s in pieces of %d: %+v\nwant %s", tt.name, piece, res.Seen, tt.want)
			}
		}
	}
}

func details64(t *testing.T, any proto.Message) string {
	t.Helper()
	a, err := anypb.New(any)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(&spb.Status{Code: 5, Message: "gone", Details: []*anypb.Any{a}})
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawStdEncoding.EncodeToString(b)
}

func TestErrors(t *testing.T) {
	const convert = `"convert_grpc_status":true`
	k := newMessages(t)
	head := func(h ...string) streamtest.Upstream {
		return streamtest.Upstream{Header: append(h, "content-type: application/grpc")}
	}
	known := "grpc-status-details-bin: " + details64(t, wrapperspb.String("why"))
	strange := "grpc-status-details-bin: " + details64(t, &spb.Status{})
	book := k.frame("shop.Book", `{"id":"7"}`)
	tests := []struct {
		name, config, path string
		up                 streamtest.Upstream
		status             int
		body, grpc         string
	}{
		{"head", "", "/v1/best", head("grpc-status: 5", "grpc-message: no%20such"), 404, "", "5"},
		{"head, converted", convert, "/v1/best", head("grpc-status: 5", "grpc-message: no%20%22such%22"), 404, `{"code":5,"message":"no \"such\""}`, ""},
		{"head, details", convert, "/v1/best", head("grpc-status: 5", known), 404, `{"code":5,"message":"gone","details":[{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"why"}]}`, ""},
		{"head, details nobody knows", convert, "/v1/best", head("grpc-status: 5", strange), 404, "", "5"},
		{"head, broken details", convert, "/v1/best", head("grpc-status: 14", "grpc-status-details-bin: !!"), 503, `{"code":14}`, ""},
		{"head, fine", convert, "/v1/best", head("grpc-status: 0"), 200, "", "0"},
		{"head, not a status", convert, "/v1/best", head("grpc-status: x"), 503, "", "x"},
		{"head, of its own", convert, "/v1/best", head("grpc-status: 99"), 500, `{"code":99}`, ""},
		{"head of a stream", "", "/v1/watch", head("grpc-status: 7"), 403, "[]", "7"},
		{"head of a stream, converted", convert, "/v1/watch", head("grpc-status: 7"), 403, `{"code":7}`, ""},
		{"trailers", "", "/v1/best", grpc("", 1, "grpc-status: 8", "grpc-message: slow"), 429, "", "8"},
		{"trailers, converted", convert, "/v1/best", grpc("", 1, "grpc-status: 8", "grpc-message: slow"), 429, `{"code":8,"message":"slow"}`, ""},
		{"trailers behind a message", convert, "/v1/shelves/a/books/7", grpc(book, 100, "grpc-status: 8"), 429, `{"id":"7"}`, "8"},
		{"trailers without a status", "", "/v1/shelves/a/books/7", grpc(book, 100, "x: y"), 503, `{"id":"7"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := rig(t, tt.config).Run(streamtest.Request{Path: tt.path}, tt.up)
			if res.Status != tt.status || res.Body != tt.body || res.Header.Get("grpc-status") != tt.grpc {
				t.Errorf("%+v", res.Seen)
			}
			if strings.Contains(tt.name, "converted") && (res.Header.Get("content-type") != "application/json" || res.Header.Has("grpc-message")) {
				t.Errorf("%+v", res.Seen)
			}
		})
	}
}

func TestServerStreams(t *testing.T) {
	k := newMessages(t)
	two := k.frames("shop.Book", `{"id":1}`, `{"id":2,"title":"T"}`)
	tests := []struct{ name, config, body, ctype, want string }{
		{"array", "", two, "application/json", `[{"id":"1"},{"id":"2","title":"T"}]`},
		{"nothing", "", "", "application/json", "[]"},
		{"array, white space", `"print_options":{"add_whitespace":true}`, two, "application/json", "[{\n \"id\": \"1\"\n}\n,{\n \"id\": \"2\",\n \"title\": \"T\"\n}\n]"},
		{"lines", `"print_options":{"stream_newline_delimited":true}`, two, "application/json", `{"id":"1"}` + "\n" + `{"id":"2","title":"T"}` + "\n"},
		{"no lines", `"print_options":{"stream_newline_delimited":true}`, "", "application/json", ""},
		{"events", `"print_options":{"stream_sse_style_delimited":true,"stream_newline_delimited":true,"add_whitespace":true}`, two, "text/event-stream", "data: " + `{"id":"1"}` + "\n\ndata: " + `{"id":"2","title":"T"}` + "\n\n"},
	}
	for _, tt := range tests {
		for _, piece := range []int{1, 4, 1000} {
			res := rig(t, tt.config).Run(streamtest.Request{Path: "/v1/watch"}, grpc(tt.body, piece, "grpc-status: 3"))
			if res.Status != 200 || res.Body != tt.want || res.Header.Get("content-type") != tt.ctype || res.Length != -1 || res.Trailer.Get("grpc-status") != "3" {
				t.Errorf("%s in pieces of %d: %+v\nwant %q", tt.name, piece, res.Seen, tt.want)
			}
		}
	}
	res := rig(t, `"convert_grpc_status":true`).Run(streamtest.Request{Path: "/v1/watch"}, grpc("", 1, "grpc-status: 3"))
	if res.Body != `{"code":3}` {
		t.Errorf("a stream that failed at once: %+v", res.Seen)
	}
}

// TestConversation: in a stream of both sides each message passes at once.
func TestConversation(t *testing.T) {
	k := newMessages(t)
	heard, told := make(chan struct{}), make(chan struct{})
	first, got := k.frame("shop.Book", `{"id":1}`), ""
	res := rig(t, "").Run(streamtest.Request{
		Method: "POST", Path: "/v1/chat", Chunked: true,
		Body: []streamtest.Piece{{Data: `[{"id":1}`}, {Data: `,{"id":2}]`, After: told}},
		OnPiece: func(p string) {
			if got += p; got == `[{"id":"9"}` {
				close(told)
			}
		},
	}, streamtest.Upstream{
		Duplex: true, Header: []string{"content-type: application/grpc"}, Trailer: []string{"grpc-status: 0"},
		Body: []streamtest.Piece{{Data: k.frame("shop.Book", `{"id":9}`)}, {Data: k.frame("shop.Book", `{"id":8}`), After: heard}},
		OnPiece: func(p string) {
			if p != first {
				close(heard)
			}
		},
	})
	_ = res.Upstream.Body
	if res.Body != `[{"id":"9"},{"id":"8"}]` {
		t.Errorf("%+v", res)
	}
}

func TestHTTPBodyResponses(t *testing.T) {
	k := newMessages(t)
	page := k.frame("google.api.HttpBody", `{"contentType":"text/html","data":"PGI+"}`)
	more := k.frame("google.api.HttpBody", `{"contentType":"ignored","data":"PC9iPg=="}`)
	put := streamtest.Request{Method: "PUT", Path: "/v1/files/a"}
	res := rig(t, "").Run(put, grpc(page, 3))
	if res.Body != "<b>" || res.Header.Get("content-type") != "text/html" || res.Length != 3 {
		t.Errorf("unary: %+v", res.Seen)
	}
	res = rig(t, `"convert_grpc_status":true`).Run(put, grpc("", 3, "grpc-status: 5"))
	if res.Status != 404 || res.Body != `{"code":5}` || res.Header.Get("content-type") != "application/json" {
		t.Errorf("an error: %+v", res.Seen)
	}
	feed := streamtest.Request{Method: "POST", Path: "/v1/feed"}
	for _, piece := range []int{1, 3, 1000} {
		res = rig(t, "").Run(feed, grpc(page+more, piece))
		if res.Body != "<b></b>" || res.Header.Get("content-type") != "text/html" || res.Length != -1 || res.Trailer.Get("grpc-status") != "0" {
			t.Errorf("streamed: %+v", res.Seen)
		}
	}
	if res = rig(t, "").Run(feed, grpc("", 1)); res.Body != "" || res.Status != 200 {
		t.Errorf("streamed nothing: %+v", res.Seen)
	}
	res = rig(t, "").Run(feed, grpc(k.frame("google.api.HttpBody", `{"contentType":"a\r\nb: c"}`), 100))
	if res.Header.Get("content-type") != "application/json" {
		t.Errorf("a type that breaks the head: %+v", res.Seen)
	}
}

func TestBadResponses(t *testing.T) {
	k := newMessages(t)
	book := k.frame("shop.Book", `{"title":"long enough"}`)
	packed := "\x01" + book[1:]
	broken := string(grpcframe.AppendHead(nil, 0, 1)) + "\xff"
	tests := []struct {
		name, config, body string
		status             int
		details            string
	}{
		{"too large", `"max_response_body_size":10`, book, 500, "grpc_json_transcode_failure{response_buffer_size_limit_reached}"},
		{"JSON too large", `"max_response_body_size":15`, book, 500, "grpc_json_transcode_failure{response_buffer_size_limit_reached}"},
		{"compressed", "", packed, 502, "grpc_json_transcode_failure{INTERNAL}"},
		{"not a message", "", broken, 502, "grpc_json_transcode_failure{INTERNAL}"},
		{"half a message", "", book[:9], 502, "grpc_json_transcode_failure{INTERNAL}"},
		{"two messages", "", book + book, 502, "grpc_json_transcode_failure{INTERNAL}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := rig(t, tt.config).Run(streamtest.Request{Path: "/v1/shelves/a/books/7"}, grpc(tt.body, 100))
			if res.Status != tt.status || res.Info.StatusDetails != tt.details {
				t.Errorf("%+v %s", res.Seen, res.Info.StatusDetails)
			}
			if tt.name == "two messages" || tt.name == "JSON too large" {
				return
			}
			res = rig(t, tt.config).Run(streamtest.Request{Path: "/v1/watch"}, grpc(tt.body, 100))
			var e *stream.Error
			if !errors.As(res.Err, &e) || e.Details != tt.details {
				t.Errorf("streamed: %v", res.Err)
			}
		})
	}
}

func TestOtherResponsesPass(t *testing.T) {
	for _, up := range []streamtest.Upstream{
		{Status: 503, Header: []string{"content-type: text/plain"}, Body: streamtest.Pieces("sorry")},
		{Header: []string{"content-type: text/html"}, Body: streamtest.Pieces("sorry")},
		{Err: &stream.Error{Status: 503, Body: "sorry"}},
	} {
		res := rig(t, `"convert_grpc_status":true`).Run(streamtest.Request{Path: "/v1/best"}, up)
		if res.Body != "sorry" || res.Header.Has("grpc-status") || res.Header.Get("content-type") == "application/json" {
			t.Errorf("%+v", res.Seen)
		}
	}
}
