// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"encoding/binary"
	"slices"
	"strconv"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
)

// Body says which framing fields a head gets. Those of the map never count.
type Body uint8

// The ways to frame a body.
const (
	// BodyNone writes neither Content-Length nor Transfer-Encoding: a request
	// without content, a response that cannot have any or that ends with the
	// connection, a tunnel.
	BodyNone Body = iota
	// BodyLength writes Content-Length, also on a response to HEAD.
	BodyLength
	// BodyChunked writes Transfer-Encoding: chunked.
	BodyChunked
)

// Case is how field names are written (Envoy's header_key_format).
type Case uint8

// The header key formats of Envoy.
const (
	// LowerCase writes names as the map has them.
	LowerCase Case = iota
	// ProperCase writes each letter in upper case that is the first or behind
	// neither letter nor digit: Content-Type.
	ProperCase
)

// Framing is all of a head that belongs to the connection and not to the
// message.
type Framing struct {
	Body Body
	// Length is the content's length in bytes, for BodyLength.
	Length int64
	// Close writes Connection: close.
	Close bool
	// KeepAlive writes Connection: keep-alive, which an HTTP/1.0 peer needs.
	KeepAlive bool
	// Upgrade lets the map's upgrade field through and writes Connection:
	// upgrade with it.
	Upgrade bool
	// HTTP10 writes version 1.0 instead of 1.1.
	HTTP10 bool
	// Case and Spelling say how names are written: as in Spelling if it has
	// them, else in Case. Spelling may be nil.
	Case     Case
	Spelling *Spelling
}

// AppendRequest appends a request head made of m to dst. It refuses, with an
// *codec.Error of status 500 and dst unchanged, what no correct head can be made of:
// filters and configuration may put anything into a map.
func AppendRequest(dst []byte, m *header.Map, f *Framing) ([]byte, error) {
	method, authority := m.Get(header.Method), m.Get(header.Authority)
	if !isToken(method) {
		return dst, errWriteMethod
	}
	if authority == nil && !f.HTTP10 || len(authority) > 0 && !codec.ValidAuthority(authority) {
		return dst, errWriteTarget
	}
	target := m.Get(header.Path)
	if string(method) == "CONNECT" {
		if target = authority; codec.Port(target) <= 0 {
			return dst, errWriteTarget
		}
		if f.Body != BodyNone {
			return dst, errWriteBody
		}
	} else if !codec.ValidTarget(target) || len(target) == 0 ||
		target[0] != '/' && (string(target) != "*" || string(method) != "OPTIONS") {
		return dst, errWriteTarget
	}
	w := newWriter(dst, m.Size()+4*m.Len()+len(authority))
	w.bytes(method)
	w.text(" ")
	w.bytes(target)
	if f.HTTP10 {
		w.text(" HTTP/1.0\r\n")
	} else {
		w.text(" HTTP/1.1\r\n")
	}
	if authority != nil {
		w.name(header.Host, f)
		w.value(authority)
	}
	if err := w.fields(m, f, true); err != nil {
		return dst, err
	}
	return w.b[:w.n], nil
}

// AppendResponse appends a response head made of m, whose :status is its
// status, to dst. It refuses as AppendRequest does. The request is not known
// here: for 2xx to CONNECT the Body must be BodyNone.
func AppendResponse(dst []byte, m *header.Map, f *Framing) ([]byte, error) {
	status := m.Get(header.Status)
	if len(status) != 3 || status[0] < '1' || status[0] > '9' || !isDigit(status[1]) || !isDigit(status[2]) {
		return dst, errWriteStatus
	}
	code := int(status[0]-'0')*100 + int(status[1]-'0')*10 + int(status[2]-'0')
	// RFC 9112 §6.1, RFC 9110 §8.6: neither field in 1xx and 204.
	if f.Body != BodyNone && (code < 200 || code == 204) {
		return dst, errWriteBody
	}
	w := newWriter(dst, m.Size()+4*m.Len())
	if f.HTTP10 {
		w.text("HTTP/1.0 ")
	} else {
		w.text("HTTP/1.1 ")
	}
	w.bytes(status)
	w.text(" ")
	w.text(Reason(code))
	w.text("\r\n")
	if err := w.fields(m, f, false); err != nil {
		return dst, err
	}
	return w.b[:w.n], nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// fixedBytes is more than all of a head that does not come from a map.
const fixedBytes = 256

// A headWriter appends to memory that is large enough from the start.
type headWriter struct {
	b []byte
	n int
}

func newWriter(dst []byte, n int) headWriter {
	dst = slices.Grow(dst, n+fixedBytes)
	return headWriter{b: dst[:cap(dst)], n: len(dst)}
}

func (w *headWriter) text(s string)  { w.n += copy(w.b[w.n:], s) }
func (w *headWriter) bytes(b []byte) { w.n += copy(w.b[w.n:], b) }

// unwritten has the well-known fields that do not come from the map: pseudo
// header fields and those which are about the connection or the framing.
var unwritten = buildUnwritten()

func buildUnwritten() (t [256]bool) {
	for _, n := range []header.Name{
		header.Method, header.Path, header.Authority, header.Scheme, header.Status, header.Protocol,
		header.Connection, header.KeepAlive, header.ProxyConnection, header.TransferEncoding,
		header.ContentLength, header.TE, header.Upgrade, header.HTTP2Settings,
	} {
		t[n.ID()] = true
	}
	return t
}

// fields writes the fields of a head and the empty line after them.
func (w *headWriter) fields(m *header.Map, f *Framing, request bool) *codec.Error {
	if f.Body == BodyChunked && f.HTTP10 {
		return errWriteBody
	}
	upgrade := f.Upgrade && m.Has(header.Upgrade)
	te := request && !upgrade && string(m.Get(header.TE)) == "trailers"
	fields := m.Fields()
	for i := range fields {
		h := &fields[i]
		n := h.Name()
		if !h.Live() || unwritten[n.ID()] || request && n.ID() == hostID {
			continue
		}
		if err := w.field(n, h.Value(), f); err != nil {
			return err
		}
	}
	if upgrade {
		if err := w.field(header.Upgrade, m.Get(header.Upgrade), f); err != nil {
			return err
		}
	}
	switch f.Body {
	case BodyLength:
		if f.Length < 0 {
			return errWriteBody
		}
		w.name(header.ContentLength, f)
		w.n = len(strconv.AppendInt(w.b[:w.n], f.Length, 10))
		w.text("\r\n")
	case BodyChunked:
		w.name(header.TransferEncoding, f)
		w.text("chunked\r\n")
	}
	if te {
		w.name(header.TE, f)
		w.text("trailers\r\n")
	}
	w.connection(f, upgrade, te)
	w.text("\r\n")
	return nil
}

var hostID = header.Host.ID()

// connection writes the Connection field if it has any member. RFC 9110
// §10.1.4: TE is always among them.
func (w *headWriter) connection(f *Framing, upgrade, te bool) {
	if !f.Close && !f.KeepAlive && !upgrade && !te {
		return
	}
	w.name(header.Connection, f)
	start := w.n
	for _, o := range [...]struct {
		on   bool
		text string
	}{{f.Close, "close"}, {f.KeepAlive && !f.Close, "keep-alive"}, {upgrade, "upgrade"}, {te, "te"}} {
		if o.on {
			if w.n > start {
				w.text(", ")
			}
			w.text(o.text)
		}
	}
	w.text("\r\n")
}

// field writes one line.
func (w *headWriter) field(n header.Name, v []byte, f *Framing) *codec.Error {
	if n.ID() == 0 && !lowerName(n.String()) {
		return errWriteName
	}
	w.name(n, f)
	if !w.value(v) {
		return errWriteValue
	}
	return nil
}

func lowerName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == 0 || lowerToken[c] != c {
			return false
		}
	}
	return s != ""
}

// name writes a name with colon and space.
func (w *headWriter) name(n header.Name, f *Framing) {
	switch {
	case f == nil || f.Spelling == nil && f.Case == LowerCase:
		w.text(n.String())
	default:
		w.spelledName(n, f)
	}
	w.b[w.n] = ':'
	w.b[w.n+1] = ' '
	w.n += 2
}

func (w *headWriter) spelledName(n header.Name, f *Framing) {
	if f.Spelling != nil {
		if s := f.Spelling.Of(n); s != nil {
			w.bytes(s)
			return
		}
	}
	start := w.n
	w.text(n.String())
	if f.Case == ProperCase {
		first := true
		for i, c := range w.b[start:w.n] {
			letter := c >= 'a' && c <= 'z'
			if first && letter {
				w.b[start+i] = c - 0x20
			}
			first = !letter && !isDigit(c)
		}
	}
}

// value writes a field value with CRLF, copying and checking a word at a time,
// and reports whether it is valid.
func (w *headWriter) value(v []byte) bool {
	n := len(v)
	d := w.b[w.n : w.n+n+2]
	d[n], d[n+1] = '\r', '\n'
	w.n += n + 2
	if n < 8 {
		copy(d, v)
		return validValue(v)
	}
	marks, i := uint64(0), 0
	for ; i+8 <= n; i += 8 {
		x := binary.LittleEndian.Uint64(v[i:])
		marks |= below(x, 0x20) | equal(x, 0x7f)
		binary.LittleEndian.PutUint64(d[i:], x)
	}
	if i < n {
		x := binary.LittleEndian.Uint64(v[n-8:])
		marks |= below(x, 0x20) | equal(x, 0x7f)
		binary.LittleEndian.PutUint64(d[n-8:], x)
	}
	// A tab is marked too, but allowed.
	return marks == 0 || validValue(v)
}
