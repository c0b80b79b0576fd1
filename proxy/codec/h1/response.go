// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// Response reads a response head, see [Parser]; SetRequest must have told what
// it answers. The map gets :status. After an interim response (1xx but 101)
// Next readies the parser for the one to follow.
func (p *Parser) Response(b []byte, m *header.Map) (n int, done bool, err error) {
	p.isResponse = true
	n, e := p.response(b, m)
	if e != nil {
		// Whatever is wrong with a response is a bad gateway to the client.
		p.respFailed = codec.Error{Status: 502, Detail: e.Detail, Reason: e.Reason}
		p.state, p.failed = atError, &p.respFailed
		return n, false, p.failed
	}
	return n, p.state == atEnd, nil
}

func (p *Parser) response(b []byte, m *header.Map) (i int, err *codec.Error) {
	switch p.state {
	case atError:
		return 0, p.failed
	case atEnd:
		return 0, nil
	case atStart:
		line, next, err := p.line(b, 0)
		if err != nil {
			return 0, err
		}
		if next == 0 {
			return 0, p.wait(b, 0)
		}
		if err := p.take(next); err != nil {
			return 0, err
		}
		if err := p.statusLine(line, m); err != nil {
			return 0, err
		}
		p.state = atFields
		i = next
	}
	if i, err = p.fields(b, i, m); err != nil || p.state != atEnd {
		return i, err
	}
	return i, p.finishResponse(m)
}

// statusLine reads HTTP-version SP status-code SP [reason-phrase] (RFC 9112
// §4). Many servers leave the second space out with the phrase.
func (p *Parser) statusLine(line []byte, m *header.Map) *codec.Error {
	const code = len("HTTP/1.1 ")
	if len(line) < code+3 {
		return errStatusLine
	}
	switch string(line[:code]) {
	case "HTTP/1.1 ":
		p.head.Version = streaminfo.HTTP11
	case "HTTP/1.0 ":
		p.head.Version = streaminfo.HTTP10
	default:
		return errStatusLine
	}
	status := 0
	for _, c := range line[code : code+3] {
		if c < '0' || c > '9' {
			return errStatusLine
		}
		status = status*10 + int(c-'0')
	}
	rest := line[code+3:]
	if status < 100 || len(rest) > 0 && (rest[0] != ' ' || !validValue(rest)) {
		return errStatusLine
	}
	if len(rest) > 0 {
		p.head.Reason = rest[1:]
	}
	p.head.Status = status
	m.AddView(header.Status, line[code:code+3])
	return nil
}

// finishResponse decides on the body as RFC 9112 §6.3 does.
func (p *Parser) finishResponse(m *header.Map) *codec.Error {
	h := &p.head
	if err := p.finish(m); err != nil {
		return err
	}
	tunnel := p.connectRequest && h.Status/100 == 2
	if h.Status < 200 || h.Status == 204 || tunnel {
		if p.te {
			return errTEHere
		}
		// Envoy papers over a zero; after CONNECT any length is to be ignored.
		if h.ContentLength > 0 && !tunnel {
			return errLengthHere
		}
		m.Del(header.ContentLength)
		h.ContentLength = -1
	}
	if h.Status == 101 {
		if !p.upgradeRequest || h.HTTP10() || !p.upgrade || p.upgrades != 1 || !switchable(h.Protocol) {
			return errSwitch
		}
		m.AddView(header.Upgrade, h.Protocol)
		h.Upgrade = true
	} else {
		h.Protocol = nil
	}
	switch {
	case tunnel, h.Status == 101:
		h.Tunnel, h.KeepAlive = true, false
	case h.Status < 200, h.Status == 204, h.Status == 304, p.headRequest:
		// The coding or length is what a GET would have had.
		h.Chunked = false
	case h.Chunked:
		h.HasBody = true
	case h.ContentLength >= 0:
		h.HasBody = h.ContentLength > 0
	default:
		h.HasBody, h.UntilClose, h.KeepAlive = true, true, false
	}
	return nil
}
