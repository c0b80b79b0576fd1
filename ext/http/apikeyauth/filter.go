// SPDX-License-Identifier: Apache-2.0

// Package apikeyauth lets requests through that carry the key of a client that is known
// (envoy.filters.http.api_key_auth).
package apikeyauth

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"strings"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Filter is the filter in one chain.
type Filter struct {
	name  string
	own   *Settings
	stats *stats.Sharded[Stats]
}

// hash is that of a key: keys are found by it in a time that says nothing of them.
type hash = [sha256.Size]byte

// Settings are those of the filter, or of a route: what a route does not say, the filter
// does.
type Settings struct {
	clients    map[hash]string
	places     []source
	forwarding *forwarding
	allowed    map[string]bool // clients of a route; nil: all
}

// source is where a key may be; one of the fields is set.
type source struct {
	header        header.Name
	query, cookie string
}

type forwarding struct {
	header header.Name // zero: none
	hide   bool
}

// Stats are the filter's statistics (http.STAT_PREFIX.api_key_auth.*).
type Stats struct {
	Allowed      stats.Counter `stat:"allowed"`
	Unauthorized stats.Counter `stat:"unauthorized"`
	Forbidden    stats.Counter `stat:"forbidden"`
}

// Request lets the request through or refuses it.
func (f *Filter) Request(s *stream.Stream) error {
	clients, places, forward := f.own.clients, f.own.places, f.own.forwarding
	r, routed := stream.RouteConfig[*Settings](s, f.name)
	if routed {
		if r.clients != nil {
			clients = r.clients
		}
		if r.places != nil {
			places = r.places
		}
		if r.forwarding != nil {
			forward = r.forwarding
		}
	}
	h, count := s.Request.Header, f.stats.At(s.Task().Loop().ID())
	unauthorized := func(details string) error {
		count.Unauthorized.Inc()
		s.Reply(stream.Reply{Status: http.StatusUnauthorized, Body: "Client authentication failed.", Details: details})
		return nil
	}
	switch {
	case len(places) == 0:
		return unauthorized("missing_key_sources")
	case len(clients) == 0:
		return unauthorized("missing_credentials")
	}
	key := find(places, h)
	if key == "" {
		return unauthorized("missing_api_key")
	}
	client, ok := clients[sha256.Sum256([]byte(key))]
	if !ok {
		return unauthorized("unknown_api_key")
	}
	if routed && r.allowed != nil && !r.allowed[client] {
		count.Forbidden.Inc()
		s.Reply(stream.Reply{Status: http.StatusForbidden, Body: "Client is forbidden.", Details: "client_not_allowed"})
		return nil
	}
	if forward != nil {
		if forward.hide {
			for _, p := range places {
				p.remove(h)
			}
		}
		if !forward.header.IsZero() {
			h.Set(forward.header, client)
		}
	}
	count.Allowed.Inc()
	return nil
}

// Response does nothing.
func (f *Filter) Response(*stream.Stream) error { return nil }

// find returns the first key, "" if there is none.
func find(places []source, h *header.Map) string {
	for _, p := range places {
		if key := p.get(h); key != "" {
			return key
		}
	}
	return ""
}

func (p *source) get(h *header.Map) string {
	switch {
	case !p.header.IsZero():
		return strings.TrimPrefix(string(h.Get(p.header)), "Bearer ")
	case p.query != "":
		v, _ := match.QueryValue(string(h.Get(header.Path)), p.query)
		if d, err := url.QueryUnescape(v); err == nil {
			v = d
		}
		return v
	}
	v, _ := match.CookieValue(h, p.cookie)
	return v
}

func (p *source) remove(h *header.Map) {
	switch {
	case !p.header.IsZero():
		h.Del(p.header)
	case p.query != "":
		h.SetBytes(header.Path, match.QueryWithout(h.Get(header.Path), p.query))
	default:
		match.CookieWithout(h, p.cookie)
	}
}
