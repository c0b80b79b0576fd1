// SPDX-License-Identifier: Apache-2.0

// Package h1 reads and writes HTTP/1 messages (RFC 9112) strictly and without
// allocation.
//
// A [Parser] turns the bytes of a message head into a [header.Map] and a
// [Head], which says how the message is framed; a [Chunked] decodes the chunked
// transfer coding; the Append functions write heads and chunks. What the RFCs
// allow is taken; whatever two recipients could read in two ways is refused:
// both or several framing fields, codings other than chunked, folded lines,
// bare CR or LF, whitespace around names, control characters, doubtful hosts
// and targets.
//
// Hop-by-hop fields never reach the map, nor does Host: it is :authority there.
package h1

import (
	"bytes"
	"strings"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// Head is what a message head says apart from its fields.
type Head struct {
	codec.Head
	// Reason is the reason phrase of a response, a view.
	Reason []byte
	// ContentLength is the Content-Length in bytes, or -1. It may be set on a
	// response that has no body (to HEAD, 304).
	ContentLength int64
	// Chunked reports that the body is in chunked coding.
	Chunked bool
	// UntilClose reports that the body of a response ends with its connection.
	UntilClose bool
	// HasBody reports that at least one byte of framing or content follows
	// the head as a body.
	HasBody bool
	// H2C is the value of HTTP2-Settings where a request offers to go on in HTTP/2
	// and the options let that be known, else nil.
	H2C []byte
}

// HTTP10 reports that the peer speaks HTTP/1.0.
func (h *Head) HTTP10() bool { return h.Version == streaminfo.HTTP10 }

type state uint8

const (
	atStart state = iota
	atFields
	atEnd
	atError
)

// A Parser reads heads from one direction of one connection. It must be Reset
// before first use and is not safe for concurrent use.
//
// Request and Response take whole lines off the front of what they are given
// and say how many bytes those were. While done is false they are called again
// with the rest and more behind it, in the same memory or in another; nothing
// is looked at twice, so a slow sender costs linear time. What was consumed
// must stay in place as long as the map is used, for the map's fields are views
// of it. Names are lowered in place.
type Parser struct {
	opts     *Options
	maxHead  int
	maxField int

	head    Head
	state   state
	failed  *codec.Error
	scanned int // bytes of the line at hand known to hold no LF
	blank   int

	// What the request was that a response belongs to.
	headRequest    bool
	connectRequest bool
	upgradeRequest bool

	isResponse bool
	isConnect  bool
	authority  bool // :authority came with the target
	host       bool
	te         bool
	teTrailers bool
	close      bool
	keepAlive  bool
	upgrade    bool // Connection: upgrade
	upgrades   int
	settings   []byte // the value of HTTP2-Settings
	settingses int    // how many of them there were
	options    int    // members of Connection

	nominated  [maxConnectionOptions]header.Name
	nominees   int
	spelling   Spelling
	respFailed codec.Error
}

// Reset readies the parser for a new connection. A nil o is DefaultOptions.
func (p *Parser) Reset(o *Options) {
	if o == nil {
		o = DefaultOptions()
	}
	p.opts = o
	p.maxHead = orDefault(o.MaxHeadBytes, DefaultMaxHeadBytes)
	p.maxField = min(orDefault(o.MaxHeaders, DefaultMaxHeaders), maxMaxHeaders)
	p.SetRequest(nil, false)
	p.Next()
}

// Next readies the parser for the next message of the connection: a further
// request, or the final response after an interim one.
func (p *Parser) Next() {
	p.head = Head{ContentLength: -1}
	p.state, p.failed, p.scanned, p.blank = atStart, nil, 0, 0
	p.isResponse, p.isConnect, p.authority, p.host = false, false, false, false
	p.te, p.teTrailers, p.close, p.keepAlive, p.upgrade = false, false, false, false, false
	p.upgrades, p.options, p.nominees = 0, 0, 0
	p.settings, p.settingses = nil, 0
	p.spelling.Reset()
}

// SetRequest tells the parser of responses what was asked: the method decides
// whether a body follows (RFC 9112 §6.3), and 101 needs a request to upgrade.
// It holds until it is called again.
func (p *Parser) SetRequest(method []byte, upgrade bool) {
	p.headRequest = string(method) == "HEAD"
	p.connectRequest = string(method) == "CONNECT"
	p.upgradeRequest = upgrade
}

// Head returns what the head said; it is whole once Request or Response is
// done, and valid until Next or Reset.
func (p *Parser) Head() *Head { return &p.head }

// Spelling returns the names as the peer spelled them if the options ask for
// it, valid until Next or Reset.
func (p *Parser) Spelling() *Spelling { return &p.spelling }

// Begun reports whether any line of the message has been consumed.
func (p *Parser) Begun() bool { return p.state != atStart || p.blank > 0 }

// line returns the line at b[i:] without its CRLF and where the next begins;
// next is 0 when the line is not complete.
func (p *Parser) line(b []byte, i int) (line []byte, next int, err *codec.Error) {
	from := min(i+p.scanned, len(b))
	j := bytes.IndexByte(b[from:], '\n')
	if j < 0 {
		return nil, 0, nil
	}
	j += from
	p.scanned = 0
	if j == i || b[j-1] != '\r' {
		return nil, 0, errBareLF
	}
	return b[i : j-1], j + 1, nil
}

// wait remembers that b[i:] is the beginning of a line, and bounds it.
func (p *Parser) wait(b []byte, i int) *codec.Error {
	p.scanned = len(b) - i
	if p.scanned > 1 && b[i] == '\r' {
		return errBareCR
	}
	if p.head.Size+p.scanned > p.maxHead {
		return errLarge
	}
	return nil
}

// take counts the bytes of a line that was consumed.
func (p *Parser) take(n int) *codec.Error {
	p.head.Size += n
	if p.head.Size > p.maxHead {
		return errLarge
	}
	return nil
}

// fields consumes field lines from b[i:] up to the empty line after them. It
// returns where it stopped.
func (p *Parser) fields(b []byte, i int, m *header.Map) (int, *codec.Error) {
	for {
		if p.scanned > 0 || p.opts.PreserveCase {
			from := min(i+p.scanned, len(b))
			if bytes.IndexByte(b[from:], '\n') < 0 {
				return i, p.wait(b, i)
			}
			p.scanned = 0
		}
		if rest := len(b) - i; rest == 0 || rest == 1 && b[i] == '\r' {
			return i, p.wait(b, i)
		}
		if b[i] == '\r' && b[i+1] == '\n' {
			p.state = atEnd
			return i + 2, p.take(2)
		}
		if p.opts.PreserveCase {
			if k := bytes.IndexByte(b[i:], ':'); k > 0 {
				p.spelling.add(b[i : i+k])
			}
		}
		colon, start, end, next, err := scanField(b, i)
		if err != nil {
			return i, err
		}
		if next == 0 {
			return i, p.wait(b, i)
		}
		if err := p.take(next - i); err != nil {
			return i, err
		}
		if p.head.Fields++; p.head.Fields > p.maxField {
			return i, errMany
		}
		name := header.Resolve(b[i:colon])
		if k := kinds[name.ID()]; k != kindPlain {
			err = p.special(k, name, b[start:end], m)
		} else if p.opts.Underscores == codec.UnderscoresAllow || p.isResponse || bytes.IndexByte(b[i:colon], '_') < 0 {
			m.AddView(name, b[start:end])
		} else if p.opts.Underscores == codec.UnderscoresReject {
			err = errUnderscore
		} else {
			p.head.Underscored++
		}
		if err != nil {
			return i, err
		}
		i = next
	}
}

// kind says what a field means to the codec.
type kind uint8

const (
	kindPlain kind = iota
	kindDropped
	kindHost
	kindContentLength
	kindTransferEncoding
	kindConnection
	kindProxyConnection
	kindTE
	kindUpgrade
	kindExpect
	kindSettings
)

// kinds has the kind of each well-known name at its ID.
var kinds = buildKinds()

func buildKinds() (t [256]kind) {
	for n, k := range map[header.Name]kind{
		header.Host: kindHost, header.ContentLength: kindContentLength, header.TransferEncoding: kindTransferEncoding,
		header.Connection: kindConnection, header.ProxyConnection: kindProxyConnection, header.TE: kindTE,
		header.Upgrade: kindUpgrade, header.Expect: kindExpect,
		header.KeepAlive: kindDropped, header.HTTP2Settings: kindSettings,
	} {
		t[n.ID()] = k
	}
	return t
}

// special takes a field that is more than plain.
func (p *Parser) special(k kind, name header.Name, v []byte, m *header.Map) *codec.Error {
	switch k {
	case kindHost:
		if p.isResponse {
			m.AddView(name, v)
			return nil
		}
		return p.hostField(v, m)
	case kindContentLength:
		if p.head.ContentLength >= 0 {
			return errLengths
		}
		n, ok := codec.ParseLength(v)
		if !ok {
			return errLength
		}
		p.head.ContentLength = n
		m.AddView(name, v)
	case kindTransferEncoding:
		// Two lines are a list of two; only a single chunked is taken.
		if p.te || !header.EqualLower(v, "chunked") {
			return errTE
		}
		p.te = true
	case kindConnection:
		return p.connectionField(v)
	case kindProxyConnection:
		// Not a field of any RFC, but Envoy heeds a close in it.
		for rest := v; rest != nil; {
			var o []byte
			o, rest = member(rest)
			p.close = p.close || header.EqualLower(o, "close")
		}
	case kindTE:
		for rest := v; rest != nil && !p.teTrailers; {
			var o []byte
			o, rest = member(rest)
			p.teTrailers = header.EqualLower(o, "trailers")
		}
	case kindUpgrade:
		p.head.Protocol = v
		p.upgrades++
	case kindSettings:
		p.settings = v
		p.settingses++
	case kindExpect:
		if !p.isResponse && !p.head.HTTP10() {
			if !header.EqualLower(v, "100-continue") {
				return errExpect
			}
			p.head.Expect100 = true
		}
		// RFC 9110 §10.1.1: it is void in an HTTP/1.0 request.
		if p.isResponse || !p.head.HTTP10() {
			m.AddView(name, v)
		}
	}
	return nil
}

// connectionField reads one Connection line (RFC 9110 §7.6.1).
func (p *Parser) connectionField(v []byte) *codec.Error {
	for rest := v; rest != nil; {
		var o []byte
		o, rest = member(rest)
		if len(o) == 0 {
			continue
		}
		if p.options++; p.options > maxConnectionOptions {
			return errConnection
		}
		for i, c := range o {
			if o[i] = lowerToken[c]; o[i] == 0 {
				return errConnection
			}
		}
		switch string(o) {
		case "close":
			p.close = true
		case "keep-alive":
			p.keepAlive = true
		case "upgrade":
			p.upgrade = true
		default:
			n := header.Resolve(o)
			if k := kinds[n.ID()]; k >= kindConnection && k != kindExpect || k == kindDropped {
				continue // Never in the map, or decided at the end.
			}
			switch nominationOf(n) {
			case nominationRefused:
				if !p.isResponse {
					return errConnection
				}
			case nominationObeyed:
				p.nominated[p.nominees] = n
				p.nominees++
			}
		}
	}
	return nil
}

type nomination uint8

const (
	nominationObeyed nomination = iota
	// nominationIgnored is for fields meant for all recipients, and for those by
	// which proxies tell what they know of the client: it may not take them away.
	nominationIgnored
	// nominationRefused is for fields whose removal on the way would change
	// where a request goes or where it ends.
	nominationRefused
)

// nominations has what a nomination of each well-known name does, by ID.
var nominations = buildNominations()

func buildNominations() (t [256]nomination) {
	for _, n := range []header.Name{header.Host, header.ContentLength, header.TransferEncoding} {
		t[n.ID()] = nominationRefused
	}
	for _, n := range []header.Name{
		header.Authorization, header.ProxyAuthorization, header.ProxyAuthenticate, header.WWWAuthenticate,
		header.Cookie, header.SetCookie, header.Forwarded, header.Via, header.XRealIP, header.XRequestID,
		header.XClientTraceID, header.Traceparent, header.Tracestate, header.B3, header.CacheControl,
		header.ContentType, header.ContentEncoding, header.ContentRange, header.Range, header.Expect,
		header.Vary, header.ETag, header.Origin, header.Date, header.Location, header.Age, header.Expires,
		header.StrictTransportSecurity, header.GRPCStatus, header.XForwardedFor, header.XForwardedProto,
		header.XForwardedHost, header.XForwardedPort, header.XForwardedPrefix, header.XForwardedClientCert,
	} {
		t[n.ID()] = nominationIgnored
	}
	return t
}

func nominationOf(n header.Name) nomination {
	if r := nominations[n.ID()]; r != nominationObeyed {
		return r
	}
	if s := n.String(); strings.HasPrefix(s, "x-forwarded-") || strings.HasPrefix(s, "x-envoy-") {
		return nominationIgnored
	}
	return nominationObeyed
}

// finish does what is common to both kinds of messages at the end of a head.
func (p *Parser) finish(m *header.Map) *codec.Error {
	for i := range p.nominees {
		m.Del(p.nominated[i])
	}
	h := &p.head
	h.KeepAlive = !p.close && (!h.HTTP10() || p.keepAlive)
	if !p.te {
		return nil
	}
	if h.HTTP10() {
		return errTE10
	}
	if h.ContentLength >= 0 {
		if !p.opts.AllowChunkedLength {
			return errBoth
		}
		// RFC 9112 §6.1: the connection ends after such a message.
		m.Del(header.ContentLength)
		h.ContentLength, h.KeepAlive = -1, false
	}
	h.Chunked = true
	return nil
}
