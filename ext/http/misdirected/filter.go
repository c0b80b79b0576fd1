// SPDX-License-Identifier: Apache-2.0

// Package misdirected answers 421 (Misdirected Request, RFC 9110 §15.5.20) to
// requests that came by a TLS connection opened for another name. HTTP/2 clients may
// use a connection for every name that its certificate has (RFC 9113 §9.1.1); where
// filter chains differ by server name, such a request would be judged by the rules of
// another name: its client certificates, its filters, its routes. A client that is
// told 421 opens a connection for the right name and asks again.
//
// It is an extension of Weir's own, and looks at nothing but names.
package misdirected

import (
	"net/http"
	"strings"
	"unsafe"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Stats are the filter's statistics, below those of the connection manager
// (http.STAT_PREFIX.*).
type Stats struct {
	Refused stats.Counter `stat:"misdirected.refused"`
}

// Filter is the filter in one chain.
type Filter struct {
	allow       []allowed
	certificate bool
	stats       *stats.Sharded[Stats]
}

// allowed are the hosts for which connections to a server name may be used.
type allowed struct {
	server name
	hosts  []name
}

// name is a host's name in lower case or, if wild, the end of names, which begins
// with a dot.
type name struct {
	text string
	wild bool
}

func (n name) match(host string) bool {
	if !n.wild {
		return strings.EqualFold(n.text, host)
	}
	cut := len(host) - len(n.text)
	return cut > 0 && strings.EqualFold(n.text, host[cut:])
}

// Request refuses a request for a host that its connection is not for. Without TLS
// or a server name there is nothing to compare, and CONNECT names where to go to
// and not who is asked (RFC 9110 §9.3.6).
func (f *Filter) Request(s *stream.Stream) error {
	c := s.Info.Conn
	if c == nil || c.TLS == nil || c.ServerName == "" || tunnel(s.Request.Header) {
		return nil
	}
	host := hostOf(s.Request.Header.Get(header.Authority))
	if strings.EqualFold(host, c.ServerName) || f.covers(c, host) {
		return nil
	}
	f.stats.At(s.Task().Loop().ID()).Refused.Inc()
	s.Reply(stream.Reply{
		Status:  http.StatusMisdirectedRequest,
		Body:    "this connection is for another host",
		Details: "misdirected_request",
	})
	return nil
}

// Response does nothing.
func (*Filter) Response(*stream.Stream) error { return nil }

func (f *Filter) covers(c *streaminfo.Connection, host string) bool {
	for i := range f.allow {
		if !f.allow[i].server.match(c.ServerName) {
			continue
		}
		for _, n := range f.allow[i].hosts {
			if n.match(host) {
				return true
			}
		}
	}
	return f.certificate && c.TLS.LocalCert != nil && c.TLS.LocalCert.VerifyHostname(host) == nil
}

// tunnel reports whether the request is CONNECT, but not the extended one of RFC
// 8441 §4, whose authority is that of any other request.
func tunnel(h *header.Map) bool {
	return string(h.Get(header.Method)) == http.MethodConnect && !h.Has(header.Protocol)
}

// hostOf returns the host of an authority, without its port and the dot that may end
// a name. It is valid as long as the authority.
func hostOf(authority []byte) string {
	host := unsafe.String(unsafe.SliceData(authority), len(authority))
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	return strings.TrimSuffix(host, ".")
}
