// SPDX-License-Identifier: Apache-2.0

// Package httpinspector is the listener filter that tells which version of HTTP
// a cleartext connection speaks, so that a filter chain can be chosen by it
// (envoy.filters.listener.http_inspector). It reads the request line only and
// takes nothing from the connection.
package httpinspector

import (
	"bytes"
	"errors"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/stats"
)

// Stats are the filter's statistics (http_inspector.*).
type Stats struct {
	ReadError    stats.Counter `stat:"read_error"`
	HTTP10Found  stats.Counter `stat:"http10_found"`
	HTTP11Found  stats.Counter `stat:"http11_found"`
	HTTP2Found   stats.Counter `stat:"http2_found"`
	HTTPNotFound stats.Counter `stat:"http_not_found"`
}

const (
	// maxLine is the longest request line that is looked for, in bytes (Envoy's
	// MAX_INSPECT_SIZE).
	maxLine = 64 << 10
	initial = 8 << 10
	// preface begins an HTTP/2 connection (RFC 9113 §3.4).
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// protocol is what a connection speaks, by the name that a filter chain match
// has for it.
type protocol string

const (
	unknown protocol = "" // not told yet
	none    protocol = "none"
	http10  protocol = "http/1.0"
	http11  protocol = "http/1.1"
	http2   protocol = "h2c"
)

type filter struct {
	stats *stats.Sharded[Stats]
}

var errTooLong = errors.New("http_inspector: no end of the request line within 64 KiB")

// Accept looks at the first bytes until the version is known.
func (f *filter) Accept(t *engine.Task, c *conn.Conn) error {
	if c.Info.TransportProtocol != "raw_buffer" {
		return nil // What is encrypted tells nothing.
	}
	st := f.stats.At(t.Loop().ID())
	var in inspection
	err := listener.Peek(t, c, initial, in.look)
	switch {
	case errors.Is(err, errTooLong):
		st.ReadError.Inc()
		return err
	case err != nil:
		return err
	}
	switch in.found {
	case http10:
		st.HTTP10Found.Inc()
	case http11:
		st.HTTP11Found.Inc()
	case http2:
		st.HTTP2Found.Inc()
	default:
		st.HTTPNotFound.Inc()
		return nil
	}
	c.Info.ALPNs = []string{string(in.found)}
	return nil
}

// inspection is what was seen of one connection.
type inspection struct {
	found   protocol
	checked int // bytes in which there is no end of the line
}

func (in *inspection) look(b []byte) (want int, err error) {
	in.found = in.inspect(b)
	switch {
	case in.found != unknown:
		return 0, nil
	case len(b) >= maxLine:
		return 0, errTooLong
	}
	return len(b) + 1, nil
}

// inspect tells the protocol by the first bytes; what can be no request line is
// none at once.
func (in *inspection) inspect(b []byte) protocol {
	if n := min(len(b), len(preface)); string(b[:n]) == preface[:n] {
		if n < len(preface) {
			return unknown
		}
		return http2
	}
	i := bytes.IndexByte(b[in.checked:], '\n')
	line := b
	if i >= 0 {
		line = b[:in.checked+i]
	}
	if in.checked = len(b); !method(line) {
		return none
	}
	if i < 0 {
		return unknown
	}
	return version(bytes.TrimSuffix(line, []byte("\r")))
}

// method reports whether b begins with a method and a blank, or could so far:
// RFC 9110 §9.1 makes it a token.
func method(b []byte) bool {
	for i, c := range b {
		if c == ' ' {
			return i > 0
		}
		if !tchar(c) {
			return false
		}
	}
	return true
}

func tchar(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

// version tells the version of a whole request line. As in Envoy, any but 1.1 is
// taken for 1.0.
func version(line []byte) protocol {
	_, rest, ok := bytes.Cut(line, []byte(" "))
	i := bytes.LastIndexByte(rest, ' ')
	if !ok || i <= 0 || rest[0] == ' ' {
		return none
	}
	v := rest[i+1:]
	if len(v) != len("HTTP/1.1") || string(v[:5]) != "HTTP/" || !digit(v[5]) || v[6] != '.' || !digit(v[7]) {
		return none
	}
	if string(v) == "HTTP/1.1" {
		return http11
	}
	return http10
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
