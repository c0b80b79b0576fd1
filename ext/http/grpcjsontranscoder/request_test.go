// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"

	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config) }

// requestTest is a request and the message that it should become.
type requestTest struct {
	name, config       string
	method, path, body string
	rpc                string // "" for one that passes as it is
	message            string // in JSON
	in                 string // the message's type
}

func TestRequests(t *testing.T) {
	const req, book = "shop.Request", "shop.Book"
	tests := []requestTest{
		{"path", "", "GET", "/v1/shelves/a/books/7", "", "Get", `{"shelf":"a","book":{"id":"7"}}`, req},
		{"trailing slash", "", "GET", "/v1/shelves/a/books/7/", "", "Get", `{"shelf":"a","book":{"id":"7"}}`, req},
		{"escapes in one part", "", "GET", "/v1/shelves/a%2Fb%20c/books/7", "", "Get", `{"shelf":"a/b c","book":{"id":"7"}}`, req},
		{"several parts", "", "GET", "/v1/all/b%2Fc%20d/e", "", "Get", `{"shelf":"all/b%2Fc d/e"}`, req},
		{"several parts, all but slashes", `"url_unescape_spec":"ALL_CHARACTERS_EXCEPT_SLASH"`, "GET", "/v1/all/b%2Fc%3Ad/e", "", "Get", `{"shelf":"all/b%2Fc:d/e"}`, req},
		{"several parts, all", `"url_unescape_spec":"ALL_CHARACTERS"`, "GET", "/v1/all/b%2Fc%3Ad", "", "Get", `{"shelf":"all/b/c:d"}`, req},
		{"no further part", "", "GET", "/v1/all", "", "Get", `{"shelf":"all"}`, req},
		{"query", "", "GET", "/v1/shelves/a/books/7?page_size=3&book.author.name=Ada%20L+x&book.author.bornIn=1815&book.tags=x&book.tags=y", "", "Get",
			`{"shelf":"a","pageSize":3,"book":{"id":"7","author":{"name":"Ada L+x","bornIn":1815},"tags":["x","y"]}}`, req},
		{"plus", `"query_param_unescape_plus":true`, "GET", "/v1/best?shelf=a+b", "", "Best", `{"shelf":"a b"}`, req},
		{"all kinds", "", "GET", "/v1/best?pageSize=1&book.kind=KIND_BIG&book.price=-1.5e3&book.sold=true&book.cover=_-8&book.printed=2020-01-02T03:04:05Z&book.pages=9&book.kinds=1&book.kinds=KIND_NONE", "", "Best",
			`{"pageSize":1,"book":{"kind":1,"price":-1500,"sold":true,"cover":"/+8=","printed":"2020-01-02T03:04:05Z","pages":9,"kinds":[1,0]}}`, req},
		{"a parameter without a value", "", "GET", "/v1/best?shelf&=x&", "", "Best", `{}`, req},
		{"custom verb", "", "GET", "/v1/shelves/a:list", "", "List", `{"shelf":"a"}`, req},
		{"custom method", "", "TAG", "/v1/books", `["x","y"]`, "Tag", `{"book":{"tags":["x","y"]}}`, req},
		{"body field", "", "POST", "/v1/shelves/a?pageSize=2", ` {"title":"T","unknown":{"x":[1]},"author":{"born_in":3}} `, "Create", `{"shelf":"a","pageSize":2,"book":{"title":"T","author":{"bornIn":3}}}`, req},
		{"body field is empty", "", "POST", "/v1/shelves/a", "", "Create", `{"shelf":"a"}`, req},
		{"body whole", "", "PUT", "/v1/books/7", `{"title":"T"}`, "Update", `{"id":"7","title":"T"}`, book},
		{"body before path", "", "PUT", "/v1/books/7", `{"id":8,"title":"T"}`, "Update", `{"id":"8","title":"T"}`, book},
		{"body and path agree", `"request_validation_options":{"reject_binding_body_field_collisions":true}`, "PUT", "/v1/books/7", `{"id":"7"}`, "Update", `{"id":"7"}`, book},
		{"a body that the rule has no place for", "", "GET", "/v1/best", `{"shelf":"x"}`, "Best", `{}`, req},
		{"enums in any case", `"case_insensitive_enum_parsing":true`, "PUT", "/v1/books/7?kinds=kind_big", `{"kind":"kind-big","kinds":["KIND_BIG"],"byLang":{"de":{"kind":"Kind_Big"}},"price":1}`, "Update",
			`{"id":"7","kind":1,"kinds":[1,1],"byLang":{"de":{"kind":1}},"price":1}`, book},
		{"auto mapping", `"auto_mapping":true`, "POST", "/shop.Shop/Plain?title=T", `{"id":1}`, "Plain", `{"id":"1","title":"T"}`, book},
		{"ignored parameter", `"ignored_query_parameters":["key"]`, "GET", "/v1/best?key=1&shelf=a", "", "Best", `{"shelf":"a"}`, req},
		{"unknown parameters ignored", `"ignore_unknown_query_parameters":true`, "GET", "/v1/best?key=1&shelf.x=2&shelf=a", "", "Best", `{"shelf":"a"}`, req},
		{"a verb nobody has", "", "POST", "/v1/shelves/a:x", "", "Create", `{"shelf":"a:x"}`, req},
		{"unknown verb asked for", `"match_unregistered_custom_verb":true`, "POST", "/v1/shelves/a:x", "", "", "", ""},
		{"unknown parameter", "", "GET", "/v1/best?key=1", "", "", "", ""},
		{"unknown path", "", "GET", "/v2", "", "", "", ""},
		{"unknown method", "", "DELETE", "/v1/best", "", "", "", ""},
		{"not mapped", "", "POST", "/shop.Shop/Plain", `{}`, "", "", ""},
	}
	k := newMessages(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, piece := range []int{1, 1000} {
				check(t, k, &tt, piece)
			}
		})
	}
}

func check(t *testing.T, k *messages, tt *requestTest, piece int) {
	t.Helper()
	res := rig(t, tt.config).Run(streamtest.Request{Method: tt.method, Path: tt.path, Body: cut(tt.body, piece), Header: []string{"content-type: application/json"}}, streamtest.Upstream{})
	up := res.Upstream
	if !res.Called {
		t.Fatalf("refused: %d %s", res.Status, res.Body)
	}
	if tt.rpc == "" {
		if up.Header.Get(":path") != tt.path || up.Header.Get(":method") != tt.method || up.Body != tt.body || up.Header.Get("content-type") != "application/json" {
			t.Errorf("did not pass: %+v", up)
		}
		return
	}
	if up.Header.Get(":path") != "/shop.Shop/"+tt.rpc || up.Header.Get(":method") != "POST" || up.Header.Get("content-type") != "application/grpc" || up.Header.Get("te") != "trailers" ||
		up.Header.Get("x-envoy-original-path") != tt.path || up.Header.Get("x-envoy-original-method") != tt.method || up.Header.Has("content-length") {
		t.Errorf("head: %v", up.Header)
	}
	if want := k.frame(tt.in, tt.message); up.Body != want || up.Length != int64(len(want)) {
		got := k.empty(tt.in)
		err := proto.Unmarshal([]byte(up.Body[min(5, len(up.Body)):]), got)
		t.Errorf("message %v %v\nwant %s", got, err, tt.message)
	}
}

func TestRefusedRequests(t *testing.T) {
	const strict = `"request_validation_options":{"reject_unknown_method":true,"reject_unknown_query_parameters":true,"reject_binding_body_field_collisions":true}`
	const early, late = "early_grpc_json_transcode_failure", "grpc_json_transcode_failure"
	tests := []struct {
		name, config, method, path, body string
		status                           int
		details, says                    string
	}{
		{"unknown method", strict, "GET", "/v2?x=y", "", 404, early + "{NOT_FOUND}", "Could not resolve /v2 to a method."},
		{"unknown parameter", strict, "GET", "/v1/best?key=1", "", 400, early + "{INVALID_ARGUMENT}", `could not find field "key" in the type "shop.Request"`},
		{"collision", strict, "PUT", "/v1/books/7", `{"id":8}`, 400, late + "{INVALID_ARGUMENT}", "shop.Book.id"},
		{"not a number", "", "GET", "/v1/best?pageSize=x", "", 400, early + "{INVALID_ARGUMENT}", `shop.Request.page_size: "x": invalid syntax`},
		{"too large a number", "", "GET", "/v1/best?pageSize=4294967296", "", 400, early + "{INVALID_ARGUMENT}", "value out of range"},
		{"a message", "", "GET", "/v1/best?book=x", "", 400, early + "{INVALID_ARGUMENT}", "no form"},
		{"a map", "", "GET", "/v1/best?book.by_lang=x", "", 400, early + "{INVALID_ARGUMENT}", "a map cannot be set"},
		{"not an enum", "", "GET", "/v1/best?book.kind=kind_big", "", 400, early + "{INVALID_ARGUMENT}", "is not a value of the enum"},
		{"not a time", "", "GET", "/v1/best?book.printed=now", "", 400, early + "{INVALID_ARGUMENT}", "printed"},
		{"not JSON", "", "PUT", "/v1/books/7", `{"id":`, 400, late + "{INVALID_ARGUMENT}", "unexpected EOF"},
		{"two values", "", "PUT", "/v1/books/7", `{} {}`, 400, late + "{INVALID_ARGUMENT}", ""},
		{"out of its field", "", "POST", "/v1/shelves/a", `{},"pageSize":3`, 400, late + "{INVALID_ARGUMENT}", "the body is not JSON"},
		{"another type", "", "PUT", "/v1/books/7", `{"title":{}}`, 400, late + "{INVALID_ARGUMENT}", "title"},
		{"too deep", "", "PUT", "/v1/books/7", strings.Repeat(`{"byLang":{"a":`, 101) + "{}" + strings.Repeat("}}", 101), 400, late + "{INVALID_ARGUMENT}", "depth"},
		{"too large", `"max_request_body_size":10`, "PUT", "/v1/books/7", `{"title":"long"}`, 413, late + "{request_buffer_size_limit_reached}", "exceeds"},
		{"no array", "", "POST", "/v1/chat", `{}`, 400, late + "{INVALID_ARGUMENT}", "array"},
		{"array without an end", "", "POST", "/v1/chat", `[{}`, 400, late + "{INVALID_ARGUMENT}", "does not end"},
		{"an element too large", `"max_request_body_size":10`, "POST", "/v1/chat", `[{},{"title":"long"}]`, 413, late + "{request_buffer_size_limit_reached}", "exceeds"},
		{"an element that is no JSON", "", "POST", "/v1/chat", `[{},{x}]`, 400, late + "{INVALID_ARGUMENT}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := rig(t, tt.config).Run(streamtest.Request{Method: tt.method, Path: tt.path, Body: cut(tt.body, 7)}, streamtest.Upstream{})
			if res.Status != tt.status || res.Info.StatusDetails != tt.details || !strings.Contains(res.Body, tt.says) || strings.Contains(res.Body, "\u00a0") {
				t.Errorf("%d %s: %s", res.Status, res.Info.StatusDetails, res.Body)
			}
		})
	}
}

func TestClientStreams(t *testing.T) {
	k := newMessages(t)
	tests := []struct{ name, path, body, in, want string }{
		{"array", "/v1/chat", ` [ {"id":1} , {"title":"a,]}\"["} ,{"tags":["x"]}] `, "shop.Book", k.frames("shop.Book", `{"id":1}`, `{"title":"a,]}\"["}`, `{"tags":["x"]}`)},
		{"none", "/v1/chat", `[]`, "shop.Book", ""},
		{"nothing", "/v1/chat", " ", "shop.Book", ""},
		{"parameters go with the first", "/v1/import/a?pageSize=2", `[{"id":1},{"id":2}]`, "shop.Request", k.frames("shop.Request", `{"shelf":"a","pageSize":2,"book":{"id":1}}`, `{"book":{"id":2}}`)},
		{"parameters alone", "/v1/import/a", ``, "shop.Request", k.frames("shop.Request", `{"shelf":"a"}`)},
		{"parameters and white space", "/v1/import/a", ` `, "shop.Request", k.frames("shop.Request", `{"shelf":"a"}`)},
	}
	for _, tt := range tests {
		for _, piece := range []int{1, 3, 1000} {
			res := rig(t, "").Run(streamtest.Request{Method: "POST", Path: tt.path, Body: cut(tt.body, piece)}, grpc("", 1))
			if res.Upstream.Body != tt.want {
				t.Errorf("%s in pieces of %d: %q, want %q; %s", tt.name, piece, res.Upstream.Body, tt.want, res.Body)
			}
		}
	}
}

func TestHTTPBodyRequests(t *testing.T) {
	k := newMessages(t)
	text := []string{"content-type: text/plain"}
	res := rig(t, "").Run(streamtest.Request{Method: "PUT", Path: "/v1/files/a/b?pageSize=1", Header: text, Body: cut("{not JSON", 2)}, streamtest.Upstream{})
	if want := k.frame("shop.Request", `{"shelf":"a/b","pageSize":1,"file":{"contentType":"text/plain","data":"e25vdCBKU09O"}}`); res.Upstream.Body != want {
		t.Errorf("unary: %q", res.Upstream.Body)
	}
	res = rig(t, "").Run(streamtest.Request{Method: "PUT", Path: "/v1/files/a", Header: text}, streamtest.Upstream{})
	if want := k.frame("shop.Request", `{"shelf":"a","file":{"contentType":"text/plain"}}`); res.Upstream.Body != want {
		t.Errorf("without a body: %q", res.Upstream.Body)
	}
	res = rig(t, "").Run(streamtest.Request{Method: "POST", Path: "/v1/feed", Header: text, Body: streamtest.Pieces("one", "two")}, streamtest.Upstream{})
	if want := k.frames("google.api.HttpBody", `{"contentType":"text/plain","data":"b25l"}`, `{"data":"dHdv"}`); res.Upstream.Body != want {
		t.Errorf("streamed: %q", res.Upstream.Body)
	}
	res = rig(t, "").Run(streamtest.Request{Method: "POST", Path: "/v1/feed", Chunked: true}, streamtest.Upstream{})
	if want := k.frame("google.api.HttpBody", `{}`); res.Upstream.Body != want {
		t.Errorf("streamed nothing: %q", res.Upstream.Body)
	}
	res = rig(t, `"capture_unknown_query_parameters":true`).Run(streamtest.Request{Method: "POST", Path: "/v1/feed?x=1&y=a%20b&x=2", Header: text, Body: streamtest.Pieces("one")}, streamtest.Upstream{})
	u := &transcoderv3.UnknownQueryParams{}
	i := strings.Index(res.Upstream.Body, "UnknownQueryParams")
	if i < 0 || proto.Unmarshal([]byte(res.Upstream.Body[i+len("UnknownQueryParams")+2:]), u) != nil || strings.Join(u.Key["x"].GetValues(), ",") != "1,2" || u.Key["y"].GetValues()[0] != "a b" {
		t.Errorf("unknown parameters: %q %v", res.Upstream.Body, u)
	}
}

// seeRoute is a filter behind the transcoder that asks for the route.
type seeRoute struct{ seen *[]bool }

func (f seeRoute) Request(s *stream.Stream) error {
	_, ok := stream.RouteConfig[*Config](s, Name)
	*f.seen = append(*f.seen, ok)
	return nil
}

func (seeRoute) Response(*stream.Stream) error { return nil }

func TestPerRouteAndGRPC(t *testing.T) {
	r := rig(t, "")
	r.Route(streamtest.Route{Filter: Extension(), Entry: `{"proto_descriptor_bin":""}`})
	if res := r.Run(streamtest.Request{Path: "/v1/best"}, streamtest.Upstream{}); res.Upstream.Header.Get(":path") != "/v1/best" {
		t.Errorf("disabled: %+v", res.Upstream)
	}
	var seen []bool
	r = streamtest.New(t)
	r.Add(Extension(), `{"proto_descriptor_bin":""}`)
	r.AddFilter("see", seeRoute{&seen})
	r.Route(streamtest.Route{Filter: Extension(), Entry: config(t, `"match_incoming_request_route":true`)})
	if res := r.Run(streamtest.Request{Path: "/v1/best"}, streamtest.Upstream{}); res.Upstream.Header.Get(":path") != "/shop.Shop/Best" || len(seen) != 1 || !seen[0] {
		t.Errorf("enabled: %+v", res.Upstream)
	}
	req := streamtest.Request{Method: "POST", Path: "/shop.Shop/Plain", Header: []string{"content-type: application/grpc"}, Body: streamtest.Pieces("xxxxx")}
	r = rig(t, `"auto_mapping":true,"request_validation_options":{"reject_unknown_method":true}`)
	if res := r.Run(req, grpc("yyyyy", 10)); res.Upstream.Body != "xxxxx" || res.Body != "yyyyy" || res.Trailer.Get("grpc-status") != "0" {
		t.Errorf("gRPC: %+v", res)
	}
}
