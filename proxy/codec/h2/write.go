// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"strconv"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/codec/h2/hpack"
	"weir.dev/weir/proxy/header"
)

// unwritten has the well-known fields that do not come from the map: pseudo-header
// fields, which come first, and those which are about the connection or the length.
var unwritten = hpack.SkipNames(
	header.Method, header.Path, header.Authority, header.Scheme, header.Status, header.Protocol,
	header.Connection, header.KeepAlive, header.ProxyConnection, header.TransferEncoding,
	header.ContentLength, header.TE, header.Upgrade, header.HTTP2Settings,
)

var hostID = header.Host.ID()

// checkFields reports the first field that cannot be written: filters and
// configuration may put anything into a map.
func checkFields(m *header.Map) *codec.Error {
	fields := m.Fields()
	for i := range fields {
		f := &fields[i]
		n := f.Name()
		switch {
		case !f.Live():
		case n.ID() == 0 && (f.IsPseudo() || !hpack.ValidName(n.String())):
			return errWriteName
		case !hpack.ValidValue(f.Value()) && !hpack.ValidValue(trim(f.Value())):
			return errWriteValue
		}
	}
	return nil
}

// A blockWriter appends one header block to the output, in place.
type blockWriter struct {
	c     *conn
	b     []byte
	start int
}

// beginBlock begins the block of m.
func (c *conn) beginBlock(m *header.Map) blockWriter {
	// No encoding is longer than the strings and two lengths of at most six bytes.
	b := c.out.reserve(frame.HeaderLen + m.Size() + 12*m.Len() + 128)
	w := blockWriter{c: c, start: len(b)}
	w.b = c.enc.Begin(frame.OpenHeaders(b))
	return w
}

func (w *blockWriter) append(n header.Name, v []byte) {
	w.b = w.c.enc.Append(w.b, n, v, false)
}

// fields appends what the map has of regular fields.
func (w *blockWriter) fields(m *header.Map, request bool) {
	fields := m.Fields()
	enc, b := &w.c.enc, w.b
	for i := range fields {
		f := &fields[i]
		n := f.Name()
		if !f.Live() || unwritten[n.ID()] || request && n.ID() == hostID {
			continue
		}
		b = enc.Append(b, n, trim(f.Value()), f.Sensitive())
	}
	w.b = b
}

// length appends content-length.
func (w *blockWriter) length(n int64) {
	var b [20]byte
	w.append(header.ContentLength, strconv.AppendInt(b[:0], n, 10))
}

// end ends the block and returns how many bytes it takes.
func (w *blockWriter) end(s *exchange, end bool) int {
	c := w.c
	b := frame.CloseHeaders(w.b, w.start, s.id, frameMost, end)
	c.out.commit(b)
	s.lastFrame = c.out.mark(b, w.start)
	c.kick()
	return len(b) - w.start
}

// responseStatus returns the status that m has, 0 if there is none that can be
// written.
func responseStatus(m *header.Map) int {
	v := m.Get(header.Status)
	if len(v) != 3 || v[0] < '1' || v[0] > '9' || !isDigit(v[1]) || !isDigit(v[2]) {
		return 0
	}
	return int(v[0]-'0')*100 + int(v[1]-'0')*10 + int(v[2]-'0')
}

// checkResponse refuses a response head that cannot be written.
func checkResponse(m *header.Map) *codec.Error {
	if responseStatus(m) == 0 {
		return errWriteStatus
	}
	return checkFields(m)
}

// writeResponse appends a response's head; length is -1 for none.
func (s *exchange) writeResponse(m *header.Map, tunnel bool, length int64, end bool) {
	w := s.c.beginBlock(m)
	status := m.Get(header.Status)
	if tunnel && string(status) == "101" {
		status = status200 // RFC 8441 §5.
	}
	w.append(header.Status, status)
	w.fields(m, false)
	if length >= 0 {
		w.length(length)
	}
	s.headSent += w.end(s, end)
}

var status200 = []byte("200")

// checkRequest refuses a request head that cannot be written.
func checkRequest(m *header.Map, upgrade bool) *codec.Error {
	method, path, scheme, authority := m.Get(header.Method), m.Get(header.Path), m.Get(header.Scheme), m.Get(header.Authority)
	if !isToken(method) {
		return errWriteMethod
	}
	if len(authority) > 0 && !codec.ValidAuthority(authority) {
		return errWriteTarget
	}
	switch {
	case string(method) == "CONNECT":
		if codec.Port(authority) <= 0 {
			return errWriteTarget
		}
	case len(path) == 0 || !codec.ValidTarget(path) || path[0] != '/' && (string(path) != "*" || string(method) != "OPTIONS"),
		len(scheme) > 0 && !validScheme(scheme), upgrade && (authority == nil || !isToken(m.Get(header.Upgrade))):
		return errWriteTarget
	}
	return checkFields(m)
}

// writeRequest appends a request's head; length is -1 for none.
func (s *exchange) writeRequest(m *header.Map, upgrade bool, length int64, end bool) {
	w := s.c.beginBlock(m)
	method := m.Get(header.Method)
	connect := string(method) == "CONNECT"
	if upgrade {
		// RFC 8441 §4.
		w.append(header.Method, methodConnect)
		w.append(header.Protocol, m.Get(header.Upgrade))
	} else {
		w.append(header.Method, method)
	}
	if !connect {
		scheme := m.Get(header.Scheme)
		if len(scheme) == 0 {
			scheme = schemeHTTP
		}
		w.append(header.Scheme, scheme)
	}
	if v := m.Get(header.Authority); len(v) > 0 {
		w.append(header.Authority, v)
	}
	if !connect {
		w.append(header.Path, m.Get(header.Path))
	}
	w.fields(m, true)
	if header.EqualLower(m.Get(header.TE), "trailers") {
		w.append(header.TE, teTrailers)
	}
	if length >= 0 {
		w.length(length)
	}
	s.headSent += w.end(s, end)
}

var (
	methodConnect = []byte("CONNECT")
	schemeHTTP    = []byte("http")
	teTrailers    = []byte("trailers")
)

// expectsBody reports whether a request without a body says so by
// Content-Length: 0 (RFC 9110 §8.6).
func expectsBody(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}
