// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"bytes"
	"net/http"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// canonicalPath brings the path into the one form that routes, filters and the
// upstream all see. It replies and returns false if the path is refused or the
// client is sent to the canonical one.
func (a *active) canonicalPath(h *header.Map) bool {
	cfg := &a.conn.m.cfg
	full := h.Get(header.Path)
	b, changed, ok := a.canonical(full)
	if !ok {
		return a.badPath()
	}
	if changed && cfg.escapedSlashes == slashesRedirect {
		if len(b) > 1 && (b[1] == '/' || b[1] == '\\') {
			return a.badPath() // As a location it would be another host.
		}
		a.conn.stats.RqPathRedirect.Inc()
		a.Reply(stream.Reply{
			Status: http.StatusTemporaryRedirect, Details: "path_normalization_redirect",
			Header: func(r *header.Map) { r.SetBytes(header.Location, b) },
		})
		return false
	}
	if !bytes.Equal(b, full) {
		h.SetBytes(header.Path, b)
	}
	return true
}

// canonical returns the canonical form of a path with its query, valid until it is
// called again, and whether slashes were unescaped in it; ok is false if it is to be
// refused.
func (a *active) canonical(full []byte) (b []byte, unescaped, ok bool) {
	cfg := &a.conn.m.cfg
	if !cfg.normalizePath && !cfg.mergeSlashes && cfg.escapedSlashes == slashesKeep {
		return full, false, true
	}
	path, rest := full, []byte(nil)
	if i := bytes.IndexAny(full, "?#"); i >= 0 {
		path, rest = full[:i], full[i:]
	}
	if string(path) == "*" {
		return full, false, true
	}
	b, unescaped, ok = a.unescapeSlashes(path)
	if ok && cfg.normalizePath {
		b, ok = normalize(b)
	}
	if !ok {
		return nil, false, false
	}
	if cfg.mergeSlashes {
		b = mergeSlashes(b)
	}
	b = append(b, rest...)
	a.scratch = b
	return b, unescaped, true
}

// Canonical implements stream.Owner.
func (a *active) Canonical(path []byte) ([]byte, bool) {
	b, _, ok := a.canonical(path)
	return b, ok
}

// badPath refuses the request.
func (a *active) badPath() bool {
	a.conn.stats.RqPathFailed.Inc()
	a.Reply(stream.Reply{Status: http.StatusBadRequest, Details: "path_normalization_failed"})
	return false
}

// unescapeSlashes copies the path with %2F and %5C decoded, if that is asked
// for; ok is false if they are refused.
func (a *active) unescapeSlashes(path []byte) (b []byte, changed, ok bool) {
	b = a.scratch[:0]
	action := a.conn.m.cfg.escapedSlashes
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && action != slashesKeep && i+2 < len(path) {
			if d := unhex(path[i+1])<<4 | unhex(path[i+2]); d == '/' || d == '\\' {
				if action == slashesReject {
					return b, false, false
				}
				c, changed = byte(d), true
				i += 2
			}
		}
		b = append(b, c)
	}
	return b, changed, true
}

// normalize works as Envoy's canonicalizer does, in place: percent-encoded
// unreserved characters are decoded, backslashes become slashes, and dot
// segments are resolved (RFC 3986 §6.2.2). A NUL, encoded or not, is refused.
func normalize(b []byte) ([]byte, bool) {
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' && i+2 < len(b) {
			d := unhex(b[i+1])<<4 | unhex(b[i+2])
			if d == 0 {
				return nil, false
			}
			if d < 0x80 && unreserved(byte(d)) && !escapes(b[:n], byte(d)) {
				c = byte(d)
				i += 2
			}
		}
		if c == '\\' {
			c = '/'
		}
		if c == 0 {
			return nil, false
		}
		b[n] = c
		n++
	}
	b = b[:n]
	if n == 0 || b[0] != '/' {
		return nil, false
	}
	return removeDots(b), true
}

// escapes reports whether c behind b would be part of a percent-encoded byte that
// was none before: "%%32e" must not become "%2e".
func escapes(b []byte, c byte) bool {
	n := len(b)
	return unhex(c) < 16 && (n > 0 && b[n-1] == '%' || n > 1 && b[n-2] == '%' && unhex(b[n-1]) < 16)
}

// removeDots resolves "." and ".." segments in place; ".." above the root is
// the root.
func removeDots(b []byte) []byte {
	out := b[:0]
	for i := 0; i < len(b); {
		// b[i] is a slash; the segment runs to the next.
		j := i + 1
		for j < len(b) && b[j] != '/' {
			j++
		}
		seg := b[i+1 : j]
		last := j == len(b)
		switch string(seg) {
		case ".":
			if last {
				out = append(out, '/')
			}
		case "..":
			if k := bytes.LastIndexByte(out, '/'); k >= 0 {
				out = out[:k]
			}
			if last {
				out = append(out, '/')
			}
		default:
			out = append(out, b[i:j]...)
		}
		i = j
	}
	return out
}

func mergeSlashes(b []byte) []byte {
	out := b[:0]
	for i, c := range b {
		if c == '/' && i > 0 && len(out) > 0 && out[len(out)-1] == '/' {
			continue
		}
		out = append(out, c)
	}
	return out
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// unhex returns a hexadecimal digit's value; for another byte a number so large
// that what is made of it is no character.
func unhex(c byte) uint32 {
	switch {
	case c >= '0' && c <= '9':
		return uint32(c - '0')
	case c >= 'a' && c <= 'f':
		return uint32(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return uint32(c-'A') + 10
	}
	return 1 << 16
}
