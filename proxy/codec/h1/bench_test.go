// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"testing"

	"weir.dev/weir/proxy/header"
)

const browserRequest = "GET /assets/app/main.js?v=3f9c2 HTTP/1.1\r\n" +
	"Host: www.example.com\r\n" +
	"Connection: keep-alive\r\n" +
	"sec-ch-ua: \"Chromium\";v=\"124\", \"Not-A.Brand\";v=\"99\"\r\n" +
	"sec-ch-ua-mobile: ?0\r\n" +
	"sec-ch-ua-platform: \"Linux\"\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36\r\n" +
	"Accept: */*\r\n" +
	"Sec-Fetch-Site: same-origin\r\n" +
	"Sec-Fetch-Mode: no-cors\r\n" +
	"Sec-Fetch-Dest: script\r\n" +
	"Referer: https://www.example.com/index.html\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"

const shortRequest = "GET /100 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"

const shortResponse = "HTTP/1.1 200 OK\r\nServer: back\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\n" +
	"Content-Type: text/plain\r\nContent-Length: 100\r\n\r\n"

// relay returns a function that parses one message and writes it again.
func relay(tb testing.TB, in string, response bool) func() {
	tb.Helper()
	var (
		p    Parser
		m    header.Map
		buf  = make([]byte, len(in))
		out  = make([]byte, 0, 4096)
		f    Framing
		done bool
		err  error
	)
	p.Reset(nil)
	return func() {
		copy(buf, in)
		m.Reset()
		p.Next()
		if response {
			_, done, err = p.Response(buf, &m)
		} else {
			_, done, err = p.Request(buf, &m)
		}
		if !done || err != nil {
			tb.Fatal("not parsed", err)
		}
		if h := p.Head(); h.ContentLength >= 0 {
			f.Body, f.Length = BodyLength, h.ContentLength
		}
		if response {
			out, err = AppendResponse(out[:0], &m, &f)
		} else {
			out, err = AppendRequest(out[:0], &m, &f)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkRelay(b *testing.B) {
	for _, bb := range []struct {
		name, in string
		response bool
	}{
		{"browser request", browserRequest, false},
		{"short request", shortRequest, false},
		{"response", shortResponse, true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			run := relay(b, bb.in, bb.response)
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	var p Parser
	var m header.Map
	buf := make([]byte, len(browserRequest))
	p.Reset(nil)
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, browserRequest)
		m.Reset()
		p.Next()
		if _, done, _ := p.Request(buf, &m); !done {
			b.Fatal("not parsed")
		}
	}
}
