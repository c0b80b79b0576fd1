// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"net/http"
	"strconv"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// PassedRedirects count redirects that were to be followed here and were passed to the
// client, by the reason.
type PassedRedirects struct {
	BadLocation  stats.Counter `stat:"passthrough_internal_redirect_bad_location"`
	UnsafeScheme stats.Counter `stat:"passthrough_internal_redirect_unsafe_scheme"`
	TooMany      stats.Counter `stat:"passthrough_internal_redirect_too_many_redirects"`
	NoRoute      stats.Counter `stat:"passthrough_internal_redirect_no_route"`
	Predicate    stats.Counter `stat:"passthrough_internal_redirect_predicate"`
}

// redirects is the key of the filter state that counts a request's internal redirects.
const redirects = "num_internal_redirects"

var originalURL = header.NewName("x-envoy-original-url")

// follow takes the request where the response redirects it, if the route's
// internal_redirect_policy says so: it then goes through all filters once more. A
// redirect that cannot be followed is passed to the client.
func (q *request) follow(status int) bool {
	p := q.route.Forward.InternalRedirect
	if p == nil || !p.Handles(status) {
		return false
	}
	next := q.led
	if next == nil {
		next = q.redirected(p, status)
	}
	q.led = nil
	if next == nil {
		q.up.Stats.InternalRedirectFailedTotal.Inc()
		return false
	}
	s := q.s
	q.up.Stats.InternalRedirectSucceededTotal.Inc()
	q.up.Stats.Response(status)
	q.judge(status)
	s.Info.Response, s.Info.Status, s.Info.StatusDetails = &q.head, status, "internal_redirect"
	q.deferred = false // Nobody reads its trailers.
	q.drain()
	s.Again(next)
	return true
}

// leads reports whether a try of several has brought a redirect that is followed, and then
// makes it the one at hand.
func (q *request) leads(t *try, status int) bool {
	p := q.route.Forward.InternalRedirect
	if p == nil || !p.Handles(status) {
		return false
	}
	before := q.try
	q.try = t
	if q.led = q.redirected(p, status); q.led != nil {
		return true
	}
	q.up.Stats.InternalRedirectFailedTotal.Inc()
	q.try = before
	return false
}

// redirected returns the request that a redirect asks for; nil if it is not followed.
func (q *request) redirected(p *route.InternalRedirectPolicy, status int) *stream.Message {
	s, st := q.s, &q.w.stats.Passed
	h := s.Request.Header
	hadBody := s.Request.Body != nil
	if q.ended == 0 || !q.complete || q.tunnel || s.Upgrade || hadBody && !(q.replay.done && q.replay.rewindable()) || !q.head.Has(header.Location) {
		return nil // The request is not there whole to be sent again, or goes nowhere.
	}
	to, ok := parseLocation(q.head.Get(header.Location))
	if ok {
		to.path, ok = s.Canonical(to.path)
	}
	if !ok {
		st.BadLocation.Inc()
		return nil
	}
	https := string(h.Get(header.Scheme)) == "https"
	if https != to.https && !p.AllowCrossSchemeRedirect {
		st.UnsafeScheme.Inc()
		return nil
	}
	if s.Info.FilterState == nil {
		s.Info.FilterState = streaminfo.FilterState{}
	}
	followed, _ := s.Info.FilterState[redirects].Value.(uint32)
	if followed >= p.MaxRedirects {
		st.TooMany.Inc()
		return nil
	}
	head := q.redirectedHead(p, &to)
	r := s.MatchAs(head)
	if r == nil {
		st.NoRoute.Inc()
		return nil
	}
	if !p.Accepts(&route.RedirectTarget{From: q.route.Name, To: r.Name, FromHTTPS: https, ToHTTPS: to.https, State: s.Info.FilterState}) {
		st.Predicate.Inc()
		return nil
	}
	s.Info.FilterState[redirects] = streaminfo.StateObject{Value: followed + 1, Text: strconv.Itoa(int(followed) + 1)}
	next := &stream.Message{Header: head, Trailer: s.Request.Trailer, Spelling: s.Request.Spelling}
	switch method := string(head.Get(header.Method)); {
	case status == http.StatusSeeOther && method != http.MethodGet && method != http.MethodHead: // RFC 9110 §15.4.4.
		head.Set(header.Method, http.MethodGet)
		head.Del(header.ContentLength)
		next.Trailer = nil
	case hadBody:
		body := bytes.Clone(q.replay.kept)
		next.Body, next.Length = stream.NewBytes(body), int64(len(body))
	}
	return next
}

// redirectedHead is the request's head, as it was sent, made one for another place.
func (q *request) redirectedHead(p *route.InternalRedirectPolicy, to *location) *header.Map {
	old, h := q.s.Request.Header, q.s.HeadElsewhere()
	for _, n := range p.HeadersToCopy {
		h.Del(n)
		for v := range q.head.Values(n) {
			h.AddBytes(n, v)
		}
	}
	scheme := "http"
	if to.https {
		scheme = "https"
	}
	h.Set(header.Scheme, scheme)
	h.SetBytes(header.Authority, to.authority)
	h.SetBytes(header.Path, to.path)
	url := append([]byte(nil), old.Get(header.Scheme)...)
	url = append(append(url, "://"...), old.Get(header.Authority)...)
	h.SetBytes(originalURL, append(url, old.Get(header.Path)...))
	return h
}

// location is where a redirect leads. Its slices are of the header that said so.
type location struct {
	https           bool
	authority, path []byte
}

// parseLocation reads an absolute URL of http or https. Its fragment is for the client
// and left out.
func parseLocation(v []byte) (l location, ok bool) {
	scheme, rest, ok := bytes.Cut(v, []byte("://"))
	switch {
	case !ok:
		return l, false
	case header.EqualLower(scheme, "https"):
		l.https = true
	case !header.EqualLower(scheme, "http"):
		return l, false
	}
	rest, _, _ = bytes.Cut(rest, []byte("#"))
	l.authority, l.path = rest, []byte("/")
	if i := bytes.IndexAny(rest, "/?"); i >= 0 {
		l.authority, l.path = rest[:i], rest[i:]
		if l.path[0] == '?' {
			l.path = append([]byte("/"), l.path...)
		}
	}
	return l, codec.ValidAuthority(l.authority) && codec.ValidTarget(l.path)
}
