// SPDX-License-Identifier: Apache-2.0

// Package oauth2 logs users in at an authorization server before their requests go on
// (envoy.filters.http.oauth2): by the authorization code grant of OAuth 2.0 (RFC 6749
// §4.1) with PKCE (RFC 7636). What it knows of a session is in cookies that it signs and
// encrypts, so that any proxy with the same secret goes on with it.
//
// It keeps nothing itself, and verifies no token: a token comes from the token endpoint,
// and a session is as good as its signature.
package oauth2

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/oauth"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Stats are the filter's statistics (http.STAT_PREFIX.oauth_*).
type Stats struct {
	Unauthorized   stats.Counter `stat:"oauth_unauthorized_rq"`
	Failure        stats.Counter `stat:"oauth_failure"`
	Passthrough    stats.Counter `stat:"oauth_passthrough"`
	Success        stats.Counter `stat:"oauth_success"`
	Refreshed      stats.Counter `stat:"oauth_refreshtoken_success"`
	RefreshFailure stats.Counter `stat:"oauth_refreshtoken_failure"`
	AllowFailed    stats.Counter `stat:"oauth_allow_failed_passthrough"`
}

// Filter is the filter in one chain.
type Filter struct {
	name   string
	slot   stream.Slot
	own    *Settings // nil leaves requests alone whose route has none
	scope  *stats.Scope
	shards int

	mu     sync.Mutex
	counts map[string]*stats.Sharded[Stats] // by stat_prefix
}

// Settings are a compiled OAuth2Config.
type Settings struct {
	client    *oauth.Client
	log       *slog.Logger
	keys      *secret.Parsed[*keys]
	cookies   cookies
	counts    *stats.Sharded[Stats] // the filter's own; nil for those of a route
	statScope string

	authorize    endpoint
	resources    string // as they go to the end of a URL
	endSession   string
	redirectURI  route.Formatter
	original     route.Formatter // nil is scheme and host of the request
	postLogout   route.Formatter // nil is the root of the host
	noPostLogout bool
	callback     *match.Path
	signout      *match.Path
	domains      []string // lower case; none is any

	passThrough, denyRedirect, allowFailed []*match.Header

	forwardAccess, preserveAuthorization bool
	forwardID                            header.Name   // zero is none
	forwarded                            []header.Name // the headers of both
	refresh                              bool
	hideAccess, hideID, hideRefresh      bool // from cookies
	plain                                bool // tokens are not encrypted
	idLivesAsAccess                      bool

	defaultLife, refreshLife, nonceLife, verifierLife time.Duration
}

// state is what a stream keeps: the cookies that its response sets.
type state struct{ set []string }

var (
	oauthStatus = header.NewName("x-envoy-oauth-status")
	oauthReason = header.NewName("x-envoy-oauth-failure-reason")
)

// exchange is one request at work.
type exchange struct {
	*Settings
	f     *Filter
	s     *stream.Stream
	keys  *keys
	count *Stats
	have  session
	flow  string // the login that the request belongs to, once that is proven
}

// Request lets the request on if its user is logged in, or has the user log in.
func (f *Filter) Request(s *stream.Stream) error {
	h, c := s.Request.Header, f.own
	h.Del(oauthStatus)
	h.Del(oauthReason)
	if r, ok := stream.RouteConfig[*Settings](s, f.name); ok {
		c = r
	}
	if c == nil {
		return nil
	}
	count := f.count(c, s)
	if anyOf(c.passThrough, h) {
		count.Passthrough.Inc()
		return nil
	}
	x := &exchange{Settings: c, f: f, s: s, keys: c.keys.Load(), count: count}
	if x.keys == nil || !c.client.Ready() {
		count.Failure.Inc()
		s.Reply(stream.Reply{Status: http.StatusServiceUnavailable, Body: "Service Unavailable", Details: "oauth.secrets_not_ready"})
		return nil
	}
	return x.run()
}

func (x *exchange) run() error {
	h := x.s.Request.Header
	x.have = x.read(h)
	if !x.preserveAuthorization {
		h.Del(header.Authorization)
	}
	if !x.forwardID.IsZero() {
		h.Del(x.forwardID)
	}
	path := h.Get(header.Path)
	back := x.callback.Match(path)
	switch {
	case x.signout.Match(path):
		x.signOut()
		return nil
	case x.live(time.Now()):
		if back {
			x.alreadyIn()
			return nil
		}
		x.count.Success.Inc()
		x.pass(x.have.access, x.have.id)
		return nil
	case back:
		return x.exchangeCode()
	case x.refresh && x.have.refresh != "" && x.have.opened:
		return x.renew()
	}
	x.refuse("oauth.not_logged_in")
	return nil
}

// Response sets the cookies of a session that was refreshed.
func (f *Filter) Response(s *stream.Stream) error {
	for _, v := range stream.State[state](s, f.slot).set {
		s.Response.Header.Add(header.SetCookie, v)
	}
	return nil
}

// count is the statistics of a configuration, of the stream's loop.
func (f *Filter) count(c *Settings, s *stream.Stream) *Stats {
	if c.counts != nil {
		return c.counts.At(s.Task().Loop().ID())
	}
	return f.countsOf(c.statScope).At(s.Task().Loop().ID())
}

func (f *Filter) countsOf(prefix string) *stats.Sharded[Stats] {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.counts[prefix]
	if n == nil {
		n = stats.Register[Stats](f.scope.Scope(prefix), f.shards)
		f.counts[prefix] = n
	}
	return n
}

func (f *Filter) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.counts {
		n.Close()
	}
}

func anyOf(list []*match.Header, h *header.Map) bool {
	for _, m := range list {
		if m.Match(h) {
			return true
		}
	}
	return false
}

// session is what the cookies of a request say.
type session struct {
	access, id, refresh, expires, mac string
	opened                            bool // refresh is what was sealed
}

// read reads the session's cookies. A token that was not encrypted, from when it was not
// to be, is taken as it is; the signature tells whether it is good.
func (x *exchange) read(h *header.Map) session {
	v := session{opened: true}
	v.access, _ = x.open(token(h, x.cookies.access.name))
	v.id, _ = x.open(token(h, x.cookies.id.name))
	v.refresh, v.opened = x.open(token(h, x.cookies.refresh.name))
	v.expires, _ = match.CookieValue(h, x.cookies.expires.name)
	v.mac, _ = match.CookieValue(h, x.cookies.mac.name)
	// What CookieValue returns is a view of what changes.
	v.expires, v.mac = strings.Clone(v.expires), strings.Clone(v.mac)
	return v
}

func (x *exchange) open(text string) (string, bool) {
	if !x.plain {
		if t, ok := x.keys.open(text); ok && oauth.Safe(t) {
			return t, true
		}
	}
	return strings.Clone(text), x.plain && oauth.Safe(text)
}

// live reports whether the session is signed and not over.
func (x *exchange) live(now time.Time) bool {
	expires, err := strconv.ParseInt(x.have.expires, 10, 64)
	return err == nil && x.keys.signed(x.have.mac, x.scope(), x.have.expires, x.have.access, x.have.id, x.have.refresh) && expires > now.Unix()
}

// scope is where the session's cookies hold.
func (x *exchange) scope() string {
	if x.cookies.domain != "" {
		return x.cookies.domain
	}
	return string(x.s.Request.Header.Get(header.Authority))
}

// pass lets the request on with the tokens of a session.
func (x *exchange) pass(access, id string) {
	h := x.s.Request.Header
	x.cookies.forward(h, access, id)
	if x.forwardAccess && access != "" {
		h.Set(header.Authorization, "Bearer "+access)
	}
	switch {
	case x.forwardID.IsZero() || id == "":
	case x.forwardID == header.Authorization:
		h.Set(header.Authorization, "Bearer "+id)
	default:
		h.Set(x.forwardID, id)
	}
	x.s.Request.Bind(x.forwarded)
}

// refuse has the user log in, unless the request is to be answered or let on otherwise.
func (x *exchange) refuse(why string) {
	h := x.s.Request.Header
	switch {
	case anyOf(x.allowFailed, h):
		x.pass("", "")
		h.Set(oauthStatus, "failed")
		h.Set(oauthReason, why)
		x.count.AllowFailed.Inc()
	case anyOf(x.denyRedirect, h):
		x.unauthorized(why)
	default:
		x.login()
	}
}

// unauthorized answers 401, and ends the login that the request belongs to.
func (x *exchange) unauthorized(why string) {
	x.count.Failure.Inc()
	x.s.Reply(stream.Reply{
		Status: http.StatusUnauthorized, Body: "OAuth flow failed.", Details: why,
		Header: x.setting(x.cookies.endFlow(nil, x.flow), ""),
	})
}

// redirect sends the browser elsewhere.
func (x *exchange) redirect(to, details string, set []string) {
	x.s.Reply(stream.Reply{Status: http.StatusFound, Details: details, Header: x.setting(set, to)})
}

func (x *exchange) setting(set []string, to string) func(*header.Map) {
	return func(h *header.Map) {
		for _, v := range set {
			h.Add(header.SetCookie, v)
		}
		if to != "" {
			h.Set(header.Location, to)
		}
	}
}
