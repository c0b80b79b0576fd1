// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// Request reads a request head, see [Parser]. The map gets :method, :path
// (path and query; not for CONNECT), :authority if the request names one, and
// :scheme if its target is in absolute form.
func (p *Parser) Request(b []byte, m *header.Map) (n int, done bool, err error) {
	n, e := p.request(b, m)
	if e != nil {
		p.state, p.failed = atError, e
		return n, false, e
	}
	return n, p.state == atEnd, nil
}

func (p *Parser) request(b []byte, m *header.Map) (i int, err *codec.Error) {
	switch p.state {
	case atError:
		return 0, p.failed
	case atEnd:
		return 0, nil
	case atStart:
		if i, err = p.requestLine(b, m); err != nil || p.state == atStart {
			return i, err
		}
	}
	if i, err = p.fields(b, i, m); err != nil || p.state != atEnd {
		return i, err
	}
	return i, p.finishRequest(m)
}

// requestLine consumes the request line and empty lines before it.
func (p *Parser) requestLine(b []byte, m *header.Map) (i int, err *codec.Error) {
	// RFC 9112 §2.2: an empty line may precede a request.
	for len(b)-i >= 2 && b[i] == '\r' && b[i+1] == '\n' {
		if p.blank++; p.blank > maxBlankLines {
			return i, errBlank
		}
		p.scanned = 0
		i += 2
		p.head.Size += 2
	}
	line, next, err := p.line(b, i)
	if err != nil {
		return i, err
	}
	limit := p.opts.MaxLineBytes
	if next == 0 {
		if limit > 0 && len(b)-i > limit+1 {
			return i, errLine
		}
		return i, p.wait(b, i)
	}
	if limit > 0 && len(line) > limit {
		return i, errLine
	}
	if err := p.take(next - i); err != nil {
		return i, err
	}
	if err := p.startLine(line, m); err != nil {
		return i, err
	}
	p.state = atFields
	return next, nil
}

// startLine reads method SP request-target SP HTTP-version (RFC 9112 §3).
func (p *Parser) startLine(line []byte, m *header.Map) *codec.Error {
	sp := 0
	for sp < len(line) && lowerToken[line[sp]] != 0 {
		sp++
	}
	const version = len(" HTTP/1.1")
	if sp == 0 || sp == len(line) || line[sp] != ' ' || len(line) < sp+1+version {
		return errRequestLine
	}
	method, target := line[:sp], line[sp+1:len(line)-version]
	switch v := line[len(line)-version:]; string(v) {
	case " HTTP/1.1":
		p.head.Version = streaminfo.HTTP11
	case " HTTP/1.0":
		p.head.Version = streaminfo.HTTP10
	default:
		return p.versionError(method, target, v)
	}
	if !p.opts.AllowCustomMethods && !knownMethod(method) {
		return errMethod
	}
	p.isConnect = string(method) == "CONNECT"
	m.AddView(header.Method, method)
	return p.target(method, target, m)
}

func (p *Parser) versionError(method, target, v []byte) *codec.Error {
	if string(v[:6]) != " HTTP/" || v[6] < '0' || v[6] > '9' || v[7] != '.' || v[8] < '0' || v[8] > '9' {
		return errVersion
	}
	if p.blank == 0 && string(method) == "PRI" && string(target) == "*" && string(v) == " HTTP/2.0" {
		return errPreface
	}
	return errVersion505
}

// knownMethod reports whether Envoy's parser takes the method by default.
func knownMethod(b []byte) bool {
	switch string(b) {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
		"ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR",
		"MKCOL", "MOVE", "MSEARCH", "M-SEARCH", "NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "REBIND",
		"REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE":
		return true
	}
	return false
}

// hostField takes the Host field: it becomes :authority unless the target had
// one, which then wins (RFC 9112 §3.2.2).
func (p *Parser) hostField(v []byte, m *header.Map) *codec.Error {
	if p.host {
		return errManyHost
	}
	p.host = true
	// An empty value is right for a target without authority.
	if len(v) > 0 && !codec.ValidAuthority(v) {
		return errHost
	}
	if !p.authority {
		m.AddView(header.Authority, v)
	}
	return nil
}

func (p *Parser) finishRequest(m *header.Map) *codec.Error {
	h := &p.head
	if !p.host && !h.HTTP10() {
		return errNoHost
	}
	if !p.host && !p.authority && p.opts.DefaultHostForHTTP10 != "" {
		m.Add(header.Authority, p.opts.DefaultHostForHTTP10)
	}
	if err := p.finish(m); err != nil {
		return err
	}
	if p.teTrailers {
		m.Add(header.TE, "trailers")
	}
	if p.isConnect {
		// RFC 9110 §9.3.6: content in a CONNECT request has no meaning.
		if h.Chunked || h.ContentLength > 0 {
			return errBody
		}
		m.Del(header.ContentLength)
		h.ContentLength = -1
	}
	h.HasBody = h.Chunked || h.ContentLength > 0
	// An upgrade may always be ignored (RFC 9110 §7.8). It is where it would
	// leave doubt: in HTTP/1.0, with content, in several lines, to h2c.
	h.Upgrade = p.upgrade && p.upgrades == 1 && !h.HTTP10() && !h.HasBody && !p.isConnect &&
		switchable(h.Protocol)
	if p.opts.UpgradeH2C && p.upgrade && p.upgrades == 1 && p.settingses == 1 && !h.HTTP10() && !h.HasBody && !p.isConnect &&
		header.EqualLower(h.Protocol, "h2c") {
		h.H2C = p.settings
	}
	if h.Upgrade {
		m.AddView(header.Upgrade, h.Protocol)
	} else {
		h.Protocol = nil
	}
	if h.HTTP10() && !p.opts.AcceptHTTP10 {
		return errHTTP10
	}
	return nil
}

// switchable reports whether v lists protocols to switch to, none of them h2c:
// an HTTP/2 back end reached that way would be out of any filter's sight.
func switchable(v []byte) bool {
	for rest := v; rest != nil; {
		var o []byte
		o, rest = member(rest)
		if len(o) >= 3 && header.EqualLower(o[:3], "h2c") && (len(o) == 3 || o[3] == '/') {
			return false
		}
		slash := false
		for i, c := range o {
			if c == '/' && !slash && i > 0 && i < len(o)-1 {
				slash = true
			} else if lowerToken[c] == 0 {
				return false
			}
		}
	}
	return len(v) > 0
}
