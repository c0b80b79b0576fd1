// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"bytes"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// cookie joins the crumbs of Cookie (RFC 9113 §8.2.3): what is not HTTP/2 has one
// field.
func (b *builder) cookie() {
	if len(b.crumbs) == 0 {
		return
	}
	v := b.crumbs[0]
	if len(b.crumbs) > 1 {
		start := len(b.arena)
		for i, p := range b.crumbs {
			if i > 0 {
				b.arena = append(b.arena, "; "...)
			}
			b.arena = append(b.arena, p...)
		}
		v = b.arena[start:len(b.arena):len(b.arena)]
	}
	clear(b.crumbs)
	b.add(header.Cookie, v, b.secret)
}

// finishRequest decides on the whole of a request's head.
func (b *builder) finishRequest() {
	if b.err != nil {
		return
	}
	b.cookie()
	b.hd.Version, b.hd.KeepAlive = streaminfo.HTTP2, true
	if b.refused != nil {
		return
	}
	b.target()
	b.authorityField()
}

// target checks the pseudo-header fields of a request against each other.
func (b *builder) target() {
	if b.seen&seenMethod == 0 {
		b.fail(errPseudoNone)
		return
	}
	if !isToken(b.method) {
		b.fail(errMethod)
		return
	}
	if string(b.method) == "CONNECT" && b.seen&seenProtocol == 0 {
		// RFC 9113 §8.5.
		if b.seen&(seenScheme|seenPath) != 0 {
			b.fail(errPseudoExtra)
		} else if len(b.authority) == 0 || codec.Port(b.authority) <= 0 || !codec.ValidAuthority(b.authority) {
			b.fail(errAuthority)
		}
		b.length = -1
		b.m.Del(header.ContentLength)
		return
	}
	if b.seen&(seenScheme|seenPath) != seenScheme|seenPath {
		b.fail(errPseudoNone)
		return
	}
	if !validScheme(b.scheme) {
		b.fail(errScheme)
		return
	}
	options := string(b.method) == "OPTIONS" && string(b.path) == "*"
	if !options && (len(b.path) == 0 || b.path[0] != '/') {
		b.fail(errPath)
		return
	}
	if !codec.ValidTarget(b.path) {
		b.refuse(errTarget)
		return
	}
	if b.seen&seenProtocol != 0 {
		b.extended()
	}
}

// extended makes an extended CONNECT (RFC 8441 §4) what it is everywhere in Weir: a
// GET with an upgrade field.
func (b *builder) extended() {
	if string(b.method) != "CONNECT" {
		b.fail(errPseudoExtra)
		return
	}
	if b.seen&seenAuthority == 0 || !isToken(b.protocol) {
		b.fail(errPseudoNone)
		return
	}
	b.length = -1
	b.m.Del(header.ContentLength)
	b.m.Set(header.Method, "GET")
	b.m.AddView(header.Upgrade, b.protocol)
	b.hd.Upgrade, b.hd.Protocol = true, b.protocol
}

// authorityField settles :authority, which host may stand for or must agree with
// (RFC 9113 §8.3.1).
func (b *builder) authorityField() {
	switch {
	case b.err != nil || b.refused != nil:
	case b.hosts > 1, b.hosts == 1 && b.seen&seenAuthority != 0 && !bytes.EqualFold(b.host, b.authority):
		b.refuse(errHost)
	case b.seen&seenAuthority == 0 && b.hosts == 0:
		b.refuse(errNoHost)
	default:
		v := b.authority
		if b.seen&seenAuthority == 0 {
			v = b.host
			b.m.AddView(header.Authority, v)
		}
		if !codec.ValidAuthority(v) {
			b.refuse(errHost)
		}
	}
}

func validScheme(b []byte) bool {
	for i, c := range b {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return len(b) > 0
}

// isToken reports whether b is a token (RFC 9110 §5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if !tokenChar[c] {
			return false
		}
	}
	return len(b) > 0
}

var tokenChar = buildToken()

func buildToken() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") {
		t[c] = true
	}
	return t
}
