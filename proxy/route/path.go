// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bytes"
	"unsafe"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

type pathKind uint8

const (
	pathPrefix pathKind = iota
	pathExact
	pathSeparated
	pathRegex
	pathTemplate
	pathConnect
)

// pathMatcher is RouteMatch.path_specifier.
type pathMatcher struct {
	kind pathKind
	fold bool   // case_sensitive: false
	text string // in lower case if fold
	re   *match.Regex
}

// hasPrefix reports whether path begins with the matcher's text.
func (p *pathMatcher) hasPrefix(path []byte) bool {
	if len(path) < len(p.text) {
		return false
	}
	if p.fold {
		return header.EqualLower(path[:len(p.text)], p.text)
	}
	return string(path[:len(p.text)]) == p.text
}

// requestPath is a request's :path without query and fragment, and cut at the
// first ';' too if path parameters are ignored. A template always sees whole.
type requestPath struct {
	whole, path []byte
	present     bool
}

func (t *common) requestPath(h *header.Map) requestPath {
	p := h.Get(header.Path)
	if p == nil {
		return requestPath{}
	}
	whole := match.TrimQuery(p)
	rp := requestPath{whole: whole, path: whole, present: true}
	if t.ignoreParams {
		if i := bytes.IndexByte(whole, ';'); i >= 0 {
			rp.path = whole[:i]
		}
	}
	return rp
}

func (p *pathMatcher) match(rp *requestPath, h *header.Map) bool {
	if p.kind == pathConnect {
		return isConnect(h)
	}
	if !rp.present {
		return false
	}
	switch p.kind {
	case pathPrefix:
		return p.hasPrefix(rp.path)
	case pathExact:
		return len(rp.path) == len(p.text) && p.hasPrefix(rp.path)
	case pathSeparated:
		n := len(p.text)
		return p.hasPrefix(rp.path) && (len(rp.path) == n || rp.path[n] == '/')
	case pathRegex:
		return p.re.MatchBytes(rp.path)
	}
	return p.re.MatchBytes(rp.whole)
}

// isConnect reports whether a request is a CONNECT, or an extended CONNECT or
// upgrade for UDP (RFC 9298). Other extended CONNECTs (RFC 8441) are upgrades
// to Envoy, with a path of their own.
func isConnect(h *header.Map) bool {
	if string(h.Get(header.Method)) == "CONNECT" {
		p := h.Get(header.Protocol)
		return len(p) == 0 || string(p) == "bytestream" || header.EqualLower(p, "connect-udp")
	}
	u := h.Get(header.Upgrade)
	return u != nil && header.EqualLower(u, "connect-udp")
}

// conditions are those of a RouteMatch beyond its path: all must hold.
type conditions struct {
	runtime              *match.RuntimeFraction
	grpc                 bool
	headers              match.Headers
	queries              match.Queries
	cookies              match.Cookies
	presented, validated Toggle
	metadata             []*match.Metadata
	state                []*match.FilterState
}

func (c *conditions) match(rt match.Runtime, r *Request) bool {
	if c.runtime != nil && !c.runtime.Enabled(rt, r.Random) {
		return false
	}
	if c.grpc && !isGRPC(r.Header) {
		return false
	}
	if !c.headers.Match(r.Header) {
		return false
	}
	if len(c.queries) > 0 && !c.queries.Match(r.Header.Get(header.Path)) {
		return false
	}
	if !c.cookies.Match(r.Header) {
		return false
	}
	return c.matchInfo(r.Info)
}

func (c *conditions) matchInfo(info *streaminfo.Stream) bool {
	if c.presented != Unset || c.validated != Unset {
		var tls *streaminfo.TLS
		if info != nil && info.Conn != nil {
			tls = info.Conn.TLS
		}
		if c.presented != Unset && (c.presented == Enabled) != (tls != nil && len(tls.PeerCerts) > 0) {
			return false
		}
		if c.validated != Unset && (c.validated == Enabled) != (tls != nil && tls.PeerVerified) {
			return false
		}
	}
	if len(c.metadata) == 0 && len(c.state) == 0 {
		return true
	}
	var md streaminfo.Metadata
	var fs streaminfo.FilterState
	if info != nil {
		md, fs = info.Metadata, info.FilterState
	}
	for _, m := range c.metadata {
		if !m.Match(md) {
			return false
		}
	}
	for _, m := range c.state {
		if !m.Match(fs) {
			return false
		}
	}
	return true
}

// isGRPC reports whether the content-type is application/grpc or
// application/grpc+something; application/grpc-web is not.
func isGRPC(h *header.Map) bool {
	const grpc = "application/grpc"
	v := h.Get(header.ContentType)
	if !h.Has(header.Path) || len(v) < len(grpc) || string(v[:len(grpc)]) != grpc {
		return false
	}
	return len(v) == len(grpc) || v[len(grpc)] == '+'
}

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
