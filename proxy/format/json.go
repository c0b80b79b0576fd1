// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// node is one value of a json_format. Exactly one of the fields is used; a
// node without any is an empty string.
type node struct {
	keys   []string // the members' names, each as `"name":`, sorted
	nodes  []*node  // members or elements
	object bool
	list   bool
	lit    string // JSON text of a constant
	ops    []op
	quote  bool // a string even if it is one operator alone
}

// maxDepth bounds the nesting of a json_format and of the values printed.
const maxDepth = 64

func compileNode(v any, o *Options, path string, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: nested deeper than %d", path, maxDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		n := &node{object: true}
		names := make([]string, 0, len(v))
		for k := range v {
			names = append(names, k)
		}
		slices.Sort(names)
		for _, k := range names {
			child, err := compileNode(v[k], o, path+"."+k, depth+1)
			if err != nil {
				return nil, err
			}
			n.keys = append(n.keys, string(append(AppendQuoted(nil, k), ':')))
			n.nodes = append(n.nodes, child)
		}
		return n, nil
	case []any:
		n := &node{list: true}
		for i, e := range v {
			child, err := compileNode(e, o, fmt.Sprintf("%s[%d]", path, i), depth+1)
			if err != nil {
				return nil, err
			}
			n.nodes = append(n.nodes, child)
		}
		return n, nil
	case string:
		ops, err := compileOps(v, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(ops) == 1 && ops[0].run.Text == nil {
			return &node{lit: string(AppendQuoted(nil, ops[0].lit))}, nil
		}
		return &node{ops: ops, quote: o.Strings}, nil
	case float64:
		return constantNode(string(appendNumber(nil, v)), o), nil
	case bool:
		return constantNode(strconv.FormatBool(v), o), nil
	}
	return nil, fmt.Errorf("%s: a value must be a string, number, boolean, object or list", path)
}

func constantNode(json string, o *Options) *node {
	if o.Strings && json[0] != '"' {
		json = `"` + json + `"`
	}
	return &node{lit: json}
}

// append appends the node's JSON and reports whether it has a value; without
// one, and if omit is set, nothing is appended.
func (n *node) append(dst []byte, c Context, omit bool) ([]byte, bool) {
	switch {
	case n.object:
		return n.appendObject(dst, c, omit)
	case n.list:
		dst = append(dst, '[')
		first := true
		for _, e := range n.nodes {
			mark := len(dst)
			if !first {
				dst = append(dst, ',')
			}
			var ok bool
			if dst, ok = e.append(dst, c, omit); !ok && omit {
				dst = dst[:mark]
				continue
			}
			first = false
		}
		return append(dst, ']'), true
	case n.lit != "":
		return append(dst, n.lit...), true
	case len(n.ops) == 1 && !n.quote:
		dst, ok := n.ops[0].appendJSON(dst, c)
		if !ok && !omit {
			dst = append(dst, "null"...)
		}
		return dst, ok
	}
	if n.quote && omit && len(n.ops) == 1 {
		text, ok := n.ops[0].run.Text(dst, c)
		if dst = text[:len(dst)]; !ok {
			return dst, false
		}
	}
	dst = append(dst, '"')
	start := len(dst)
	for i := range n.ops {
		dst = n.ops[i].rawText(dst, c, omit)
	}
	return append(escapeTail(dst, start), '"'), true
}

func (n *node) appendObject(dst []byte, c Context, omit bool) ([]byte, bool) {
	start := len(dst)
	dst = append(dst, '{')
	first := true
	for i, e := range n.nodes {
		mark := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, n.keys[i]...)
		var ok bool
		if dst, ok = e.append(dst, c, omit); !ok && omit {
			dst = dst[:mark]
			continue
		}
		first = false
	}
	if first && omit && len(n.nodes) > 0 {
		// A nested object without a value goes with its key; the root stays.
		return append(dst[:start], '{', '}'), false
	}
	return append(dst, '}'), true
}

// rawText is appendText without clean: what is escaped need not be changed.
func (p *op) rawText(dst []byte, c Context, omit bool) []byte {
	if p.run.Text == nil {
		return append(dst, p.lit...)
	}
	start := len(dst)
	out, ok := p.run.Text(dst, c)
	if !ok {
		if out = out[:start]; !omit {
			out = append(out, '-')
		}
		return out
	}
	if p.max >= 0 && len(out)-start > p.max {
		out = out[:start+p.max]
	}
	return out
}

func (p *op) appendJSON(dst []byte, c Context) ([]byte, bool) {
	start := len(dst)
	if p.run.JSON != nil {
		out, ok := p.run.JSON(dst, c)
		if !ok {
			out = out[:start]
		}
		return out, ok
	}
	if p.run.Number {
		out, ok := p.run.Text(dst, c)
		if !ok {
			out = out[:start]
		}
		return out, ok
	}
	dst = append(dst, '"')
	out, ok := p.run.Text(dst, c)
	if !ok {
		return out[:start], false
	}
	if p.max >= 0 && len(out)-start-1 > p.max {
		out = out[:start+1+p.max]
	}
	return append(escapeTail(out, start+1), '"'), true
}

// AppendQuoted appends s as a JSON string. Bytes that are no UTF-8 become
// U+FFFD.
func AppendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := len(dst)
	dst = append(dst, s...)
	return append(escapeTail(dst, start), '"')
}

// escapeTail escapes dst[start:] as the inside of a JSON string. Most values
// need nothing; the others are escaped behind themselves and moved down.
func escapeTail(dst []byte, start int) []byte {
	i := start
	for i < len(dst) && plain(dst[i]) {
		i++
	}
	if i == len(dst) {
		return dst
	}
	end := len(dst)
	for j := i; j < end; {
		b := dst[j]
		if b < utf8.RuneSelf {
			dst = appendEscaped(dst, b)
			j++
			continue
		}
		r, size := utf8.DecodeRune(dst[j:end])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, "\ufffd"...)
		case r == '\u2028':
			// Both are line breaks to what reads JSON as JavaScript.
			dst = append(dst, `\u2028`...)
		case r == '\u2029':
			dst = append(dst, `\u2029`...)
		default:
			dst = append(dst, dst[j:j+size]...)
		}
		j += size
	}
	n := copy(dst[i:], dst[end:])
	return dst[:i+n]
}

func plain(b byte) bool { return b >= 0x20 && b < 0x7f && b != '"' && b != '\\' }

const hexDigits = "0123456789abcdef"

func appendEscaped(dst []byte, b byte) []byte {
	switch {
	case plain(b):
		return append(dst, b)
	case b == '"' || b == '\\':
		return append(dst, '\\', b)
	case b == '\n':
		return append(dst, '\\', 'n')
	case b == '\r':
		return append(dst, '\\', 'r')
	case b == '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
}

// appendNumber appends a number as Envoy does: whole numbers without exponent.
// What JSON has no number for becomes a string, as in protobuf's JSON.
func appendNumber(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return strconv.AppendInt(dst, int64(f), 10)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// AppendJSONValue appends a tree of nil, bool, numbers, string, []any and
// map[string]any as JSON with sorted keys. Anything else, and what is nested
// deeper than 64, prints as null.
func AppendJSONValue(dst []byte, v any) []byte { return appendTree(dst, v, 0) }

func appendTree(dst []byte, v any, depth int) []byte {
	if depth > maxDepth {
		return append(dst, "null"...)
	}
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(dst, v)
	case float64:
		return appendNumber(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case uint64:
		return strconv.AppendUint(dst, v, 10)
	case string:
		return AppendQuoted(dst, v)
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendTree(dst, e, depth+1)
		}
		return append(dst, ']')
	case map[string]any:
		return appendMap(dst, v, depth)
	}
	return append(dst, "null"...)
}

func appendMap(dst []byte, m map[string]any, depth int) []byte {
	// Up to this many keys fit the stack.
	var few [32]string
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendQuoted(dst, k), ':')
		dst = appendTree(dst, m[k], depth+1)
	}
	return append(dst, '}')
}
