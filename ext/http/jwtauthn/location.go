// SPDX-License-Identifier: Apache-2.0

package jwtauthn

import (
	"net/url"
	"slices"
	"strings"
	"unsafe"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// place is a kind of location.
type place uint8

const (
	inHeader place = iota
	inQuery
	inCookie
)

// location is where a token may be.
type location struct {
	kind   place
	header header.Name
	prefix string
	name   string // of a parameter or a cookie
	// issuers are those whose tokens may be there; any tells that all may.
	issuers []string
	any     bool
}

// allow adds an issuer; "" is any.
func (l *location) allow(issuer string) {
	if issuer == "" {
		l.any = true
	} else if !slices.Contains(l.issuers, issuer) {
		l.issuers = append(l.issuers, issuer)
	}
}

func (l *location) allows(issuer string) bool { return l.any || slices.Contains(l.issuers, issuer) }

// addLocation adds a location, or an issuer to the same one.
func addLocation(list []location, l location, issuer string) []location {
	for i := range list {
		if o := &list[i]; o.kind == l.kind && o.header == l.header && o.prefix == l.prefix && o.name == l.name {
			o.allow(issuer)
			return list
		}
	}
	l.issuers, l.any = nil, false
	l.allow(issuer)
	return append(list, l)
}

// found is a token, a view of the request's head.
type found struct {
	at   *location
	text string
}

// extract appends the tokens of a request.
func extract(dst []found, list []location, h *header.Map) []found {
	for i := range list {
		l := &list[i]
		switch l.kind {
		case inHeader:
			for v := range h.Values(l.header) {
				if text, ok := l.cut(viewOf(v)); ok {
					dst = append(dst, found{l, text})
				}
			}
		case inQuery:
			if v, ok := match.QueryValue(viewOf(h.Get(header.Path)), l.name); ok {
				if strings.ContainsAny(v, "%+") {
					if d, err := url.QueryUnescape(v); err == nil {
						v = d
					}
				}
				dst = append(dst, found{l, v})
			}
		case inCookie:
			if v, ok := match.CookieValue(h, l.name); ok {
				dst = append(dst, found{l, v})
			}
		}
	}
	return dst
}

// cut returns the token in a header's value: what follows the prefix, wherever that is,
// from the first character on that a token may have.
func (l *location) cut(value string) (string, bool) {
	if l.prefix == "" {
		return value, true
	}
	i := strings.Index(value, l.prefix)
	if i < 0 {
		return "", false
	}
	rest := value[i+len(l.prefix):]
	start := strings.IndexFunc(rest, func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
	})
	if start < 0 {
		return value, true
	}
	return rest[start:], true
}

// remove takes the token out of the request; cookies stay, as in Envoy.
func (l *location) remove(h *header.Map) {
	switch l.kind {
	case inHeader:
		h.Del(l.header)
	case inQuery:
		h.SetBytes(header.Path, match.QueryWithout(h.Get(header.Path), l.name))
	}
}

func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func viewOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
