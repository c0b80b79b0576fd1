// SPDX-License-Identifier: Apache-2.0

package headermutation

import (
	"bytes"

	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// action is KeyValueAppendAction, and removal.
type action uint8

const (
	add action = iota
	addIfAbsent
	overwriteOrAdd
	overwriteIfExists
	remove
)

// queryOp is one KeyValueMutation of a query parameter.
type queryOp struct {
	key    string // decoded
	format *format.Format
	value  string
	action action
}

// mutateQuery changes the parameters in :path. Those that are not touched keep
// their place and their bytes.
func (f *Filter) mutateQuery(ops []queryOp, s *stream.Stream) {
	if len(ops) == 0 {
		return
	}
	path := s.Request.Header.Get(header.Path)
	if path == nil {
		return
	}
	buf, val := f.scratch.Get().(*[]byte), f.scratch.Get().(*[]byte)
	*buf = append((*buf)[:0], path...)
	for i := range ops {
		op := &ops[i]
		*val = (*val)[:0]
		switch {
		case op.action == remove:
		case op.format != nil:
			*val = op.format.AppendTo(*val, &s.Info)
		default:
			*val = append(*val, op.value...)
		}
		*buf = op.apply(*buf, *val)
	}
	if !bytes.Equal(*buf, path) {
		s.Request.Header.SetBytes(header.Path, *buf)
	}
	f.scratch.Put(buf)
	f.scratch.Put(val)
}

// apply changes the parameters of path in place, which may grow.
func (op *queryOp) apply(path, value []byte) []byte {
	q := bytes.IndexByte(path, '?')
	exists := q >= 0 && op.find(path, q+1) >= 0
	switch op.action {
	case addIfAbsent:
		if exists {
			return path
		}
	case overwriteIfExists:
		if !exists {
			return path
		}
		path = op.drop(path, q)
	case overwriteOrAdd, remove:
		if exists {
			path = op.drop(path, q)
		}
	}
	if op.action == remove {
		return path
	}
	switch q = bytes.IndexByte(path, '?'); {
	case q < 0:
		path = append(path, '?')
	case q < len(path)-1:
		path = append(path, '&')
	}
	path = escape(path, []byte(op.key))
	path = append(path, '=')
	return escape(path, value)
}

// find returns where the first parameter of the key begins at or after i, or
// -1.
func (op *queryOp) find(path []byte, i int) int {
	for i < len(path) {
		end := next(path, i)
		name, _, _ := bytes.Cut(path[i:end], []byte("="))
		if end > i && equalDecoded(name, op.key) {
			return i
		}
		i = end + 1
	}
	return -1
}

// drop removes all parameters of the key, and the '?' at q if none is left.
func (op *queryOp) drop(path []byte, q int) []byte {
	for i := op.find(path, q+1); i >= 0; i = op.find(path, i) {
		end := next(path, i)
		if end < len(path) {
			end++ // The '&' behind it goes too,
		} else {
			i-- // or the one before it, or the '?'.
		}
		path = append(path[:i], path[end:]...)
	}
	if q == len(path)-1 {
		path = path[:q]
	}
	return path
}

// next returns where the parameter that begins at i ends.
func next(path []byte, i int) int {
	if n := bytes.IndexByte(path[i:], '&'); n >= 0 {
		return i + n
	}
	return len(path)
}

// equalDecoded reports whether name is key once its percent escapes are
// decoded; a malformed escape stands for itself.
func equalDecoded(name []byte, key string) bool {
	n := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '%' && i+2 < len(name) {
			if hi, lo := unhex(name[i+1]), unhex(name[i+2]); hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		if n >= len(key) || key[n] != c {
			return false
		}
		n++
	}
	return n == len(key)
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
	return 0xff
}

// escape appends b with all but RFC 3986's unreserved characters escaped.
func escape(dst, b []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
