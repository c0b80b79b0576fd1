// SPDX-License-Identifier: Apache-2.0

package awslambda

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"weir.dev/weir/proxy/header"
)

// maxDepth is how deeply values may be nested that are passed over.
const maxDepth = 100

// answer is what a function returned. All of it are views of what was parsed.
type answer struct {
	status  int // 0: none was told
	headers []pair
	cookies [][]byte
	body    []byte
	encoded bool // body is base64
}

type pair struct{ name, value []byte }

// parse reads an answer as Envoy does, by the rules of proto3's JSON: a field goes by
// its name in the style of either, null is its default, and unknown fields are passed
// over; one of another type is an error, and so is anything that is not JSON. Strings
// are unescaped in place: b is changed.
func (a *answer) parse(b []byte) error {
	*a = answer{headers: a.headers[:0], cookies: a.cookies[:0]}
	p := parser{b: b}
	err := p.object(func(key []byte) error {
		switch string(key) {
		case "statusCode", "status_code":
			return p.status(&a.status)
		case "headers":
			a.headers = a.headers[:0]
			if p.null() {
				return nil
			}
			return p.object(func(name []byte) error {
				v, err := p.text()
				a.headers = append(a.headers, pair{name, v})
				return err
			})
		case "cookies":
			a.cookies = a.cookies[:0]
			if p.null() {
				return nil
			}
			return p.array(func() error {
				v, err := p.text()
				a.cookies = append(a.cookies, v)
				return err
			})
		case "body":
			a.body = nil
			if p.null() {
				return nil
			}
			var err error
			a.body, err = p.text()
			return err
		case "isBase64Encoded", "is_base64_encoded":
			return p.boolean(&a.encoded)
		}
		return p.skip(1)
	})
	if err != nil {
		return err
	}
	if p.space(); p.i < len(p.b) {
		return p.fault("something follows the object")
	}
	return nil
}

// apply makes the head of the response, and returns its body.
func (a *answer) apply(h *header.Map) ([]byte, error) {
	if a.status != 0 && (a.status < 200 || a.status > 599) {
		return nil, fmt.Errorf("the status %d is none of a response", a.status)
	}
	for i := range a.headers {
		if err := a.headers[i].check(); err != nil {
			return nil, err
		}
	}
	for _, c := range a.cookies {
		if !printable(c) {
			return nil, errors.New("a cookie has a control character")
		}
	}
	body := a.body
	if a.encoded {
		n, err := base64.StdEncoding.Decode(body, body)
		if err != nil {
			return nil, errors.New("the body is not base64, as is_base64_encoded says")
		}
		body = body[:n]
	}
	h.Set(header.ContentType, "application/json")
	for _, f := range a.headers {
		if n := header.Resolve(f.name); own(n) {
			continue
		} else if n.ID() != 0 {
			h.SetBytes(n, f.value)
		} else {
			h.SetBytes(header.NewName(string(f.name)), f.value)
		}
	}
	for _, c := range a.cookies {
		h.AddBytes(header.SetCookie, c)
	}
	if a.status != 0 {
		h.SetInt(header.Status, int64(a.status))
	}
	return body, nil
}

// check lowers the name and refuses what would not be a field.
func (f *pair) check() error {
	for i, c := range f.name {
		if 'A' <= c && c <= 'Z' {
			f.name[i] = c + 'a' - 'A'
			continue
		}
		if i == 0 && c == ':' {
			continue
		}
		if !token(c) {
			return fmt.Errorf("%q cannot be the name of a header", f.name)
		}
	}
	if len(f.name) == 0 {
		return errors.New("a header has no name")
	}
	if !printable(f.value) {
		return fmt.Errorf("the value of the header %q has a control character", f.name)
	}
	return nil
}

// own tells whether a field is not the function's to set: pseudo-header fields, and
// those by which messages are framed.
func own(n header.Name) bool {
	if n.IsPseudo() {
		return true
	}
	switch n {
	case header.ContentLength, header.TransferEncoding, header.Connection, header.KeepAlive, header.ProxyConnection, header.TE, header.Trailer, header.Upgrade:
		return true
	}
	return false
}

// token reports whether c may stand in a name (RFC 9110 §5.6.2).
func token(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}

func printable(v []byte) bool {
	for _, c := range v {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// parser reads JSON in one pass.
type parser struct {
	b []byte
	i int
}

func (p *parser) fault(what string) error {
	return fmt.Errorf("at byte %d: %s", p.i, what)
}

func (p *parser) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// peek is the first byte of what comes, 0 at the end.
func (p *parser) peek() byte {
	p.space()
	if p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

// take takes c if it is what comes.
func (p *parser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.i++
	return true
}

func (p *parser) word(w string) bool {
	p.space()
	if len(p.b)-p.i >= len(w) && string(p.b[p.i:p.i+len(w)]) == w {
		p.i += len(w)
		return true
	}
	return false
}

func (p *parser) null() bool { return p.word("null") }

// object reads an object; value reads the value of a key.
func (p *parser) object(value func(key []byte) error) error {
	if !p.take('{') {
		return p.fault("an object is wanted")
	}
	if p.take('}') {
		return nil
	}
	for {
		if p.peek() != '"' {
			return p.fault("the name of a field is wanted")
		}
		key, err := p.text()
		if err != nil {
			return err
		}
		if !p.take(':') {
			return p.fault("a colon is wanted")
		}
		if err := value(key); err != nil {
			return err
		}
		switch {
		case p.take('}'):
			return nil
		case !p.take(','):
			return p.fault("a comma or the end of the object is wanted")
		}
	}
}

// array reads an array; element reads one of it.
func (p *parser) array(element func() error) error {
	if !p.take('[') {
		return p.fault("a list is wanted")
	}
	if p.take(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch {
		case p.take(']'):
			return nil
		case !p.take(','):
			return p.fault("a comma or the end of the list is wanted")
		}
	}
}

func (p *parser) boolean(v *bool) error {
	switch {
	case p.word("true"):
		*v = true
	case p.word("false"), p.null():
		*v = false
	default:
		return p.fault("true or false is wanted")
	}
	return nil
}

// status reads a number without sign or fraction, which may be written as a string.
func (p *parser) status(v *int) error {
	*v = 0
	if p.null() {
		return nil
	}
	var text []byte
	var err error
	if p.peek() == '"' {
		text, err = p.text()
		if err == nil {
			in := parser{b: text}
			if text, err = in.number(); err == nil && in.i != len(in.b) {
				err = p.fault("a whole number is wanted")
			}
		}
	} else {
		text, err = p.number()
	}
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(stringOf(text), 10, 32)
	if err != nil {
		// 2e2 and 200.0 are whole, too.
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil || f != math.Trunc(f) || f < 0 || f > math.MaxUint32 {
			return p.fault("a whole number is wanted")
		}
		n = uint64(f)
	}
	*v = int(n)
	return nil
}

// number reads a number (RFC 8259 §6) and returns it as it is written.
func (p *parser) number() ([]byte, error) {
	p.space()
	start := p.i
	p.sign('-', '-')
	if p.i < len(p.b) && p.b[p.i] == '0' {
		p.i++
	} else if !p.digits() {
		return nil, p.fault("a value is wanted")
	}
	if p.i < len(p.b) && p.b[p.i] == '.' {
		if p.i++; !p.digits() {
			return nil, p.fault("a digit is wanted")
		}
	}
	if p.i < len(p.b) && p.b[p.i]|0x20 == 'e' {
		p.i++
		p.sign('+', '-')
		if !p.digits() {
			return nil, p.fault("a digit is wanted")
		}
	}
	return p.b[start:p.i], nil
}

func (p *parser) sign(a, b byte) {
	if p.i < len(p.b) && (p.b[p.i] == a || p.b[p.i] == b) {
		p.i++
	}
}

func (p *parser) digits() bool {
	start := p.i
	for p.i < len(p.b) && '0' <= p.b[p.i] && p.b[p.i] <= '9' {
		p.i++
	}
	return p.i > start
}

// skip passes over any value.
func (p *parser) skip(depth int) error {
	if depth > maxDepth {
		return p.fault("values are nested too deeply")
	}
	switch p.peek() {
	case '{':
		return p.object(func([]byte) error { return p.skip(depth + 1) })
	case '[':
		return p.array(func() error { return p.skip(depth + 1) })
	case '"':
		_, err := p.text()
		return err
	}
	if p.word("true") || p.word("false") || p.null() {
		return nil
	}
	_, err := p.number()
	return err
}

// text reads a string.
func (p *parser) text() ([]byte, error) {
	if !p.take('"') {
		return nil, p.fault("a string is wanted")
	}
	start := p.i
	wide := false
	for p.i < len(p.b) {
		switch c := p.b[p.i]; {
		case c == '"':
			s := p.b[start:p.i]
			if wide && !utf8.Valid(s) {
				return nil, p.fault("a string is not UTF-8")
			}
			p.i++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < ' ':
			return nil, p.fault("a control character is not escaped")
		default:
			wide = wide || c >= utf8.RuneSelf
			p.i++
		}
	}
	return nil, p.fault("a string does not end")
}

// escaped reads on in a string that begins at start, from its first escape on.
func (p *parser) escaped(start int) ([]byte, error) {
	end := p.i // of what is unescaped, which is never longer
	for p.i < len(p.b) {
		c := p.b[p.i]
		p.i++
		switch {
		case c == '"':
			s := p.b[start:end]
			if !utf8.Valid(s) {
				return nil, p.fault("a string is not UTF-8")
			}
			return s, nil
		case c < ' ':
			return nil, p.fault("a control character is not escaped")
		case c != '\\':
			p.b[end] = c
			end++
			continue
		}
		if p.i == len(p.b) {
			break
		}
		c = p.b[p.i]
		p.i++
		switch c {
		case '"', '\\', '/':
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, ok := p.rune()
			if !ok {
				return nil, p.fault("an escape is not of a character")
			}
			end += utf8.EncodeRune(p.b[end:end+utf8.UTFMax], r)
			continue
		default:
			return nil, p.fault("an escape is not known")
		}
		p.b[end] = c
		end++
	}
	return nil, p.fault("a string does not end")
}

// rune reads what follows \u, and the second half of a surrogate pair.
func (p *parser) rune() (rune, bool) {
	r, ok := p.hex4()
	if !ok || !utf16.IsSurrogate(r) {
		return r, ok
	}
	if !p.wordAt(`\u`) {
		return 0, false
	}
	low, ok := p.hex4()
	r = utf16.DecodeRune(r, low)
	return r, ok && r != utf8.RuneError
}

func (p *parser) wordAt(w string) bool {
	if len(p.b)-p.i < len(w) || string(p.b[p.i:p.i+len(w)]) != w {
		return false
	}
	p.i += len(w)
	return true
}

func (p *parser) hex4() (rune, bool) {
	if len(p.b)-p.i < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(stringOf(p.b[p.i:p.i+4]), 16, 16)
	p.i += 4
	return rune(n), err == nil && p.b[p.i-4] != '+'
}
