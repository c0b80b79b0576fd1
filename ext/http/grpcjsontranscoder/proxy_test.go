// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/ext/http/grpcjsontranscoder"
	"weir.dev/weir/proxy/proxytest"
)

// start runs a proxy with a transcoder for the shop, whose upstream speaks gRPC over
// HTTP/1 with trailers and knows only the methods' paths.
func start(t *testing.T, descriptor, more string, script func(*proxytest.Session)) (*proxytest.Proxy, *proxytest.Upstream) {
	t.Helper()
	up := proxytest.NewUpstream(t, script)
	p := proxytest.Start(t, proxytest.Edge{
		Filters: fmt.Sprintf(`
- name: envoy.filters.http.grpc_json_transcoder
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder
    %s
    services: [shop.Shop]
    %s`, descriptor, more),
		Manager: "http_protocol_options: {enable_trailers: true}",
		Routes:  "- {match: {prefix: /shop.Shop/}, route: {cluster: up}}",
		Cluster: `
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {enable_trailers: true}}`,
	}.YAML(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}})
	return p, up
}

func inline(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("proto_descriptor_bin: %q", base64.StdEncoding.EncodeToString(grpcjsontranscoder.Shop(t)))
}

// answered is a gRPC response in chunks of one message each.
func answered(status string, frames ...string) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n")
	for _, f := range frames {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(f), f)
	}
	return b.String() + "0\r\n" + status + "\r\n\r\n"
}

func TestThroughTheProxy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shop.pb")
	if err := os.WriteFile(file, grpcjsontranscoder.Shop(t), 0o600); err != nil {
		t.Fatal(err)
	}
	book := grpcjsontranscoder.Frames(t, "shop.Book", `{"id":"7","title":"T"}`)
	p, up := start(t, fmt.Sprintf("proto_descriptor: %q", file), "convert_grpc_status: true", proxytest.Answer(
		answered("grpc-status: 0", book), answered("grpc-status: 5\r\ngrpc-message: no%20such"), answered("grpc-status: 0", book, book),
	))
	c := p.Dial()
	res := c.Do("GET /v1/shelves/a/books/7 HTTP/1.1\r\nhost: a\r\n\r\n")
	if res.StatusCode != 200 || res.Content != `{"id":"7","title":"T"}` || res.Header.Get("content-type") != "application/json" {
		t.Errorf("%s", res)
	}
	res = c.Do("PUT /v1/books/7 HTTP/1.1\r\nhost: a\r\ncontent-length: 13\r\n\r\n{\"title\":\"T\"}")
	if res.StatusCode != 404 || res.Content != `{"code":5,"message":"no such"}` {
		t.Errorf("an error: %s", res)
	}
	res = c.Do("GET /v1/watch HTTP/1.1\r\nhost: a\r\n\r\n")
	if res.StatusCode != 200 || res.Content != `[{"id":"7","title":"T"},{"id":"7","title":"T"}]` || res.Trailer.Get("grpc-status") != "0" {
		t.Errorf("a stream: %s", res)
	}
	res = c.Do("GET /v2 HTTP/1.1\r\nhost: a\r\n\r\n")
	if res.StatusCode != 404 || res.Header.Get("grpc-status") != "" {
		t.Errorf("no method: %s", res)
	}
	for i, want := range []string{grpcjsontranscoder.Frames(t, "shop.Request", `{"shelf":"a","book":{"id":7}}`), book, grpcjsontranscoder.Frames(t, "shop.Request", `{}`)} {
		r := up.WaitRequests(3)[i]
		if !strings.HasPrefix(r, "POST /shop.Shop/") || !strings.HasSuffix(r, "\r\n\r\n"+want) {
			t.Errorf("request %d: %q", i, r)
		}
	}
}

// TestStreamThroughTheProxy: a broken element is answered for, though the request is
// on its way.
func TestStreamThroughTheProxy(t *testing.T) {
	first := grpcjsontranscoder.Frames(t, "shop.Book", `{"id":1}`)
	p, _ := start(t, inline(t), "", func(s *proxytest.Session) {
		if _, err := s.Head(); err != nil {
			return
		}
		_ = s.Gone()
	})
	c := p.Dial()
	c.Send("POST /v1/chat HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r\n[{\"id\":1}\r\n")
	c.Send("5\r\n,{x}]\r\n0\r\n\r\n")
	res := c.Response("POST")
	if res.StatusCode != 400 || !strings.Contains(res.Content, "syntax error") {
		t.Errorf("%s", res)
	}
	echo, _ := start(t, inline(t), "", func(s *proxytest.Session) {
		if _, err := s.Head(); err != nil {
			return
		}
		// One chunk holds one message; the answer to it comes before the next.
		if got, err := s.ReadN(len(fmt.Sprintf("%x\r\n%s\r\n", len(first), first))); err != nil || !strings.Contains(got, first) {
			return
		}
		_ = s.Send("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n", fmt.Sprintf("%x\r\n%s\r\n", len(first), first))
		if _, err := s.ReadN(len("0\r\n\r\n")); err != nil {
			return
		}
		_ = s.Send("0\r\ngrpc-status: 0\r\n\r\n")
		_ = s.Gone()
	})
	c = echo.Dial()
	c.Send("POST /v1/chat HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r\n[{\"id\":1}\r\n2\r\n, \r\n")
	head := c.ReadHead()
	if !strings.Contains(head, "application/json") {
		t.Errorf("%q", head)
	}
	if got := c.ReadN(len("a\r\n[{\"id\":\"1\"\r\n")); !strings.HasPrefix(got, "b\r\n[{\"id\":\"1\"}") {
		t.Errorf("%q", got)
	}
}
