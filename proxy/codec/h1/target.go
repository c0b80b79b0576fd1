// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"bytes"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
)

// target reads a request target in one of the four forms of RFC 9112 §3.2.
func (p *Parser) target(method, t []byte, m *header.Map) *codec.Error {
	switch {
	case len(t) == 0:
		return errRequestLine
	case p.isConnect:
		if !codec.ValidAuthority(t) || codec.Port(t) <= 0 {
			return errTarget
		}
		p.authority = true
		m.AddView(header.Authority, t)
		return nil
	case t[0] == '/':
		if !codec.ValidTarget(t) {
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
	if header.EqualLower(t[:colon], "https") {
		scheme = "https"
	} else if !header.EqualLower(t[:colon], scheme) {
		return errScheme
	}
	rest := t[colon+len(slashes):]
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, path := rest[:end], rest[end:]
	if !codec.ValidAuthority(authority) || authority[0] == ':' {
		return errTarget
	}
	if !codec.ValidTarget(path) {
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
