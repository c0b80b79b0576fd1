// SPDX-License-Identifier: Apache-2.0

package hpack

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
	"weir.dev/weir/proxy/header"
)

// pair is one decoded field, in memory of its own.
type pair struct {
	Name, Value string
	Sensitive   bool
}

func decode(d *Decoder, block []byte) (out []pair, err *Error) {
	// An arena that is too small must not matter.
	_, err = d.Decode(block, make([]byte, 0, 7), func(n header.Name, v []byte, sensitive bool) {
		out = append(out, pair{strings.Clone(n.String()), string(v), sensitive})
	})
	return out, err
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pairs(kv ...string) (out []pair) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, pair{Name: kv[i], Value: kv[i+1]})
	}
	return out
}

func fill(m *header.Map, fields []pair) {
	m.Reset()
	for _, f := range fields {
		if f.Sensitive {
			m.AddSensitive(header.NewName(f.Name), []byte(f.Value))
		} else {
			m.Add(header.NewName(f.Name), f.Value)
		}
	}
}

// xdecode decodes by x/net, with a decoder that the caller keeps.
func xdecode(d *xhpack.Decoder, block []byte) (out []pair, err error) {
	d.SetEmitFunc(func(f xhpack.HeaderField) { out = append(out, pair{f.Name, f.Value, f.Sensitive}) })
	if _, err = d.Write(block); err == nil {
		err = d.Close()
	}
	return out, err
}

// xencode encodes by x/net, with an encoder that writes to buf.
func xencode(e *xhpack.Encoder, buf *bytes.Buffer, fields []pair) []byte {
	buf.Reset()
	for _, f := range fields {
		_ = e.WriteField(xhpack.HeaderField{Name: f.Name, Value: f.Value, Sensitive: f.Sensitive})
	}
	return bytes.Clone(buf.Bytes())
}

// curlRequest, browserRequest, grpcRequest and response are heads as they are
// seen.
func curlRequest() []pair {
	return pairs(":method", "GET", ":scheme", "https", ":authority", "www.example.org", ":path", "/index.html?q=1",
		"user-agent", "curl/8.5.0", "accept", "*/*")
}

func browserRequest() []pair {
	return pairs(":method", "GET", ":authority", "www.example.org", ":scheme", "https", ":path", "/assets/app.3f9c1b.js",
		"sec-ch-ua", `"Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"`, "sec-ch-ua-mobile", "?0",
		"sec-ch-ua-platform", `"Linux"`, "user-agent",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
		"accept", "*/*", "sec-fetch-site", "same-origin", "sec-fetch-mode", "no-cors", "sec-fetch-dest", "script",
		"referer", "https://www.example.org/", "accept-encoding", "gzip, deflate, br, zstd", "accept-language",
		"en-GB,en;q=0.9,de;q=0.8", "cookie", "session=8d7c6b5a49382716; theme=dark; consent=yes", "priority", "u=1")
}

func grpcRequest() []pair {
	return pairs(":method", "POST", ":scheme", "http", ":path", "/helloworld.Greeter/SayHello", ":authority",
		"greeter.default.svc:50051", "content-type", "application/grpc", "user-agent", "grpc-go/1.68.0", "te", "trailers",
		"grpc-timeout", "998244u", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
}

func response() []pair {
	return pairs(":status", "200", "server", "envoy", "date", "Sat, 21 Nov 2026 11:03:37 GMT", "content-type",
		"application/json; charset=utf-8", "content-length", "1234", "cache-control", "no-cache, private",
		"x-request-id", "6c1f1a3e-52d4-4b0e-9f43-0b9a2d0f5d11", "vary", "Accept-Encoding", "x-envoy-upstream-service-time", "3")
}

func heads() map[string][]pair {
	return map[string][]pair{"curl": curlRequest(), "browser": browserRequest(), "grpc": grpcRequest(), "response": response()}
}
