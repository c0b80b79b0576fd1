// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"time"

	"weir.dev/weir/proxy/header"
)

const upperHex = "0123456789ABCDEF"

// appendEncoded appends c, percent-encoded unless it is unreserved (RFC 3986 §2.3).
func appendEncoded(dst []byte, c byte) []byte {
	if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
		return append(dst, c)
	}
	return append(dst, '%', upperHex[c>>4], upperHex[c&15])
}

// appendPath appends the path as it is signed.
func (s *Signer) appendPath(dst, path []byte) []byte {
	if s.verbatim {
		if len(path) == 0 {
			return append(dst, '/')
		}
		return append(dst, path...)
	}
	start := len(dst)
	for rest := path; len(rest) > 0; {
		var part []byte
		part, rest, _ = bytes.Cut(rest, []byte("/"))
		switch {
		case len(part) == 0 || string(part) == ".":
		case string(part) == "..":
			if i := bytes.LastIndexByte(dst[start:], '/'); i >= 0 {
				dst = dst[:start+i]
			}
		default:
			dst = append(dst, '/')
			for _, c := range part {
				dst = appendEncoded(dst, c)
			}
		}
	}
	if len(dst) == start || len(path) > 0 && path[len(path)-1] == '/' {
		dst = append(dst, '/')
	}
	return dst
}

// pair is a parameter of the query: where in scratch.query it lies, encoded.
type pair struct{ name, equals, end int }

// appendQuery appends the query as it is signed: its parameters decoded, encoded anew
// and sorted.
func (w *scratch) appendQuery(dst, query []byte) []byte {
	w.query, w.pairs = w.query[:0], w.pairs[:0]
	for rest := query; len(rest) > 0; {
		var one []byte
		if one, rest, _ = bytes.Cut(rest, []byte("&")); len(one) == 0 {
			continue
		}
		name, value, _ := bytes.Cut(one, []byte("="))
		p := pair{name: len(w.query)}
		w.query = appendRecoded(w.query, name)
		p.equals = len(w.query)
		w.query = appendRecoded(append(w.query, '='), value)
		p.end = len(w.query)
		w.pairs = append(w.pairs, p)
	}
	text := w.query
	slices.SortFunc(w.pairs, func(a, b pair) int {
		return cmp.Or(bytes.Compare(text[a.name:a.equals], text[b.name:b.equals]), bytes.Compare(text[a.equals:a.end], text[b.equals:b.end]))
	})
	for i, p := range w.pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(dst, w.query[p.name:p.end]...)
	}
	return dst
}

// appendRecoded appends text of a query, decoded and then encoded as signatures are. A
// percent sign that encodes nothing is one; a plus is a space.
func appendRecoded(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(text):
			if hi, lo := unhex(text[i+1]), unhex(text[i+2]); hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		dst = appendEncoded(dst, c)
	}
	return dst
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

// signQuery signs by parameters of the query.
func (s *Signer) signQuery(h *header.Map, payload *Payload, c *Credentials, k *key, date []byte, w *scratch) error {
	s.collect(h, w)
	path, query, _ := bytes.Cut(h.Get(header.Path), []byte("?"))
	out := append(w.out[:0], path...)
	next := byte('?')
	for rest := query; len(rest) > 0; {
		var one []byte
		if one, rest, _ = bytes.Cut(rest, []byte("&")); !signs(one) {
			out = append(append(out, next), one...)
			next = '&'
		}
	}
	add := func(name string) {
		out = append(append(append(out, next), name...), '=')
		next = '&'
	}
	encode := func(text string) {
		for i := range len(text) {
			out = appendEncoded(out, text[i])
		}
	}
	add("X-Amz-Algorithm")
	out = append(out, s.opt.Algorithm.String()...)
	add("X-Amz-Credential")
	encode(c.AccessKeyID)
	w.text = s.appendScope(append(w.text[:0], '/'), date[:8])
	for _, b := range w.text {
		out = appendEncoded(out, b)
	}
	add("X-Amz-Date")
	out = append(out, date...)
	add("X-Amz-Expires")
	out = strconv.AppendInt(out, int64(s.opt.Expires/time.Second), 10)
	if s.opt.Algorithm == V4A {
		add("X-Amz-Region-Set")
		encode(s.opt.Region)
	}
	if c.SessionToken != "" {
		add("X-Amz-Security-Token")
		encode(c.SessionToken)
	}
	add("X-Amz-SignedHeaders")
	w.text = w.appendNames(w.text[:0])
	for _, b := range w.text {
		out = appendEncoded(out, b)
	}
	s.canonical(h, out, payload, w)
	add("X-Amz-Signature")
	out, err := s.appendSignature(out, k, date, w)
	w.out = out
	if err != nil {
		return err
	}
	h.SetBytes(header.Path, out)
	return nil
}

// signs tells whether a parameter is one that a signature sets.
func signs(one []byte) bool {
	name, _, _ := bytes.Cut(one, []byte("="))
	switch string(name) {
	case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Region-Set",
		"X-Amz-Security-Token", "X-Amz-SignedHeaders", "X-Amz-Signature":
		return true
	}
	return false
}
