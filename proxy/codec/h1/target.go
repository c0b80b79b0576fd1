// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"bytes"
	"net/netip"
	"unsafe"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
)

// target reads a request target in one of the four forms of RFC 9112 §3.2.
func (p *Parser) target(method, t []byte, m *header.Map) *codec.Error {
	switch {
	case len(t) == 0:
		return errRequestLine
	case p.isConnect:
		if !validAuthority(t) || port(t) <= 0 {
			return errTarget
		}
		p.authority = true
		m.AddView(header.Authority, t)
		return nil
	case t[0] == '/':
		if !validTarget(t) {
			return targetError(t)
		}
		m.AddView(header.Path, t)
		return nil
	case string(t) == "*" && string(method) == "OPTIONS":
		m.AddView(header.Path, t)
		return nil
	}
	return p.absolute(method, t, m)
}

func targetError(t []byte) *codec.Error {
	if bytes.IndexByte(t, '#') >= 0 {
		return errFragment
	}
	return errTarget
}

// absolute reads a target in absolute form: http or https, an authority, and a
// path with query, either of which may be missing.
func (p *Parser) absolute(method, t []byte, m *header.Map) *codec.Error {
	colon := bytes.Index(t, slashes)
	if colon <= 0 {
		return errTarget
	}
	if !p.opts.AllowAbsoluteURL {
		return errAbsolute
	}
	scheme := "http"
	if equalLower(t[:colon], "https") {
		scheme = "https"
	} else if !equalLower(t[:colon], scheme) {
		return errScheme
	}
	rest := t[colon+len(slashes):]
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, path := rest[:end], rest[end:]
	if !validAuthority(authority) || authority[0] == ':' {
		return errTarget
	}
	if !validTarget(path) {
		return targetError(path)
	}
	p.authority, p.head.Absolute = true, true
	m.Add(header.Scheme, scheme)
	switch {
	case len(path) == 0 && string(method) == "OPTIONS":
		// RFC 9112 §3.2.4: this is how a client asks a proxy for "*".
		m.Add(header.Path, "*")
	case len(path) == 0:
		m.Add(header.Path, "/")
	case path[0] == '?':
		// The path is an empty one, written "/". The authority moves one
		// byte to the left, over a slash of "://", to make room for it.
		at := colon + len(slashes)
		copy(t[at-1:], authority)
		authority = t[at-1 : at-1+end]
		t[at-1+end] = '/'
		m.AddView(header.Path, t[at-1+end:])
	default:
		m.AddView(header.Path, path)
	}
	m.AddView(header.Authority, authority)
	return nil
}

// slashes ends the scheme of an absolute URI.
var slashes = []byte("://")

// hostChar has the bytes of a registered name (RFC 3986 §3.2.2) without the
// comma, which in a Host is the mark of two fields joined to one.
var hostChar = buildHostChar()

func buildHostChar() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+;=%") {
		t[c] = true
	}
	return t
}

// validAuthority reports whether b is uri-host [ ":" port ] with a host that is
// not empty and a port that is empty or up to 65535.
func validAuthority(b []byte) bool {
	i := 0
	if len(b) > 0 && b[0] == '[' {
		if i = bytes.IndexByte(b, ']'); i < 0 || !validIPv6(b[1:i]) {
			return false
		}
		i++
	} else {
		for i < len(b) && hostChar[b[i]] {
			if b[i] == '%' && (i+2 >= len(b) || hexDigit[b[i+1]] > 15 || hexDigit[b[i+2]] > 15) {
				return false
			}
			i++
		}
	}
	return i > 0 && (i == len(b) || b[i] == ':' && parsePort(b[i+1:]) >= 0)
}

func validIPv6(b []byte) bool {
	if len(b) < 2 || len(b) > 45 {
		return false
	}
	for _, c := range b {
		if hexDigit[c] > 15 && c != ':' && c != '.' {
			return false
		}
	}
	a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(b), len(b)))
	return err == nil && a.Is6()
}

// port returns the port of a valid authority, 0 if there is none.
func port(b []byte) int {
	i := bytes.LastIndexByte(b, ':')
	if i < 0 || b[len(b)-1] == ']' {
		return 0
	}
	return parsePort(b[i+1:])
}

// parsePort returns the number of a port, 0 for an empty one and -1 for what is
// no port.
func parsePort(digits []byte) int {
	if len(digits) > 5 {
		return -1
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	if n > 65535 {
		return -1
	}
	return n
}
