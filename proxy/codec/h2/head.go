// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"bytes"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
	"weir.dev/weir/proxy/codec/h2/hpack"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// section is the kind of a field section.
type section uint8

const (
	sectionNone section = iota // decoded and forgotten
	sectionRequest
	sectionResponse
	sectionTrailer
)

// builder makes a message head of the fields that the decoder emits, and holds
// them against RFC 9113 §8. A connection has one: header blocks never mix.
type builder struct {
	lim     *limits
	emit    hpack.Emit
	section section
	m       *header.Map
	hd      *codec.Head
	arena   []byte
	// err is why the message is malformed, refused why it is answered at once.
	err, refused *codec.Error
	regular      bool // a field that is no pseudo-header field was there
	seen         uint8
	size         int
	length       int64
	method, path []byte
	scheme       []byte
	authority    []byte
	protocol     []byte
	host         []byte
	hosts        int
	crumbs       [][]byte
	crumbBytes   int
	secret       bool // a crumb was sent as never indexed
}

const (
	seenMethod = 1 << iota
	seenScheme
	seenPath
	seenAuthority
	seenProtocol
	seenStatus
)

func (c *conn) initHPACK() {
	c.read.lim = &c.lim
	c.read.emit = c.read.field
	c.dec.Limits.Fields = c.lim.MaxHeaders
	// The limits are Envoy's, which do not count the 32 bytes of RFC 9113 for
	// each field.
	c.dec.Limits.Size = c.lim.MaxHeadBytes + 32*c.lim.MaxHeaders
	c.dec.Limits.Hard = 4*c.dec.Limits.Size + 64<<10
	if c.lim.HPACKTableSize > hpack.DefaultTableSize {
		c.dec.SetTableSize(c.lim.HPACKTableSize)
	}
	if c.lim.HPACKTableSize != hpack.DefaultTableSize {
		c.enc.SetTableSize(c.lim.HPACKTableSize)
	}
	c.enc.Plain = c.lim.DisableHuffman
}

// begin readies the builder for a section; fields go to m, their bytes to arena.
func (b *builder) begin(s section, m *header.Map, hd *codec.Head, arena []byte) {
	*b = builder{lim: b.lim, emit: b.emit, section: s, m: m, hd: hd, arena: arena, length: -1, crumbs: b.crumbs[:0]}
}

// ignore readies the builder for a section that nobody wants.
func (b *builder) ignore() { b.begin(sectionNone, nil, nil, b.arena[:0]) }

// decode decodes a block into the builder's section. It reports false if the
// connection has ended over it.
func (c *conn) decode(block []byte) bool {
	b := &c.read
	var err *hpack.Error
	b.arena, err = c.dec.Decode(block, b.arena, b.emit)
	if err == nil {
		return true
	}
	switch err.Kind {
	case hpack.TooLarge:
		b.refuse(errLarge)
	case hpack.TooMany:
		b.refuse(errMany)
	case hpack.Calm:
		c.st.HPACKFlood.Inc()
		c.fail(&ConnectionError{Code: frame.EnhanceYourCalm, Reason: err.Reason})
	default:
		c.fail(&ConnectionError{Code: frame.CompressionError, Reason: err.Reason})
	}
	return !err.Fatal()
}

func (b *builder) refuse(err *codec.Error) {
	if b.refused == nil {
		b.refused = err
	}
}

func (b *builder) fail(err *codec.Error) {
	if b.err == nil {
		b.err = err
	}
}

// field takes one field from the decoder.
func (b *builder) field(n header.Name, v []byte, sensitive bool) {
	if b.section == sectionNone || b.err != nil {
		return
	}
	s := n.String()
	if b.size += len(s) + len(v); b.size > b.lim.MaxHeadBytes {
		b.refuse(errLarge)
		return
	}
	if b.hd != nil {
		b.hd.Fields++
	}
	if s == "" {
		b.fail(errName)
		return
	}
	if s[0] != ':' {
		v = trim(v)
	}
	if !hpack.ValidValue(v) || b.lim.DisallowObsText && hasObsText(v) {
		b.fail(errValue)
		return
	}
	if s[0] == ':' {
		b.pseudo(n, v)
		return
	}
	b.regular = true
	if n.ID() == 0 {
		if !hpack.ValidName(s) {
			b.fail(errName)
			return
		}
		if b.section != sectionTrailer || codec.TrailerAllowed(n) {
			b.add(n, v, sensitive)
		}
		return
	}
	switch kinds[n.ID()] {
	case kindPlain:
		if b.section != sectionTrailer || codec.TrailerAllowed(n) {
			b.add(n, v, sensitive)
		}
	case kindRefused:
		b.fail(errHopByHop)
	case kindDropped:
	default:
		b.special(n, v, sensitive)
	}
}

// trim cuts whitespace around a value. RFC 9113 §8.2.1 calls it malformed; gRPC
// allows it in metadata, and Envoy takes it.
func trim(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

func hasObsText(v []byte) bool {
	for _, c := range v {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

func (b *builder) add(n header.Name, v []byte, sensitive bool) {
	if b.section == sectionRequest && b.lim.Underscores != codec.UnderscoresAllow &&
		n.ID() == 0 && bytes.IndexByte([]byte(n.String()), '_') >= 0 {
		if b.lim.Underscores == codec.UnderscoresReject {
			b.refuse(errUnderscore)
		} else {
			b.hd.Underscored++
		}
		return
	}
	if sensitive {
		b.m.AddSensitive(n, v)
	} else {
		b.m.AddView(n, v)
	}
}

// pseudo takes a pseudo-header field (RFC 9113 §8.3).
func (b *builder) pseudo(n header.Name, v []byte) {
	if b.regular {
		b.fail(errPseudoLate)
		return
	}
	var bit uint8
	switch n.ID() {
	case idMethod:
		bit, b.method = seenMethod, v
	case idScheme:
		bit, b.scheme = seenScheme, v
	case idPath:
		bit, b.path = seenPath, v
	case idAuthority:
		bit, b.authority = seenAuthority, v
	case idProtocol:
		if b.lim.AllowConnect {
			bit, b.protocol = seenProtocol, v
		}
	case idStatus:
		bit = seenStatus
	}
	allowed := uint8(0)
	switch b.section {
	case sectionRequest:
		allowed = seenMethod | seenScheme | seenPath | seenAuthority | seenProtocol
	case sectionResponse:
		allowed = seenStatus
	}
	switch {
	case bit&allowed == 0:
		b.fail(errPseudo)
	case b.seen&bit != 0:
		b.fail(errPseudoTwice)
	case bit == seenStatus:
		b.status(v)
	case bit != seenProtocol:
		b.m.AddView(n, v)
	}
	b.seen |= bit
}

func (b *builder) status(v []byte) {
	if len(v) != 3 || v[0] < '1' || v[0] > '9' || !isDigit(v[1]) || !isDigit(v[2]) {
		b.fail(errStatus)
		return
	}
	b.hd.Status = int(v[0]-'0')*100 + int(v[1]-'0')*10 + int(v[2]-'0')
	// RFC 9113 §8.6: 101 does not exist in HTTP/2.
	if b.hd.Status == 101 {
		b.fail(errStatus)
		return
	}
	b.m.AddView(header.Status, v)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

var (
	idMethod    = header.Method.ID()
	idScheme    = header.Scheme.ID()
	idPath      = header.Path.ID()
	idAuthority = header.Authority.ID()
	idProtocol  = header.Protocol.ID()
	idStatus    = header.Status.ID()
)

// kind says what a field means to the codec.
type kind uint8

const (
	kindPlain kind = iota
	kindRefused
	kindDropped
	kindTE
	kindLength
	kindHost
	kindCookie
	kindExpect
)

// kinds has the kind of each well-known name at its ID. RFC 9113 §8.2.2: the first
// five make a message malformed.
var kinds = buildKinds()

func buildKinds() (t [256]kind) {
	for n, k := range map[header.Name]kind{
		header.Connection: kindRefused, header.ProxyConnection: kindRefused, header.KeepAlive: kindRefused,
		header.TransferEncoding: kindRefused, header.Upgrade: kindRefused,
		header.HTTP2Settings: kindDropped,
		header.TE:            kindTE, header.ContentLength: kindLength, header.Host: kindHost,
		header.Cookie: kindCookie, header.Expect: kindExpect,
	} {
		t[n.ID()] = k
	}
	return t
}

// special takes a field that is more than plain.
func (b *builder) special(n header.Name, v []byte, sensitive bool) {
	k := kinds[n.ID()]
	if b.section == sectionTrailer && k != kindTE {
		return // What frames or routes a message has no meaning behind it (RFC 9110 §6.5.1).
	}
	request := b.section == sectionRequest
	switch k {
	case kindTE:
		if !header.EqualLower(v, "trailers") {
			b.fail(errTE)
		} else if request && !b.m.Has(header.TE) {
			b.m.Add(header.TE, "trailers")
		}
	case kindLength:
		l, ok := codec.ParseLength(v)
		if !ok || b.length >= 0 {
			b.fail(errLength)
			return
		}
		b.length = l
		b.m.AddView(n, v)
	case kindHost:
		if !request {
			b.add(n, v, sensitive)
			return
		}
		b.hosts++
		b.host = v
	case kindCookie:
		if !request {
			b.add(n, v, sensitive)
			return
		}
		b.crumbs = append(b.crumbs, v)
		b.crumbBytes += len(v) + 2
		b.secret = b.secret || sensitive
	case kindExpect:
		if request && !header.EqualLower(v, "100-continue") {
			b.refuse(errExpect)
			return
		}
		b.hd.Expect100 = request
		b.add(n, v, sensitive)
	}
}

// finishResponse decides on the whole of a response's head.
func (b *builder) finishResponse() {
	if b.err != nil {
		return
	}
	b.hd.Version, b.hd.KeepAlive = streaminfo.HTTP2, true
	if b.seen&seenStatus == 0 {
		b.fail(errPseudoNone)
	}
}
