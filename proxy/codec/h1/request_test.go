// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"errors"
	"strings"
	"testing"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
)

type acceptedRow struct{ in, want string }

// acceptedRequests are read with all leniencies of lenient.
func acceptedRequests() []acceptedRow {
	const h = "Host: a\r\n"
	get := func(fields string) string { return "GET / HTTP/1.1\r\n" + h + fields + "\r\n" }
	post := func(fields string) string { return "POST / HTTP/1.1\r\n" + h + fields + "\r\n" }
	const g, p = ":method=GET|:path=/|:authority=a|", ":method=POST|:path=/|:authority=a|"
	return append([]acceptedRow{
		// Request lines and targets (RFC 9112 §3).
		{get(""), g + "1.1"},
		{"\r\n" + get(""), g + "1.1"},
		{"\r\n\r\n" + get(""), g + "1.1"},
		{"GET /a/b;c=d?e=f&g=%20%zz HTTP/1.1\r\nHost: a\r\n\r\n", ":method=GET|:path=/a/b;c=d?e=f&g=%20%zz|:authority=a|1.1"},
		{"GET //x HTTP/1.1\r\nHost: a\r\n\r\n", ":method=GET|:path=//x|:authority=a|1.1"},
		{"GET /?q={a|b}^\"\\ HTTP/1.1\r\nHost: a\r\n\r\n", ":method=GET|:path=/?q={a|b}^\"\\|:authority=a|1.1"},
		{"GET /http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", ":method=GET|:path=/http://b/|:authority=a|1.1"},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ":method=OPTIONS|:path=*|:authority=a|1.1"},
		{"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", ":method=OPTIONS|:path=/|:authority=a|1.1"},
		{"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", ":method=M-SEARCH|:path=/|:authority=a|1.1"},
		{"GET http://b/p?q HTTP/1.1\r\nHost: a\r\n\r\n", ":method=GET|:scheme=http|:path=/p?q|:authority=b|1.1 absolute"},
		{"GET HTTPS://B:443/p HTTP/1.1\r\nHost: a\r\n\r\n", ":method=GET|:scheme=https|:path=/p|:authority=B:443|1.1 absolute"},
		{"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", ":method=GET|:scheme=http|:path=/|:authority=b|1.1 absolute"},
		{"GET http://bcd:81?q=1/2 HTTP/1.1\r\nHost: a\r\n\r\n", ":method=GET|:scheme=http|:path=/?q=1/2|:authority=bcd:81|1.1 absolute"},
		{"GET http://[::1]:81?q HTTP/1.1\r\nHost: a\r\n\r\n", ":method=GET|:scheme=http|:path=/?q|:authority=[::1]:81|1.1 absolute"},
		{"OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", ":method=OPTIONS|:scheme=http|:path=*|:authority=b|1.1 absolute"},
		{"OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", ":method=OPTIONS|:scheme=http|:path=/|:authority=b|1.1 absolute"},
		{"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", ":method=CONNECT|:authority=b:443|1.1"},
		{"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: b\r\n\r\n", ":method=CONNECT|:authority=[2001:db8::1]:443|1.1"},
		{"CONNECT b:443 HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n", ":method=CONNECT|:authority=b:443|1.1"},

		// Host (RFC 9112 §3.2, RFC 3986 §3.2.2).
		{"GET / HTTP/1.1\r\nHost:\r\n\r\n", ":method=GET|:path=/|:authority=|1.1"},
		{"GET / HTTP/1.1\r\nhOST: \t a:80 \t\r\n\r\n", ":method=GET|:path=/|:authority=a:80|1.1"},
		{"GET / HTTP/1.1\r\nHost: a_b-c.d~e!f$1\r\n\r\n", ":method=GET|:path=/|:authority=a_b-c.d~e!f$1|1.1"},
		{"GET / HTTP/1.1\r\nHost: a.\r\n\r\n", ":method=GET|:path=/|:authority=a.|1.1"},
		{"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", ":method=GET|:path=/|:authority=a:|1.1"},
		{"GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n", ":method=GET|:path=/|:authority=a:65535|1.1"},
		{"GET / HTTP/1.1\r\nHost: %41b\r\n\r\n", ":method=GET|:path=/|:authority=%41b|1.1"},
		{"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", ":method=GET|:path=/|:authority=127.0.0.1|1.1"},
		{"GET / HTTP/1.1\r\nHost: [::ffff:127.0.0.1]:80\r\n\r\n", ":method=GET|:path=/|:authority=[::ffff:127.0.0.1]:80|1.1"},

		// Fields (RFC 9110 §5, RFC 9112 §5).
		{get("X-A:1\r\nx-a: \t2 \t\r\nX-EMPTY:\r\nX-Empty2: \t \r\n"), g + "x-a=1|x-a=2|x-empty=|x-empty2=|1.1"},
		{get("X-T: a\tb  c\xff\x80\xe2\x82\xac\r\n"), g + "x-t=a\tb  c\xff\x80\xe2\x82\xac|1.1"},
		{get("!#$%&'*+-.^_`|~09azAZ: v\r\n"), g + "!#$%&'*+-.^_`|~09azaz=v|1.1"},
		{get("a: a:b: c\r\n"), g + "a=a:b: c|1.1"},
		{get("X-Q: \"a,\\\"b\"; c\r\n"), g + "x-q=\"a,\\\"b\"; c|1.1"},
		{get("Proxy-Authorization: Basic x\r\n"), g + "proxy-authorization=Basic x|1.1"},
		{get("Content_Length: 5\r\nTransfer_Encoding: chunked\r\n"), g + "content_length=5|transfer_encoding=chunked|1.1"},

		// Framing (RFC 9112 §6).
		{post("Content-Length: 5\r\n"), p + "content-length=5|1.1 cl=5 body"},
		{post("Content-Length:\t 5 \t\r\n"), p + "content-length=5|1.1 cl=5 body"},
		{post("Content-Length: 0\r\n"), p + "content-length=0|1.1 cl=0"},
		{post("Content-Length: 0005\r\n"), p + "content-length=0005|1.1 cl=5 body"},
		{post("Content-Length: 9223372036854775807\r\n"), p + "content-length=9223372036854775807|1.1 cl=9223372036854775807 body"},
		{post("Transfer-Encoding: chunked\r\n"), p + "1.1 chunked body"},
		{post("transfer-ENCODING:Chunked \r\n"), p + "1.1 chunked body"},
		{get("Content-Length: 3\r\n"), g + "content-length=3|1.1 cl=3 body"},
		{get("Transfer-Encoding: chunked\r\n"), g + "1.1 chunked body"},
		{post("Expect: 100-Continue\r\nContent-Length: 1\r\n"), p + "expect=100-Continue|content-length=1|1.1 cl=1 body 100"},
	}, acceptedConnections()...)
}

// acceptedConnections are about the connection and its end.
func acceptedConnections() []acceptedRow {
	const h = "Host: a\r\n"
	get := func(fields string) string { return "GET / HTTP/1.1\r\n" + h + fields + "\r\n" }
	post := func(fields string) string { return "POST / HTTP/1.1\r\n" + h + fields + "\r\n" }
	const g, p = ":method=GET|:path=/|:authority=a|", ":method=POST|:path=/|:authority=a|"
	return []acceptedRow{
		// Connection and hop-by-hop fields (RFC 9110 §7.6.1).
		{get("Connection: close\r\n"), g + "1.1 close"},
		{get("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"), g + "1.1"},
		{get("Connection: ,, Close ,\r\n"), g + "1.1 close"},
		{get("Connection: keep-alive, close\r\n"), g + "1.1 close"},
		{get("Proxy-Connection: close\r\n"), g + "1.1 close"},
		{get("Proxy-Connection: keep-alive\r\n"), g + "1.1"},
		{get("X-A: 1\r\nConnection: x-a, X-B\r\nx-b: 2\r\nX-C: 3\r\nX-A: 4\r\n"), g + "x-c=3|1.1"},
		{get("Connection: x-a\r\nConnection: x-b\r\nx-a: 1\r\nX-B: 2\r\n"), g + "1.1"},
		{get("Connection: authorization, cookie, x-envoy-internal\r\nAuthorization: t\r\nCookie: c\r\nX-Envoy-Internal: true\r\n"), g + "authorization=t|cookie=c|x-envoy-internal=true|1.1"},
		{get("Connection: close, X-Forwarded-For, x-forwarded-anything\r\nX-Forwarded-For: 1\r\nX-Forwarded-Anything: 2\r\n"), g + "x-forwarded-for=1|x-forwarded-anything=2|1.1 close"},
		{get("TE: gzip, Trailers;q=1\r\n"), g + "1.1"},
		{get("TE: gzip, Trailers\r\nConnection: te\r\n"), g + "te=trailers|1.1"},
		{get("Trailer: x\r\nHTTP2-Settings: AA\r\n"), g + "trailer=x|1.1"},

		// Upgrade (RFC 9110 §7.8).
		{get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"), g + "upgrade=websocket|1.1 upgrade"},
		{get("Upgrade: WebSocket\r\nConnection: upgrade\r\n"), g + "upgrade=WebSocket|1.1 upgrade"},
		{get("Upgrade: websocket\r\n"), g + "1.1"},
		{get("Connection: upgrade\r\n"), g + "1.1"},
		{get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"), g + "1.1"},
		{get("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"), g + "1.1"},
		{get("Connection: Upgrade\r\nUpgrade: foo/2, bar\r\n"), g + "upgrade=foo/2, bar|1.1 upgrade"},
		{get("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n"), g + "1.1"},
		{get("Connection: Upgrade\r\nUpgrade: a b\r\n"), g + "1.1"},
		{post("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n"), p + "content-length=4|1.1 cl=4 body"},
		{post("Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n"), p + "1.1 chunked body"},

		// HTTP/1.0.
		{"GET / HTTP/1.0\r\n\r\n", ":method=GET|:path=/|1.0 close"},
		{"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", g + "1.0"},
		{"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", g + "1.0 close"},
		{"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", p + "content-length=2|1.0 cl=2 body close"},
	}
}

func lenient() *Options { return &Options{AllowAbsoluteURL: true, AcceptHTTP10: true} }

func TestRequestAccepted(t *testing.T) {
	for _, tt := range acceptedRequests() {
		got, err := readRequest(t, lenient(), tt.in)
		if err != nil || got != tt.want {
			t.Errorf("%q:\n got %s %v\nwant %s", tt.in, got, err, tt.want)
		}
	}
}

type refusedRow struct {
	in   string
	want *codec.Error
}

// badFields are refused in every head.
func badFields() []refusedRow {
	rows := []refusedRow{
		{" X: 1\r\n", errFold},
		{"\tX: 1\r\n", errFold},
		{"X: 1\r\n folded\r\n", errFold},
		{"X: 1\r\n\tfolded\r\n", errFold},
		{"X: 1\r\n \r\n", errFold},
		{"X : 1\r\n", errSpaceColon},
		{"X\t: 1\r\n", errSpaceColon},
		{"Content-Length : 5\r\n", errSpaceColon},
		{"Transfer-Encoding : chunked\r\n", errSpaceColon},
		{"Transfer-Encoding\x0b: chunked\r\n", errName},
		{"X Y: 1\r\n", errSpaceColon},
		{": 1\r\n", errName},
		{"X\r\n", errNoColon},
		{"X\rY: 1\r\n", errBareCR},
		{"X\n", errBareLF},
		{"X: 1\n", errBareLF},
		{"X: 1\nY: 2\r\n", errBareLF},
		{"\nY: 2\r\n", errBareLF},
		{"\n\r\n", errBareLF},
		{"X: 1\rY: 2\r\n", errBareCR},
		{"X: 1\r\r\n", errBareCR},
		{"\rX: 1\r\n", errBareCR},
		{"\r\rX: 1\r\n", errBareCR},
		{"X: \x00\r\n", errValue},
		{"X: a\x0bb\r\n", errValue},
		{"X: 12345678\x7f\r\n", errValue},
		{"X: \x1b[0m\r\n", errValue},
		{"X\x00: 1\r\n", errName},
		{"X\x80: 1\r\n", errName},
		{"\xef\xbb\xbfX: 1\r\n", errName},
		{"\"X\": 1\r\n", errName},
		{"X,Y: 1\r\n", errName},
		{"(X): 1\r\n", errName},
		{"X/Y: 1\r\n", errName},
		{"X=Y\r\n", errName},
		{"Content-Length\x00: 5\r\n", errName},
		{"Content-Length: 5\r\nContent-Length: 5\r\n", errLengths},
		{"Content-Length: 5\r\ncontent-length: 6\r\n", errLengths},
		{"Content-Length: 0\r\nContent-Length: 0\r\n", errLengths},
	}
	for _, v := range []string{
		"+5", "-5", "-0", "5,5", "5, 5", "5,", ",5", "5 5", "0x5", "5h", "5.0", "1e1", "\"5\"", "", " ", "5;", "5\x80", "٥",
		"9223372036854775808", "18446744073709551616", "18446744073709551621", "99999999999999999999",
		"00000000000000000000005", "5_0", "five", "５",
	} {
		rows = append(rows, refusedRow{"Content-Length: " + v + "\r\n", errLength})
	}
	rows = append(rows, refusedRow{"Content-Length: 5\x0b\r\n", errValue}, refusedRow{"Content-Length: 5\x00\r\n", errValue})
	for _, v := range []string{
		"chunked, chunked", "chunked,chunked", "identity", "gzip", "gzip, chunked", "chunked, gzip", "x, chunked",
		"chunked;q=1", "chunked; a=b", "chunked,", ",chunked", ", chunked", "\"chunked\"", "'chunked'", "chunke", "chunkedd",
		"xchunked", "x chunked", "chunked x", "", " ", "chunked\xa0", "\xa0chunked", "chunked, identity", "identity, chunked",
		"cow", "chunKed\xff", "chunked-x", "ch\xc5\xbfunked", "chun\u212aed",
	} {
		rows = append(rows, refusedRow{"Transfer-Encoding: " + v + "\r\n", errTE})
	}
	return append(rows,
		refusedRow{"Transfer-Encoding: \x0bchunked\r\n", errValue},
		refusedRow{"Transfer-Encoding: chunked\x0b\r\n", errValue},
		refusedRow{"Transfer-Encoding: chunked\x0c\r\n", errValue},
		refusedRow{"Transfer-Encoding: \x00chunked\r\n", errValue},
		refusedRow{"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", errTE},
		refusedRow{"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", errTE},
		refusedRow{"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", errTE},
		refusedRow{"Transfer-Encoding:\r\n chunked\r\n", errTE},
		refusedRow{"Transfer-Encoding\r\n: chunked\r\n", errNoColon},
		refusedRow{"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", errBoth},
		refusedRow{"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", errBoth},
		refusedRow{"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", errBoth},
		refusedRow{"Connection: a b\r\n", errConnection},
		refusedRow{"Connection: \"close\"\r\n", errConnection},
		refusedRow{"Connection: :path\r\n", errConnection},
		refusedRow{"Connection: a,b,c,d,e,f,g,h,i,j\r\n", errConnection},
	)
}

func refusedRequests() []refusedRow {
	rows := append(refusedLines(), refusedTargets()...)
	for i := range rows {
		rows[i].in += "Host: a\r\n\r\n"
	}
	return append(rows, refusedHosts()...)
}

// refusedLines are whole request lines, refusedTargets those with a target that
// is refused.
func refusedLines() []refusedRow {
	return []refusedRow{
		{"GET  / HTTP/1.1\r\n", errTarget},
		{"GET /  HTTP/1.1\r\n", errTarget},
		{"GET /a b HTTP/1.1\r\n", errTarget},
		{"GET\t/ HTTP/1.1\r\n", errRequestLine},
		{"GET /\tHTTP/1.1\r\n", errVersion},
		{" GET / HTTP/1.1\r\n", errRequestLine},
		{"\tGET / HTTP/1.1\r\n", errRequestLine},
		{"GET / HTTP/1.1 \r\n", errVersion},
		{"GET / HTTP/1.1\n", errBareLF},
		{"GET / HTTP/1.1\r\r\n", errVersion},
		{"GET /\r HTTP/1.1\r\n", errTarget},
		{"\nGET / HTTP/1.1\r\n", errBareLF},
		{"\rGET / HTTP/1.1\r\n", errRequestLine},
		{"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", errBlank},
		{"GET /\r\n", errRequestLine},
		{"GET\r\n", errRequestLine},
		{"GET HTTP/1.1\r\n", errRequestLine},
		{"GET  HTTP/1.1\r\n", errRequestLine},
		{"/ HTTP/1.1\r\n", errRequestLine},
		{"GET / http/1.1\r\n", errVersion},
		{"GET / Http/1.1\r\n", errVersion},
		{"GET / HTTP/1,1\r\n", errVersion},
		{"GET / HTTP/11.\r\n", errVersion},
		{"GET / HTTP/1.11\r\n", errVersion},
		{"GET / HTTP/01.1\r\n", errVersion},
		{"GET / HTTP/1.x\r\n", errVersion},
		{"GET / HTTP 1.1\r\n", errVersion},
		{"GET / HTTPS/1.1\r\n", errVersion},
		{"GET / ICAP/1.0\r\n", errVersion},
		{"GET / HTTP/1.2\r\n", errVersion505},
		{"GET / HTTP/1.9\r\n", errVersion505},
		{"GET / HTTP/0.9\r\n", errVersion505},
		{"GET / HTTP/2.0\r\n", errVersion505},
		{"GET / HTTP/3.0\r\n", errVersion505},
		{"PRI * HTTP/2.0\r\n", errPreface},
		{"\r\nPRI * HTTP/2.0\r\n", errVersion505},
		{"PRI * HTTP/1.1\r\n", errMethod},
		{"get / HTTP/1.1\r\n", errMethod},
		{"Get / HTTP/1.1\r\n", errMethod},
		{"FOO / HTTP/1.1\r\n", errMethod},
		{"G@T / HTTP/1.1\r\n", errRequestLine},
		{"GET\x00 / HTTP/1.1\r\n", errRequestLine},
		{"\x16\x03\x01\x02\x00\x01\r\n", errRequestLine},
	}
}

func refusedTargets() []refusedRow {
	return []refusedRow{
		{"GET /\x00 HTTP/1.1\r\n", errTarget},
		{"GET /\x7f HTTP/1.1\r\n", errTarget},
		{"GET /\x80 HTTP/1.1\r\n", errTarget},
		{"GET /é HTTP/1.1\r\n", errTarget},
		{"GET /12345678\x01 HTTP/1.1\r\n", errTarget},
		{"GET /a#b HTTP/1.1\r\n", errFragment},
		{"GET /12345678#b HTTP/1.1\r\n", errFragment},
		{"GET index.html HTTP/1.1\r\n", errTarget},
		{"GET ?q HTTP/1.1\r\n", errTarget},
		{"GET * HTTP/1.1\r\n", errTarget},
		{"GET a:80 HTTP/1.1\r\n", errTarget},
		{"OPTIONS *x HTTP/1.1\r\n", errTarget},
		{"OPTIONS ** HTTP/1.1\r\n", errTarget},
		{"GET ftp://a/ HTTP/1.1\r\n", errScheme},
		{"GET file:///etc HTTP/1.1\r\n", errScheme},
		{"GET ://a/ HTTP/1.1\r\n", errTarget},
		{"GET http:/a HTTP/1.1\r\n", errTarget},
		{"GET http:///p HTTP/1.1\r\n", errTarget},
		{"GET http://?q HTTP/1.1\r\n", errTarget},
		{"GET http://u@a/ HTTP/1.1\r\n", errTarget},
		{"GET http://u:p@a/ HTTP/1.1\r\n", errTarget},
		{"GET http://a\\@b/ HTTP/1.1\r\n", errTarget},
		{"GET http://a:x/ HTTP/1.1\r\n", errTarget},
		{"GET http://:80/ HTTP/1.1\r\n", errTarget},
		{"GET http://a:80:80/ HTTP/1.1\r\n", errTarget},
		{"GET http://a/#f HTTP/1.1\r\n", errFragment},
		{"GET http://a#f HTTP/1.1\r\n", errFragment},
		{"GET http://[::1/ HTTP/1.1\r\n", errTarget},
		{"GET http://a,b/ HTTP/1.1\r\n", errTarget},
		{"CONNECT / HTTP/1.1\r\n", errTarget},
		{"CONNECT * HTTP/1.1\r\n", errTarget},
		{"CONNECT a HTTP/1.1\r\n", errTarget},
		{"CONNECT a: HTTP/1.1\r\n", errTarget},
		{"CONNECT a:0 HTTP/1.1\r\n", errTarget},
		{"CONNECT a:65536 HTTP/1.1\r\n", errTarget},
		{"CONNECT :80 HTTP/1.1\r\n", errTarget},
		{"CONNECT u@a:80 HTTP/1.1\r\n", errTarget},
		{"CONNECT http://a:80 HTTP/1.1\r\n", errTarget},
		{"CONNECT [::1] HTTP/1.1\r\n", errTarget},
	}
}

// refusedHosts are refused for a field that only requests have.
func refusedHosts() []refusedRow {
	rows := []refusedRow{
		{"GET / HTTP/1.1\r\n\r\n", errNoHost},
		{"GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", errNoHost},
		{"GET http://a/ HTTP/1.1\r\n\r\n", errNoHost},
		{"CONNECT a:80 HTTP/1.1\r\n\r\n", errNoHost},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", errManyHost},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", errManyHost},
		{"GET / HTTP/1.1\r\nHost:\r\nHost: b\r\n\r\n", errManyHost},
		{"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", errManyHost},
		{"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", errManyHost},
		{"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", errTE10},
		{"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", errBody},
		{"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", errBody},
		{"GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", errHost},
	}
	for _, v := range []string{
		"a b", "u@a", "u:p@a", "a/", "a/b", "a?b", "a#b", "http://a", "a:b", "a:-1", "a:+80", "a:65536", "a:123456", "a:80:80",
		"a,b", "a, b", "[::1", "::1", "[::1]x", "[::1]:x", "[1.2.3.4]", "[fe80::1%25eth0]", "[]", "[v1.a]", "a\\b", "a\"b", "a<b", "a%", "a%4", "a%zz",
		"a\xff", "é", ":80", ":", "a]", "a{b}", "a^b", "a`b", "a|b",
	} {
		rows = append(rows, refusedRow{"GET / HTTP/1.1\r\nHost: " + v + "\r\n\r\n", errHost})
	}
	for _, v := range []string{"y 100-continue", "100-continue, x", "200-ok", "", "\"100-continue\""} {
		rows = append(rows, refusedRow{"GET / HTTP/1.1\r\nHost: a\r\nExpect: " + v + "\r\n\r\n", errExpect})
	}
	for _, v := range []string{
		"host", "close, Host", "content-length", "transfer-encoding", "a b", "a;b", "\"close\"",
	} {
		rows = append(rows, refusedRow{"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + v + "\r\n\r\n", errConnection})
	}
	for _, r := range badFields() {
		rows = append(rows,
			refusedRow{"POST / HTTP/1.1\r\nHost: a\r\n" + r.in + "\r\n", r.want},
			refusedRow{"POST / HTTP/1.1\r\n" + r.in + "Host: a\r\n\r\n", r.want})
	}
	return rows
}

func TestRequestRefused(t *testing.T) {
	rows := refusedRequests()
	for _, tt := range rows {
		got, err := readRequest(t, lenient(), tt.in)
		if !errors.Is(err, tt.want) {
			t.Errorf("%q: got %s %v want %v", tt.in, got, err, tt.want)
		}
	}
	t.Logf("%d requests refused", len(rows))
}

func TestRequestOptions(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n"
	long := strings.Repeat("x", 100)
	tests := []struct {
		name string
		o    Options
		in   string
		want string
		err  *codec.Error
	}{
		{"1.0 is off", Options{}, "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "", errHTTP10},
		{"1.0 default host", Options{AcceptHTTP10: true, DefaultHostForHTTP10: "d"}, "GET / HTTP/1.0\r\n\r\n", ":method=GET|:path=/|:authority=d|1.0 close", nil},
		{"absolute is off", Options{}, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "", errAbsolute},
		{"length with chunked", Options{AllowChunkedLength: true}, get + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", ":method=GET|:path=/|:authority=a|1.1 chunked body close", nil},
		{"lengths with chunked", Options{AllowChunkedLength: true}, get + "Content-Length: 3\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "", errLengths},
		{"custom method", Options{AllowCustomMethods: true}, "fOO / HTTP/1.1\r\nHost: a\r\n\r\n", ":method=fOO|:path=/|:authority=a|1.1", nil},
		{"custom method no token", Options{AllowCustomMethods: true}, "F(O / HTTP/1.1\r\nHost: a\r\n\r\n", "", errRequestLine},
		{"underscore rejected", Options{Underscores: codec.UnderscoresReject}, get + "a_b: 1\r\n\r\n", "", errUnderscore},
		{"underscore dropped", Options{Underscores: codec.UnderscoresDrop}, get + "a_b: 1\r\nc: 2\r\n\r\n", ":method=GET|:path=/|:authority=a|c=2|1.1", nil},
		{"line fits", Options{MaxLineBytes: 14}, get + "\r\n", ":method=GET|:path=/|:authority=a|1.1", nil},
		{"line too long", Options{MaxLineBytes: 13}, get + "\r\n", "", errLine},
		{"unfinished line too long", Options{MaxLineBytes: 50}, "GET /" + long, "", errLine},
		{"head fits", Options{MaxHeadBytes: len(get) + 2}, get + "\r\n", ":method=GET|:path=/|:authority=a|1.1", nil},
		{"head too large", Options{MaxHeadBytes: len(get) + 1}, get + "\r\n", "", errLarge},
		{"line over the head", Options{MaxHeadBytes: 50}, "GET /" + long, "", errLarge},
		{"field over the head", Options{MaxHeadBytes: 100}, get + "x: " + long, "", errLarge},
		{"name over the head", Options{MaxHeadBytes: 100}, get + long, "", errLarge},
		{"fields fit", Options{MaxHeaders: 3}, get + "b: 1\r\nc: 2\r\n\r\n", ":method=GET|:path=/|:authority=a|b=1|c=2|1.1", nil},
		{"too many fields", Options{MaxHeaders: 2}, get + "b: 1\r\nc: 2\r\n\r\n", "", errMany},
		{"100 fields", Options{}, get + strings.Repeat("a: 1\r\n", 100) + "\r\n", "", errMany},
	}
	for _, tt := range tests {
		got, err := readRequest(t, &tt.o, tt.in)
		if tt.err != nil && !errors.Is(err, tt.err) || tt.err == nil && (err != nil || got != tt.want) {
			t.Errorf("%s: got %s %v want %s %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}

func TestErrorsStay(t *testing.T) {
	var p Parser
	var m header.Map
	p.Reset(nil)
	if _, _, err := p.Request([]byte("x\r\n"), &m); err == nil {
		t.Fatal("accepted")
	}
	if n, done, err := p.Request([]byte(shortRequest), &m); n != 0 || done || !errors.Is(err, errRequestLine) {
		t.Fatalf("went on: %d %v %v", n, done, err)
	}
	p.Next()
	if _, done, err := p.Request([]byte(shortRequest), &m); !done || err != nil {
		t.Fatal(err)
	}
}

func TestPrefaceConsumesNothing(t *testing.T) {
	var p Parser
	var m header.Map
	p.Reset(nil)
	n, _, err := p.Request([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), &m)
	if n != 0 || !errors.Is(err, ErrPreface) {
		t.Fatal(n, err)
	}
}

func TestSpelling(t *testing.T) {
	const in = "GET / HTTP/1.1\r\nHOST: a\r\nX-cAsE: 1\r\nx-CASE: 2\r\naccept: *\r\nContent-Length: 2\r\n\r\n"
	var p Parser
	var m header.Map
	p.Reset(&Options{PreserveCase: true})
	buf := []byte(in)
	for i := 1; ; i++ { // Byte by byte, as names are lowered on the way.
		n, done, err := p.Request(buf[p.Head().Size:i], &m)
		if err != nil {
			t.Fatal(n, err)
		}
		if done {
			break
		}
	}
	out, err := AppendRequest(nil, &m, &Framing{Body: BodyLength, Length: 2, Case: ProperCase, Spelling: p.Spelling(), Close: true})
	const want = "GET / HTTP/1.1\r\nHOST: a\r\nX-cAsE: 1\r\nX-cAsE: 2\r\naccept: *\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
	if err != nil || string(out) != want {
		t.Fatalf("%s %v", out, err)
	}
}
