// SPDX-License-Identifier: Apache-2.0

package awslambda

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"
	"unsafe"

	"weir.dev/weir/proxy/header"
)

// fewParameters is how many names of parameters are compared with one another; of more
// a set is kept.
const fewParameters = 16

// appendEvent appends the event that a function is invoked with: the request as JSON,
// in the names, the order and the completeness of Envoy's.
func appendEvent(dst []byte, h *header.Map, body []byte, hasBody, asText bool) []byte {
	path := h.Get(header.Path)
	dst = append(dst, `{"raw_path":`...)
	dst = appendString(dst, path)
	dst = append(dst, `,"method":`...)
	dst = appendString(dst, h.Get(header.Method))
	dst = append(dst, `,"headers":{`...)
	dst = appendFields(dst, h)
	dst = append(dst, `},"query_string_parameters":{`...)
	dst = appendParameters(dst, path)
	dst = append(dst, `},"body":`...)
	switch {
	case !hasBody:
		return append(dst, `"","is_base64_encoded":false}`...)
	case asText && utf8.Valid(body):
		dst = appendString(dst, body)
		return append(dst, `,"is_base64_encoded":false}`...)
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, body)
	return append(dst, `","is_base64_encoded":true}`...)
}

// appendFields appends the fields of a head but its pseudo-header fields, those of one
// name joined by commas.
func appendFields(dst []byte, h *header.Map) []byte {
	all := h.Fields()
	start := len(dst)
	for i := range all {
		f := &all[i]
		if !f.Live() || f.IsPseudo() || before(all[:i], f) {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = appendString(dst, bytesOf(f.Name().String()))
		dst = append(dst, ':', '"')
		dst = appendEscaped(dst, f.Value())
		for j := i + 1; j < len(all); j++ {
			if g := &all[j]; g.Live() && g.Name() == f.Name() {
				dst = append(dst, ',')
				dst = appendEscaped(dst, g.Value())
			}
		}
		dst = append(dst, '"')
	}
	return dst
}

// before reports whether a field of the same name comes before f.
func before(all []header.Field, f *header.Field) bool {
	for i := range all {
		if g := &all[i]; g.Live() && g.Name() == f.Name() {
			return true
		}
	}
	return false
}

// appendParameters appends the parameters of the query as they are written, not
// decoded; the first of one name is taken.
func appendParameters(dst, path []byte) []byte {
	_, query, _ := bytes.Cut(path, []byte("?"))
	first := len(dst)
	var many map[string]bool // of those before, once they are many
	for start, n := 0, 0; start < len(query); n++ {
		one, _, _ := bytes.Cut(query[start:], []byte("&"))
		name, value, _ := bytes.Cut(one, []byte("="))
		seen := len(one) == 0
		switch {
		case seen:
		case n < fewParameters:
			seen = named(query[:start], name)
		default:
			if many == nil {
				many = names(query[:start])
			}
			seen = many[string(name)]
			many[string(name)] = true
		}
		start += len(one) + 1
		if seen {
			continue
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = appendString(dst, value)
	}
	return dst
}

// named reports whether a query has a parameter of a name.
func named(query, name []byte) bool {
	for len(query) > 0 {
		var one []byte
		one, query, _ = bytes.Cut(query, []byte("&"))
		if n, _, _ := bytes.Cut(one, []byte("=")); len(one) > 0 && bytes.Equal(n, name) {
			return true
		}
	}
	return false
}

// names are the names of a query's parameters.
func names(query []byte) map[string]bool {
	m := map[string]bool{}
	for len(query) > 0 {
		var one []byte
		one, query, _ = bytes.Cut(query, []byte("&"))
		n, _, _ := bytes.Cut(one, []byte("="))
		m[string(n)] = true
	}
	return m
}

func appendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	dst = appendEscaped(dst, s)
	return append(dst, '"')
}

const lowerHex = "0123456789abcdef"

// appendEscaped appends s as the inside of a string of JSON (RFC 8259 §7). What is not
// UTF-8 becomes U+FFFD.
func appendEscaped(dst, s []byte) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, s[start:i]...)
				dst = append(dst, "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
		}
		i++
		start = i
	}
	return append(dst, s[start:]...)
}

// isText reports whether a body of a content type is told as it is, and not in base64:
// Envoy's rule, to which parameters such as a charset make another type.
func isText(ctype []byte) bool {
	switch s := stringOf(ctype); {
	case header.EqualLower(s, "application/json"), header.EqualLower(s, "application/javascript"), header.EqualLower(s, "application/xml"):
		return true
	default:
		return len(s) >= 5 && header.EqualLower(s[:5], "text/")
	}
}

func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
