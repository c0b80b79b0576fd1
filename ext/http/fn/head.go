// SPDX-License-Identifier: Apache-2.0

package fn

import (
	"bytes"
	"fmt"
	"strings"
	"unsafe"

	"weir.dev/weir/proxy/header"
)

// own is what the names of Fn's fields begin with, wrapped those of the HTTP request
// and response within a call.
const (
	own     = "fn-"
	wrapped = "fn-http-h-"
)

// field is a field of the request that the function is told of.
type field struct {
	name  string
	value []byte
}

// drop removes Fn's own fields from a request: a client does not say how a function is
// called, nor what another client asked.
func drop(h *header.Map) {
	all := h.Fields()
	for i := range all {
		if f := &all[i]; f.Live() && strings.HasPrefix(f.Name().String(), own) {
			h.DelAt(i)
		}
	}
}

// wrap puts the HTTP request into fields of Fn's: its method, its URL, and its own fields
// but for those that are of the call as well.
func (c *call) wrap(h *header.Map) {
	c.fields = c.fields[:0]
	all := h.Fields()
	room := 0
	for i := range all {
		f := &all[i]
		if !f.Live() || f.IsPseudo() || ofCall(f.Name()) {
			continue
		}
		c.fields = append(c.fields, field{f.Name().String(), f.Value()})
		room += len(wrapped) + len(f.Name().String())
		if !stays(f.Name()) {
			h.DelAt(i)
		}
	}
	// Names are views of c.text, which must not move any more.
	if cap(c.text) < room {
		c.text = make([]byte, 0, room)
	}
	for _, f := range c.fields {
		start := len(c.text)
		c.text = append(c.text, wrapped...)
		c.text = append(c.text, f.name...)
		h.AddView(header.Resolve(c.text[start:len(c.text):len(c.text)]), f.value)
	}
	clear(c.fields)
	h.AddBytes(method, h.Get(header.Method))
	h.Add(intent, "httprequest")
	start := len(c.text)
	c.text = append(c.text, h.Get(header.Scheme)...)
	c.text = append(c.text, "://"...)
	c.text = append(c.text, h.Get(header.Authority)...)
	c.text = append(c.text, h.Get(header.Path)...)
	h.AddBytes(requestURL, c.text[start:])
}

// ofCall tells the fields that the call has as the request does, and the function is not
// told of a second time.
func ofCall(n header.Name) bool {
	switch n.ID() {
	case header.ContentType.ID(), header.TransferEncoding.ID(), header.TE.ID(), header.Trailer.ID():
		return true
	}
	return false
}

// stays tells the fields that the call has as well as the function is told of them: the
// length, and those by which the server's traces go on.
func stays(n header.Name) bool {
	switch n.ID() {
	case header.ContentLength.ID(), header.XRequestID.ID(), header.Traceparent.ID(), header.Tracestate.ID(), header.B3.ID(),
		header.XB3TraceID.ID(), header.XB3SpanID.ID(), header.XB3Sampled.ID():
		return true
	}
	return false
}

// unwrap makes the head of a call's answer that of the response which the function
// wants, and returns its status, 0 if the function does not say. Where the server itself
// refused the call its status stays. Fields that say how bodies are carried are not the
// function's to set.
func unwrap(h *header.Map) (int, error) {
	failed := len(h.Get(header.Status)) == 3 && h.Get(header.Status)[0] >= '4'
	code := 0
	if v := h.Get(status); v != nil && !failed {
		var err error
		if code, err = parseStatus(v); err != nil {
			return 0, err
		}
		h.SetInt(header.Status, int64(code))
	}
	n := len(h.Fields())
	for i := range n {
		f := &h.Fields()[i]
		if !f.Live() || f.IsPseudo() {
			continue
		}
		name, value := f.Name().String(), f.Value()
		inner, is := strings.CutPrefix(name, wrapped)
		switch {
		case !is && keeps(f.Name(), failed):
			continue
		case !is || inner == "":
			h.DelAt(i)
			continue
		}
		h.DelAt(i)
		switch to := header.Resolve(unsafe.Slice(unsafe.StringData(inner), len(inner))); {
		case carries(to):
		case to == header.ContentType:
			h.SetBytes(to, value)
		default:
			h.AddView(to, value)
		}
	}
	return code, nil
}

// keeps tells the fields of the server's own answer that are the response's, too.
func keeps(n header.Name, failed bool) bool {
	switch n.ID() {
	case header.ContentType.ID(), header.ContentLength.ID(), header.Date.ID(), header.TransferEncoding.ID(), header.Trailer.ID(), header.XEnvoyRatelimited.ID():
		return true
	case header.RetryAfter.ID():
		return failed
	}
	return n == callID
}

// carries tells the fields that say how a message is carried, on this connection or at
// all (RFC 9110 §7.6.1), and Fn's call ID.
func carries(n header.Name) bool {
	switch n.ID() {
	case header.ContentLength.ID(), header.TransferEncoding.ID(), header.Connection.ID(), header.KeepAlive.ID(), header.ProxyConnection.ID(),
		header.TE.ID(), header.Trailer.ID(), header.Upgrade.ID(), header.HTTP2Settings.ID(), header.XEnvoyRatelimited.ID():
		return true
	}
	return n == callID || n.IsPseudo()
}

// parseStatus reads the status that a function asks for.
func parseStatus(v []byte) (int, error) {
	if len(v) != 3 {
		return 0, fmt.Errorf("Fn-Http-Status: %.20q is not a status of three digits", v)
	}
	code := 0
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("Fn-Http-Status: %q is not a status of three digits", v)
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, fmt.Errorf("Fn-Http-Status: %d is not from 200 to 599", code)
	}
	return code, nil
}

// cutQuery splits a target into path and query, which has its question mark.
func cutQuery(target []byte) (path, query []byte) {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i], target[i:]
	}
	return target, nil
}

// strays reports whether a path has a segment that is . or .., written plainly or with
// %2e, by which it would lead to another function.
func strays(path []byte) bool {
	for len(path) > 0 {
		var segment []byte
		segment, path, _ = bytes.Cut(path, []byte("/"))
		dots, rest := 0, segment
		for len(rest) > 0 && dots < 3 {
			switch {
			case rest[0] == '.':
				rest = rest[1:]
			case len(rest) > 2 && rest[0] == '%' && rest[1] == '2' && rest[2]|0x20 == 'e':
				rest = rest[3:]
			default:
				dots = 3
				continue
			}
			dots++
		}
		if dots == 1 || dots == 2 {
			return true
		}
	}
	return false
}
