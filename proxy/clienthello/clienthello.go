// SPDX-License-Identifier: Apache-2.0

// Package clienthello reads the first message of a TLS client (RFC 8446 §4.1.2,
// RFC 5246 §7.4.1.2) from the bytes with which a connection begins, to tell TLS
// from cleartext and to find the server name and the protocols that are asked
// for. It shakes no hands: whether the handshake can succeed is for the one who
// does to say.
//
// Nothing is allocated, and nothing refers to the input once a caller has taken
// its strings.
package clienthello

import "errors"

var (
	// ErrNotTLS is returned for bytes that do not begin a TLS handshake.
	ErrNotTLS = errors.New("not TLS")
	// ErrMalformed is returned for a handshake that does not begin with a valid
	// ClientHello.
	ErrMalformed = errors.New("malformed ClientHello")
	// ErrTooLarge is returned for a ClientHello above the limit.
	ErrTooLarge = errors.New("the ClientHello is too large")
)

const (
	recordHeader    = 5
	messageHeader   = 4
	maxRecord       = 1 << 14 // RFC 8446 §5.1
	typeHandshake   = 22
	typeClientHello = 1
)

// Extensions that are read.
const (
	extServerName        = 0
	extSupportedGroups   = 10
	extPointFormats      = 11
	extSignatureSchemes  = 13
	extALPN              = 16
	extSupportedVersions = 43
)

// Scan looks for a whole ClientHello in the first bytes of a connection; it may
// be spread over several records. want is 0 once it is there: hello is then its
// body, and used how many of the bytes it took. Otherwise want is the least
// number of bytes with which more can be said, always more than len(b). A
// ClientHello that takes more than limit bytes, records included, is
// ErrTooLarge.
//
// b is overwritten if the message is spread over several records; hello is a
// part of it.
func Scan(b []byte, limit int) (hello []byte, used, want int, err error) {
	have, size := 0, 0 // of the message: how much was seen, how long it is if known
	for at := 0; ; {
		n, err := record(b[at:], at == 0)
		if err != nil {
			return nil, at, 0, err
		}
		if n == 0 {
			return wanted(at+recordHeader, limit)
		}
		body := b[at+recordHeader : min(at+recordHeader+n, len(b))]
		before := have
		msg := body
		if have > 0 {
			copy(b[have:], body) // What was before it is in b[:have] already.
			msg = b[:have+len(body)]
		}
		have = len(msg)
		if size, err = messageSize(msg, limit); err != nil {
			return nil, at, 0, err
		}
		if size > 0 && have >= size {
			return msg[messageHeader:size], at + recordHeader + size - before, 0, nil
		}
		if len(body) < n { // The rest of this record, as far as the message needs it.
			need := messageHeader
			if size > 0 {
				need = size
			}
			return wanted(at+recordHeader+min(n, need-before), limit)
		}
		if before == 0 {
			copy(b, body)
		}
		at += recordHeader + n
	}
}

func wanted(n, limit int) (hello []byte, used, want int, err error) {
	if n > limit {
		return nil, 0, 0, ErrTooLarge
	}
	return nil, 0, n, nil
}

// record returns the length of the record that b begins with, 0 if its header is
// not complete.
func record(b []byte, first bool) (int, error) {
	wrong := ErrMalformed
	if first {
		wrong = ErrNotTLS
	}
	if len(b) > 0 && b[0] != typeHandshake || len(b) > 1 && b[1] != 3 {
		return 0, wrong
	}
	if len(b) < recordHeader {
		return 0, nil
	}
	n := int(b[3])<<8 | int(b[4])
	if n == 0 || n > maxRecord {
		return 0, wrong
	}
	return n, nil
}

// messageSize returns the length of the handshake message that b begins with, its
// header included; 0 if that is not known yet.
func messageSize(b []byte, limit int) (int, error) {
	if len(b) > 0 && b[0] != typeClientHello {
		return 0, ErrMalformed
	}
	if len(b) < messageHeader {
		return 0, nil
	}
	n := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	if n+messageHeader+recordHeader > limit {
		return 0, ErrTooLarge
	}
	return n + messageHeader, nil
}

// A Hello is a ClientHello. Its slices are parts of the message it was read
// from.
type Hello struct {
	// Version is the legacy version, such as 0x0303.
	Version uint16
	// CipherSuites are numbers of two bytes.
	CipherSuites []byte
	// Extensions are all extensions as they were sent.
	Extensions []byte
	// Name is the host name of server_name as it was sent, 1 to 255 bytes
	// without NUL; nil if there is none. It may be anything but that: a name in
	// upper case, with a trailing dot, or an IP address.
	Name []byte

	hasALPN                                 bool
	alpn, groups, points, schemes, versions []byte
}

// Parse reads the body of a ClientHello.
func Parse(hello []byte) (h Hello, err error) {
	r := reader{hello}
	version, ok := r.uint16()
	h.Version = version
	_, ok1 := r.take(32) // random
	session, ok2 := r.block8()
	suites, ok3 := r.block16()
	methods, ok4 := r.block8()
	if !ok || !ok1 || !ok2 || !ok3 || !ok4 || version>>8 != 3 || len(session) > 32 ||
		len(suites) == 0 || len(suites)%2 != 0 || len(methods) == 0 {
		return Hello{}, ErrMalformed
	}
	h.CipherSuites = suites
	if len(r.b) == 0 {
		return h, nil
	}
	if h.Extensions, ok = r.block16(); !ok || len(r.b) > 0 {
		return Hello{}, ErrMalformed
	}
	return h, h.extensions()
}

func (h *Hello) extensions() error {
	var seen uint64
	for r := (reader{h.Extensions}); len(r.b) > 0; {
		id, data, ok := r.extension()
		if !ok {
			return ErrMalformed
		}
		if id < 64 {
			if seen&(1<<id) != 0 {
				return ErrMalformed // RFC 8446 §4.2: each extension once.
			}
			seen |= 1 << id
		}
		switch id {
		case extServerName:
			if h.Name, ok = serverName(data); !ok {
				return ErrMalformed
			}
		case extALPN:
			h.alpn, h.hasALPN = data, true
		case extSupportedGroups:
			h.groups = data
		case extPointFormats:
			h.points = data
		case extSignatureSchemes:
			h.schemes = data
		case extSupportedVersions:
			h.versions = data
		}
	}
	return nil
}

// serverName reads the one name of a server_name extension. RFC 6066 §3 allows
// for other types of names, of which there are none, and forbids a second of one
// type: two names could be read as either.
func serverName(data []byte) ([]byte, bool) {
	r := reader{data}
	list, ok := r.block16()
	if !ok || len(r.b) > 0 {
		return nil, false
	}
	r = reader{list}
	kind, ok := r.take(1)
	if !ok || kind[0] != 0 {
		return nil, false
	}
	name, ok := r.block16()
	if !ok || len(r.b) > 0 || len(name) == 0 || len(name) > 255 {
		return nil, false
	}
	for _, c := range name {
		if c == 0 {
			return nil, false
		}
	}
	return name, true
}

// ServerName returns the name that the client asks for in lower case, or "".
// Only ASCII letters have a lower case: names are ASCII, and others stay as they
// were sent.
func (h *Hello) ServerName() string {
	b := make([]byte, len(h.Name))
	for i, c := range h.Name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b[i] = c
	}
	return string(b)
}

// Protocols returns the protocols of the ALPN extension (RFC 7301 §3.1), in the
// client's order; nil if there are none or the list is malformed.
func (h *Hello) Protocols() []string {
	r := reader{h.alpn}
	list, ok := r.block16()
	if !ok || len(r.b) > 0 {
		return nil
	}
	n := 0
	for r = (reader{list}); len(r.b) > 0; n++ {
		if p, ok := r.block8(); !ok || len(p) == 0 {
			return nil
		}
	}
	if n == 0 {
		return nil
	}
	out := make([]string, 0, n)
	for r = (reader{list}); len(r.b) > 0; {
		p, _ := r.block8()
		out = append(out, string(p))
	}
	return out
}

// reader takes things from the front of a slice.
type reader struct{ b []byte }

func (r *reader) take(n int) ([]byte, bool) {
	if len(r.b) < n {
		return nil, false
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p, true
}

func (r *reader) uint16() (uint16, bool) {
	p, ok := r.take(2)
	if !ok {
		return 0, false
	}
	return uint16(p[0])<<8 | uint16(p[1]), true
}

func (r *reader) block8() ([]byte, bool) {
	p, ok := r.take(1)
	if !ok {
		return nil, false
	}
	return r.take(int(p[0]))
}

func (r *reader) block16() ([]byte, bool) {
	n, ok := r.uint16()
	if !ok {
		return nil, false
	}
	return r.take(int(n))
}

func (r *reader) extension() (id uint16, data []byte, ok bool) {
	if id, ok = r.uint16(); ok {
		data, ok = r.block16()
	}
	return id, data, ok
}
