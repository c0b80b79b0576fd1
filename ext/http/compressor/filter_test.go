// SPDX-License-Identifier: Apache-2.0

package compressor

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	brotliv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/compressor/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	zstdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/compressor/v3"
	"github.com/klauspost/compress/zstd"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config, Extension().Route, &gzipv3.Gzip{}, &brotliv3.Brotli{}, &zstdv3.Zstd{})
}

// decoded reads a body by its content-encoding.
func decoded(t *testing.T, encoding, body string) string {
	t.Helper()
	var r io.Reader = strings.NewReader(body)
	var err error
	switch encoding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20)); err == nil {
			defer d.Close()
			r = d
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func libraryOf(name, more string) string {
	types := map[string]string{"gzip": "gzip.compressor.v3.Gzip", "br": "brotli.compressor.v3.Brotli", "zstd": "zstd.compressor.v3.Zstd"}
	return `"compressor_library":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.compression.` + types[name] + `"` + more + `}}`
}

var text = strings.Repeat("all that is said twice is said too often; ", 100)

func TestResponse(t *testing.T) {
	plain := []string{"content-type: text/plain; charset=utf-8"}
	pieces := streamtest.Pieces
	for _, tt := range []struct {
		name, library, more string
		accept              []string
		up                  streamtest.Upstream
		route               string
		encoding            string // wanted; "" is none
		vary, etag          string
		counter             string
	}{
		{name: "gzip", library: "gzip", accept: []string{"gzip"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}, encoding: "gzip", vary: "Accept-Encoding", counter: "header_compressor_used"},
		{name: "brotli", library: "br", accept: []string{"gzip, br"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}, encoding: "br", vary: "Accept-Encoding", counter: "header_compressor_used"},
		{name: "zstd", library: "zstd", accept: []string{"gzip;q=0.5", "zstd;q=0.4"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}, encoding: "zstd", vary: "Accept-Encoding", counter: "header_compressor_used"},
		{name: "any", library: "gzip", accept: []string{"*"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}, encoding: "gzip", vary: "Accept-Encoding", counter: "header_wildcard"},
		{name: "pieces of unknown length", library: "gzip", accept: []string{"gzip"}, up: streamtest.Upstream{Header: plain, Body: pieces("a", text, "b"), Chunked: true}, encoding: "gzip", vary: "Accept-Encoding"},
		{name: "nothing accepted", library: "gzip", up: streamtest.Upstream{Header: plain, Body: pieces(text)}, vary: "Accept-Encoding", counter: "no_accept_header"},
		{name: "identity", library: "gzip", accept: []string{"identity, gzip;q=0.5"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}, vary: "Accept-Encoding", counter: "header_identity"},
		{name: "another", library: "gzip", accept: []string{"br"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}, vary: "Accept-Encoding", counter: "header_not_valid"},
		{name: "refused", library: "gzip", accept: []string{"gzip;q=0, *"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}, vary: "Accept-Encoding", counter: "header_not_valid"},
		{name: "small", library: "gzip", accept: []string{"gzip"}, up: streamtest.Upstream{Header: plain, Body: pieces("small")}, counter: "content_length_too_small"},
		{name: "another type", library: "gzip", accept: []string{"gzip"}, up: streamtest.Upstream{Header: []string{"content-type: image/png"}, Body: pieces(text)}},
		{name: "types by matchers", library: "gzip", more: `,"response_direction_config":{"common_config":{"content_type_matcher":[{"prefix":"image/"}]}}`, accept: []string{"gzip"}, up: streamtest.Upstream{Header: []string{"content-type: image/png"}, Body: pieces(text)}, encoding: "gzip", vary: "Accept-Encoding"},
		{name: "encoded already", library: "gzip", accept: []string{"gzip"}, up: streamtest.Upstream{Header: append(plain, "content-encoding: br"), Body: pieces(text)}, encoding: "br"},
		{name: "no-transform", library: "gzip", accept: []string{"gzip"}, up: streamtest.Upstream{Header: append(plain, "cache-control: private, No-Transform"), Body: pieces(text)}},
		{name: "no body", library: "gzip", accept: []string{"gzip"}, up: streamtest.Upstream{Header: plain}},
		{name: "vary and strong etag", library: "gzip", accept: []string{"gzip"}, up: streamtest.Upstream{Header: append(plain, "vary: Origin", `etag: "a"`), Body: pieces(text)}, encoding: "gzip", vary: "Origin,Accept-Encoding"},
		{name: "weak etag", library: "gzip", accept: []string{"gzip"}, up: streamtest.Upstream{Header: append(plain, `etag: W/"a"`), Body: pieces(text)}, encoding: "gzip", vary: "Accept-Encoding", etag: `W/"a"`},
		{name: "etag weakened", library: "gzip", more: `,"response_direction_config":{"weaken_etag_on_compress":true}`, accept: []string{"gzip"}, up: streamtest.Upstream{Header: append(plain, `etag: "a"`), Body: pieces(text)}, encoding: "gzip", vary: "Accept-Encoding", etag: `W/"a"`},
		{name: "etag kept", library: "gzip", more: `,"disable_on_etag_header":true`, accept: []string{"gzip"}, up: streamtest.Upstream{Header: append(plain, `etag: "a"`), Body: pieces(text)}, etag: `"a"`, counter: "not_compressed_etag"},
		{name: "a status", library: "gzip", more: `,"response_direction_config":{"uncompressible_response_codes":[206]}`, accept: []string{"gzip"}, up: streamtest.Upstream{Status: 206, Header: plain, Body: pieces(text)}},
		{name: "disabled", library: "gzip", accept: []string{"gzip"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}, route: `{"disabled":true}`},
		{name: "another library", library: "gzip", accept: []string{"gzip, br;q=0.9"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}, route: `{"overrides":{` + libraryOf("br", "") + `}}`, encoding: "br", vary: "Accept-Encoding"},
		{name: "off", library: "gzip", more: `,"runtime_enabled":{"default_value":false,"runtime_key":"x"}`, accept: []string{"gzip"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}},
		{name: "off, and on by route", library: "gzip", more: `,"runtime_enabled":{"default_value":false,"runtime_key":"x"}`, accept: []string{"gzip"}, up: streamtest.Upstream{Header: plain, Body: pieces(text)}, route: `{"overrides":{"response_direction_config":{}}}`, encoding: "gzip", vary: "Accept-Encoding"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), `{`+libraryOf(tt.library, "")+tt.more+`}`)
			rig.Route(streamtest.Route{Filter: Extension(), Entry: tt.route})
			var req streamtest.Request
			for _, a := range tt.accept {
				req.Header = append(req.Header, "accept-encoding: "+a)
			}
			res := rig.Run(req, tt.up)
			sent := ""
			for _, p := range tt.up.Body {
				sent += p.Data
			}
			for name, want := range map[string]string{"content-encoding": tt.encoding, "vary": tt.vary, "etag": tt.etag} {
				if got := res.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if tt.encoding != "" && tt.name != "encoded already" {
				if got := decoded(t, tt.encoding, res.Body); got != sent || res.Header.Has("content-length") || len(res.Body) >= len(text)/4 {
					t.Errorf("%d bytes, which are %q", len(res.Body), got)
				}
			} else if res.Body != sent {
				t.Errorf("the body is %q", res.Body)
			}
			prefix := map[string]string{"gzip": "gzip", "br": "brotli", "zstd": "zstd"}[tt.library]
			if tt.counter != "" && rig.Counter("http.test.compressor.x."+prefix+"."+tt.counter) != 1 {
				t.Errorf("%s is not counted", tt.counter)
			}
		})
	}
}

// Of several filters, one compresses: the one that the client likes best.
func TestSeveral(t *testing.T) {
	for accept, want := range map[string]string{
		"gzip, br": "br", "gzip;q=0.9, br;q=0.8": "gzip", "zstd": "", "br;q=0, gzip": "gzip", "*": "br", "br;q=0,*": "gzip",
	} {
		rig := streamtest.New(t)
		rig.Add(Extension(), `{`+libraryOf("gzip", "")+`}`)
		rig.Add(Extension(), `{`+libraryOf("br", "")+`,"choose_first":true,"response_direction_config":{"remove_accept_encoding_header":true,"status_header_enabled":true}}`)
		res := rig.Run(streamtest.Request{Header: []string{"accept-encoding: " + accept}}, streamtest.Upstream{Header: []string{"content-type: text/html"}, Body: streamtest.Pieces(text)})
		if got := res.Header.Get("content-encoding"); got != want {
			t.Errorf("%s: %q, want %q", accept, got, want)
		}
		if res.Upstream.Header.Has("accept-encoding") {
			t.Errorf("%s: the host is told what the client accepts", accept)
		}
		if want != "" && decoded(t, want, res.Body) != text {
			t.Errorf("%s: the body is another", accept)
		}
		if got := res.Header.Get("x-envoy-compression-status"); strings.HasPrefix(got, "br;Compressed;OriginalLength=4200") != (want == "br") {
			t.Errorf("%s: the status is %q", accept, got)
		}
	}
}

func TestRequest(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{`+libraryOf("gzip", "")+`,"request_direction_config":{"common_config":{"min_content_length":100}}}`)
	run := func(header []string, body string) streamtest.Seen {
		return rig.Run(streamtest.Request{Header: header, Body: streamtest.Pieces(body)}, streamtest.Upstream{}).Upstream
	}
	up := run([]string{"content-type: application/json"}, text)
	if up.Header.Get("content-encoding") != "gzip" || up.Header.Has("content-length") || decoded(t, "gzip", up.Body) != text {
		t.Errorf("%v", up.Header)
	}
	for name, up := range map[string]streamtest.Seen{
		"small": run(nil, "small"), "encoded": run([]string{"content-encoding: x"}, text), "another type": run([]string{"content-type: image/png"}, text),
	} {
		if up.Header.Get("content-encoding") == "gzip" {
			t.Errorf("%s: it is compressed", name)
		}
	}
	if got := rig.Counter("http.test.compressor.x.gzip.request.total_uncompressed_bytes"); got != int64(len(text)) {
		t.Errorf("%d bytes are counted", got)
	}
}

// What has come is sent on before more comes, and a body that breaks off does so.
func TestStreams(t *testing.T) {
	for _, lib := range []string{"gzip", "br", "zstd"} {
		rig := streamtest.New(t)
		rig.Add(Extension(), `{`+libraryOf(lib, "")+`}`)
		req := streamtest.Request{Header: []string{"accept-encoding: " + lib}}
		head := []string{"content-type: text/plain"}
		gate := make(chan struct{})
		var once bool
		req.OnPiece = func(p string) {
			if !once && len(p) > 0 {
				once = true
				close(gate)
			}
		}
		res := rig.Run(req, streamtest.Upstream{Header: head, Chunked: true, Body: []streamtest.Piece{{Data: "first"}, {Data: "second", After: gate}}})
		if got := decoded(t, lib, res.Body); got != "firstsecond" {
			t.Errorf("%s: %q", lib, got)
		}
		req.OnPiece = nil
		broken := errors.New("broken")
		res = rig.Run(req, streamtest.Upstream{Header: head, Chunked: true, Body: []streamtest.Piece{{Data: text}, {Err: broken}}})
		if res.Err == nil {
			t.Errorf("%s: a body that breaks off ends well", lib)
		}
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for name, json := range map[string]string{
		"no library":      `{}`,
		"another library": `{"compressor_library":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}}}`,
		"a dictionary":    `{` + libraryOf("zstd", `,"dictionary":{"inline_string":"x"}`) + `}`,
		"quality":         `{` + libraryOf("br", `,"quality":12`) + `}`,
		"a status":        `{` + libraryOf("gzip", "") + `,"response_direction_config":{"uncompressible_response_codes":[99]}}`,
		"a type":          `{` + libraryOf("gzip", "") + `,"response_direction_config":{"common_config":{"content_type_matcher":[{"safe_regex":{"regex":"("}}]}}}`,
	} {
		if _, err := rig.Compile(Extension(), json); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, json := range []string{`{}`, `{"disabled":false}`, `{"overrides":{"compressor_library":{"name":"x"}}}`} {
		if _, err := rig.CompileRoute(Extension(), json); err == nil {
			t.Errorf("the route %s is taken", json)
		}
	}
}

func TestLevels(t *testing.T) {
	for _, more := range []string{`,"compression_level":"BEST_SPEED"`, `,"compression_level":"BEST_COMPRESSION"`, `,"compression_strategy":"HUFFMAN_ONLY"`} {
		rig := streamtest.New(t)
		rig.Add(Extension(), `{`+libraryOf("gzip", more)+`}`)
		res := rig.Run(streamtest.Request{Header: []string{"accept-encoding: gzip"}}, streamtest.Upstream{Header: []string{"content-type: text/plain"}, Body: streamtest.Pieces(text)})
		if decoded(t, "gzip", res.Body) != text {
			t.Errorf("%s: the body is another", more)
		}
	}
}

// FuzzChoose has what a client accepts never choose what it refuses, or what is not there.
func FuzzChoose(f *testing.F) {
	f.Add("gzip;q=0.5, br;q=1.0, *;q=0")
	f.Add("*;q=0.1;q=2,identity;q")
	f.Fuzz(func(t *testing.T, accept string) {
		c := choose(accept, []string{"gzip", "br"}, "br")
		switch {
		case c.kind < isAny && c.encoding != "", c.kind >= isAny && c.encoding != "gzip" && c.encoding != "br":
			t.Errorf("%q: %+v", accept, c)
		case c.kind >= isAny && !bytes.Contains(bytes.ToLower([]byte(accept)), []byte(c.encoding)) && !strings.Contains(accept, "*"):
			t.Errorf("%q: %+v", accept, c)
		}
	})
}
