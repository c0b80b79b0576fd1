// SPDX-License-Identifier: Apache-2.0

// Package statefulsession is Envoy's stateful session filter
// (envoy.filters.http.stateful_session): a cookie or header tells the client which host
// answered, and the client's next requests go there while the host is in the cluster
// and may be used. The address is the client's to choose: only hosts of the cluster
// are taken.
package statefulsession

import (
	"strings"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// Stats are the filter's statistics, below http.STAT_PREFIX.stateful_session.PREFIX.
type Stats struct {
	// Routed counts requests that reached the host of their session; FailedOpen those
	// that went to another; FailedClosed those that were refused; NoSession those
	// that had none to be kept.
	Routed       stats.Counter `stat:"routed"`
	FailedOpen   stats.Counter `stat:"failed_open"`
	FailedClosed stats.Counter `stat:"failed_closed"`
	NoSession    stats.Counter `stat:"no_session"`
}

// Session is a compiled StatefulSession.
type Session struct {
	disabled bool
	strict   bool
	status   int
	cookie   *route.HashCookie
	header   header.Name
}

// Filter is the filter in one chain.
type Filter struct {
	name    string
	slot    stream.Slot
	session *Session
	stats   *stats.Sharded[Stats] // nil without stat_prefix
}

// state is one request's session.
type state struct {
	of   *Session // nil if the filter is disabled
	kept bool     // there is a session to be kept
	host address.Addr
}

// Request looks for the host of the client's session.
func (f *Filter) Request(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	*st = state{of: f.session}
	if o, ok := stream.RouteConfig[*Session](s, f.name); ok {
		st.of = o
	}
	if st.of.disabled {
		st.of = nil
		return nil
	}
	st.host, st.kept = st.of.find(s.Request.Header)
	if st.host.IsValid() {
		s.Destination = stream.Destination{Address: st.host, Strict: st.of.strict, Status: st.of.status}
	}
	return nil
}

// Response tells the client which host answered, if it does not know.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	if st.of == nil {
		return nil
	}
	var count Stats
	n := &count
	if f.stats != nil {
		n = f.stats.At(s.Task().Loop().ID())
	}
	host := s.Info.Upstream.HostAddress
	switch {
	case !host.IsValid():
		if st.kept && st.of.strict && s.Info.Flags&streaminfo.NoHealthyUpstream != 0 {
			n.FailedClosed.Inc()
		}
	case !st.kept:
		n.NoSession.Inc()
	case host == st.host:
		n.Routed.Inc()
	default:
		st.of.tell(s.Response.Header, host)
		if !st.of.strict {
			n.FailedOpen.Inc()
		}
	}
	return nil
}

// find returns the host that a request names. kept is false if the session is none of
// this request's: without a kind of session, or on another path than the cookie's.
func (c *Session) find(h *header.Map) (host address.Addr, kept bool) {
	switch {
	case c.cookie != nil:
		if !under(string(h.Get(header.Path)), c.cookie.Path) {
			return address.Addr{}, false
		}
		v, _ := cookieValue(h, c.cookie.Name)
		return decodeCookie(v), true
	case !c.header.IsZero():
		return decodeHeader(h.Get(c.header)), true
	}
	return address.Addr{}, false
}

// tell writes the session into a response.
func (c *Session) tell(h *header.Map, host address.Addr) {
	if c.cookie == nil {
		h.SetBytes(c.header, encodeHeader(host))
		return
	}
	h.AddBytes(header.SetCookie, c.cookie.AppendSetCookie(nil, encodeCookie(host, c.cookie.TTL.Value)))
}

// under tells whether a request's path is below that of a cookie (RFC 6265 §5.1.4).
func under(path, cookie string) bool {
	if cookie == "" || cookie == "/" {
		return true
	}
	rest, ok := strings.CutPrefix(path, cookie)
	return ok && (rest == "" || strings.HasSuffix(cookie, "/") || strings.ContainsRune("/?#", rune(rest[0])))
}
