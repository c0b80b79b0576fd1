// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"strings"
	"testing"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
)

// mapOf makes a map of names and values in turn.
func mapOf(pairs ...string) *header.Map {
	m := &header.Map{}
	for i := 0; i < len(pairs); i += 2 {
		m.Add(header.NewName(pairs[i]), pairs[i+1])
	}
	return m
}

func TestAppendRequest(t *testing.T) {
	get := func(pairs ...string) *header.Map {
		return mapOf(append([]string{":method", "GET", ":path", "/p?q", ":scheme", "http", ":authority", "a:80"}, pairs...)...)
	}
	const head = "GET /p?q HTTP/1.1\r\nhost: a:80\r\n"
	tests := []struct {
		name string
		m    *header.Map
		f    Framing
		want string
		err  *codec.Error
	}{
		{"plain", get("x-a", "1", "x-a", "2", "x-empty", ""), Framing{}, head + "x-a: 1\r\nx-a: 2\r\nx-empty: \r\n\r\n", nil},
		{"proper case", get("x-a_b-c9d", "1"), Framing{Case: ProperCase, Body: BodyLength}, "GET /p?q HTTP/1.1\r\nHost: a:80\r\nX-A_B-C9d: 1\r\nContent-Length: 0\r\n\r\n", nil},
		{"length is the framing's", get("content-length", "7"), Framing{Body: BodyLength, Length: 3}, head + "content-length: 3\r\n\r\n", nil},
		{"no length", get("content-length", "7", "transfer-encoding", "chunked"), Framing{}, head + "\r\n", nil},
		{"chunked", get("content-length", "7"), Framing{Body: BodyChunked}, head + "transfer-encoding: chunked\r\n\r\n", nil},
		{"hop by hop", get("connection", "x", "keep-alive", "x", "proxy-connection", "x", "upgrade", "x", "host", "b", "trailer", "x"), Framing{Close: true}, head + "trailer: x\r\nconnection: close\r\n\r\n", nil},
		{"upgrade", get("upgrade", "websocket"), Framing{Upgrade: true}, head + "upgrade: websocket\r\nconnection: upgrade\r\n\r\n", nil},
		{"nothing to upgrade to", get(), Framing{Upgrade: true}, head + "\r\n", nil},
		{"te", get("te", "trailers"), Framing{}, head + "te: trailers\r\nconnection: te\r\n\r\n", nil},
		{"other te", get("te", "gzip"), Framing{}, head + "\r\n", nil},
		{"http 1.0", get(), Framing{HTTP10: true, KeepAlive: true}, "GET /p?q HTTP/1.0\r\nhost: a:80\r\nconnection: keep-alive\r\n\r\n", nil},
		{"connect", mapOf(":method", "CONNECT", ":authority", "a:80"), Framing{}, "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", nil},
		{"options", mapOf(":method", "OPTIONS", ":path", "*", ":authority", ""), Framing{}, "OPTIONS * HTTP/1.1\r\nhost: \r\n\r\n", nil},
		{"tabs and high bytes", get("x-a", "12345678\t\xff"), Framing{}, head + "x-a: 12345678\t\xff\r\n\r\n", nil},

		{"no method", mapOf(":path", "/", ":authority", "a"), Framing{}, "", errWriteMethod},
		{"bad method", mapOf(":method", "G T", ":path", "/", ":authority", "a"), Framing{}, "", errWriteMethod},
		{"no path", mapOf(":method", "GET", ":authority", "a"), Framing{}, "", errWriteTarget},
		{"no authority", mapOf(":method", "GET", ":path", "/"), Framing{}, "", errWriteTarget},
		{"path with a space", mapOf(":method", "GET", ":path", "/ HTTP/1.1", ":authority", "a"), Framing{}, "", errWriteTarget},
		{"path with CRLF", mapOf(":method", "GET", ":path", "/\r\nX: y", ":authority", "a"), Framing{}, "", errWriteTarget},
		{"path without slash", mapOf(":method", "GET", ":path", "p", ":authority", "a"), Framing{}, "", errWriteTarget},
		{"star to GET", mapOf(":method", "GET", ":path", "*", ":authority", "a"), Framing{}, "", errWriteTarget},
		{"authority with CRLF", mapOf(":method", "GET", ":path", "/", ":authority", "a\r\nx: y"), Framing{}, "", errWriteTarget},
		{"authority with user", mapOf(":method", "GET", ":path", "/", ":authority", "u@a"), Framing{}, "", errWriteTarget},
		{"connect without port", mapOf(":method", "CONNECT", ":authority", "a"), Framing{}, "", errWriteTarget},
		{"connect with content", mapOf(":method", "CONNECT", ":authority", "a:1"), Framing{Body: BodyChunked}, "", errWriteBody},
		{"CRLF in a value", get("x-a", "b\r\nc: d"), Framing{}, "", errWriteValue},
		{"LF in a value", get("x-a", "b\nc"), Framing{}, "", errWriteValue},
		{"CR in a long value", get("x-a", "123456789\r"), Framing{}, "", errWriteValue},
		{"NUL in a value", get("x-a", "\x00"), Framing{}, "", errWriteValue},
		{"DEL in the last bytes", get("x-a", "12345678\x7f"), Framing{}, "", errWriteValue},
		{"bad upgrade", get("upgrade", "a\r\n"), Framing{Upgrade: true}, "", errWriteValue},
		{"CRLF in a name", get("x\r\na", "b"), Framing{}, "", errWriteName},
		{"space in a name", get("x a", "b"), Framing{}, "", errWriteName},
		{"colon in a name", get("x:a", "b"), Framing{}, "", errWriteName},
		{"unknown pseudo header field", get(":x", "b"), Framing{}, "", errWriteName},
		{"empty name", get("", "b"), Framing{}, "", errWriteName},
		{"high byte in a name", get("x\xff", "b"), Framing{}, "", errWriteName},
		{"chunked to 1.0", get(), Framing{HTTP10: true, Body: BodyChunked}, "", errWriteBody},
		{"negative length", get(), Framing{Body: BodyLength, Length: -1}, "", errWriteBody},
	}
	for _, tt := range tests {
		out, err := AppendRequest([]byte("k"), tt.m, &tt.f)
		checkWritten(t, tt.name, out, err, tt.want, tt.err)
	}
}

func checkWritten(t *testing.T, name string, out []byte, err error, want string, wantErr *codec.Error) {
	t.Helper()
	if wantErr != nil {
		if err != error(wantErr) || string(out) != "k" {
			t.Errorf("%s: got %q %v want %v", name, out, err, wantErr)
		}
		return
	}
	if err != nil || string(out) != "k"+want {
		t.Errorf("%s:\n got %q %v\nwant %q", name, out, err, want)
	}
}

func TestAppendResponse(t *testing.T) {
	tests := []struct {
		name string
		m    *header.Map
		f    Framing
		want string
		err  *codec.Error
	}{
		{"plain", mapOf(":status", "200", "server", "envoy", "host", "h"), Framing{Body: BodyLength, Length: 100}, "HTTP/1.1 200 OK\r\nserver: envoy\r\nhost: h\r\ncontent-length: 100\r\n\r\n", nil},
		{"unknown status", mapOf(":status", "599"), Framing{Body: BodyChunked}, "HTTP/1.1 599 Unknown\r\ntransfer-encoding: chunked\r\n\r\n", nil},
		{"last reason", mapOf(":status", "511"), Framing{}, "HTTP/1.1 511 Network Authentication Required\r\n\r\n", nil},
		{"http 1.0", mapOf(":status", "404"), Framing{HTTP10: true, KeepAlive: true, Body: BodyLength}, "HTTP/1.0 404 Not Found\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n", nil},
		{"switch", mapOf(":status", "101", "upgrade", "websocket"), Framing{Upgrade: true}, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", nil},
		{"close and te", mapOf(":status", "200", "te", "trailers"), Framing{Close: true, KeepAlive: true}, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", nil},

		{"no status", mapOf(), Framing{}, "", errWriteStatus},
		{"bad status", mapOf(":status", "20"), Framing{}, "", errWriteStatus},
		{"low status", mapOf(":status", "099"), Framing{}, "", errWriteStatus},
		{"odd status", mapOf(":status", "2\r\n"), Framing{}, "", errWriteStatus},
		{"length in 204", mapOf(":status", "204"), Framing{Body: BodyLength}, "", errWriteBody},
		{"chunked in 100", mapOf(":status", "100"), Framing{Body: BodyChunked}, "", errWriteBody},
		{"CRLF in a value", mapOf(":status", "200", "location", "/\r\nset-cookie: a"), Framing{}, "", errWriteValue},
	}
	for _, tt := range tests {
		out, err := AppendResponse([]byte("k"), tt.m, &tt.f)
		checkWritten(t, tt.name, out, err, tt.want, tt.err)
	}
}

func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, run := range map[string]func(){
		"browser request": relay(t, browserRequest, false),
		"short response":  relay(t, shortResponse, true),
		"refused request": refuse(t, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", false),
		"refused answer":  refuse(t, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", true),
		"nominations":     relay(t, "GET http://[::1]?x HTTP/1.1\r\nHost: b\r\nConnection: x-a, x-b, upgrade\r\nUpgrade: foo\r\nX-A: 1\r\nTE: trailers\r\n\r\n", false),
		"chunks":          relayChunks(t),
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func refuse(t *testing.T, in string, response bool) func() {
	var p Parser
	var m header.Map
	buf := make([]byte, len(in))
	p.Reset(lenient())
	return func() {
		copy(buf, in)
		m.Reset()
		p.Next()
		var err error
		if response {
			_, _, err = p.Response(buf, &m)
		} else {
			_, _, err = p.Request(buf, &m)
		}
		if err == nil {
			t.Fatal("accepted")
		}
	}
}

func relayChunks(t *testing.T) func() {
	in := strings.Repeat("5;a=b\r\nhello\r\n", 10) + "0\r\nx: 1\r\n\r\n"
	o := &Options{EnableTrailers: true}
	var c Chunked
	var m header.Map
	buf := make([]byte, len(in))
	out := make([]byte, 0, 4096)
	return func() {
		copy(buf, in)
		m.Reset()
		c.Reset(o, &m, false)
		out = out[:0]
		for b := buf; ; {
			n, data, done, err := c.Next(b)
			if err != nil {
				t.Fatal(err)
			}
			out = AppendChunk(out, data)
			if done {
				break
			}
			b = b[n:]
		}
		var err error
		if out, err = AppendLastChunk(out, &m, nil); err != nil {
			t.Fatal(err)
		}
	}
}
