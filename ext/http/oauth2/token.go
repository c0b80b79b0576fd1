// SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/oauth"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream/call"
)

// exchangeCode gets tokens for the code that the authorization server sent the browser
// back with, and sends the browser to the page that it wanted.
func (x *exchange) exchangeCode() error {
	a, why := x.back()
	if why != "" {
		x.unauthorized(why)
		return nil
	}
	sealed, _ := match.CookieValue(x.s.Request.Header, x.cookies.verifier.name+"."+x.flow)
	verifier, ok := x.keys.open(sealed)
	if !ok {
		x.unauthorized("oauth.no_code_verifier")
		return nil
	}
	t, err := x.ask(url.Values{
		"grant_type": {"authorization_code"}, "code": {a.code}, "code_verifier": {verifier},
		"redirect_uri": {string(x.redirectURI.AppendTo(nil, &x.s.Info))},
	})
	switch {
	case call.Abandoned(err):
		return err
	case err != nil:
		x.unauthorized("oauth.token_request_failed")
		return nil
	}
	x.count.Success.Inc()
	x.redirect(a.page, "oauth.logged_in", x.cookies.endFlow(x.sessionOf(&t), x.flow))
	return nil
}

// renew gets new tokens for the refresh token (RFC 6749 §6) and lets the request on.
func (x *exchange) renew() error {
	t, err := x.ask(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {x.have.refresh}})
	switch {
	case call.Abandoned(err):
		return err
	case err != nil:
		x.count.RefreshFailure.Inc()
		x.refuse("oauth.refresh_failed")
		return nil
	}
	if t.Refresh == "" {
		t.Refresh = x.have.refresh // It stays good.
	}
	x.count.Refreshed.Inc()
	x.count.Success.Inc()
	stream.State[state](x.s, x.f.slot).set = x.sessionOf(&t)
	x.pass(t.Access, t.ID)
	return nil
}

// ask makes a call to the token endpoint. An error that is not of the stream is told in
// the log.
func (x *exchange) ask(form url.Values) (oauth.Token, error) {
	var k *call.Call
	var err error
	begin := func() { k, err = x.client.Begin(form) }
	if x.client.Signs() {
		x.s.Foreign(begin)
	} else {
		begin()
	}
	var t oauth.Token
	if err == nil {
		defer k.End()
		k.Trace(x.s.Span)
		if err = k.Do(x.s.Running()); err == nil {
			t, err = oauth.Read(k)
		}
	}
	if t.Lifetime == 0 {
		t.Lifetime = x.defaultLife
	}
	if err == nil && t.Lifetime == 0 {
		err = errNoLifetime
	}
	if err != nil && !call.Abandoned(err) {
		x.log.Debug("tokens could not be had", "cluster", x.client.Calls.Service().Cluster, "grant", form.Get("grant_type"), "reason", err)
	}
	return t, err
}

// sessionOf makes the cookies of a session. It takes from t what is not to be kept.
func (x *exchange) sessionOf(t *oauth.Token) []string {
	access, id, refresh := t.Access, t.ID, t.Refresh
	if x.hideAccess {
		access = ""
	}
	if x.hideID {
		id = ""
	}
	if !x.refresh || x.hideRefresh {
		refresh = ""
	}
	*t = oauth.Token{Access: access, ID: id, Refresh: refresh, Lifetime: t.Lifetime}
	now := time.Now()
	life := seconds(t.Lifetime)
	expires := strconv.FormatInt(now.Unix()+life, 10)
	c, h := &x.cookies, x.s.Request.Header
	set := []string{
		c.mac.name + "=" + x.keys.sign(x.scope(), expires, access, id, refresh) + c.tail(&c.mac, life),
		c.expires.name + "=" + expires + c.tail(&c.expires, life),
	}
	for _, v := range []struct {
		k     *cookie
		token string
		life  int64
	}{{&c.access, access, life}, {&c.id, id, x.idLife(id, now, life)}, {&c.refresh, refresh, x.refreshLifeOf(refresh, now)}} {
		if v.token == "" {
			set = c.removeStale(set, h, v.k, 0)
			continue
		}
		if !x.plain {
			v.token = x.keys.seal(v.token)
		}
		set = c.setToken(set, h, v.k, v.token, v.life)
	}
	return set
}

// idLife is how long the cookie of the ID token lives: as the token says, or else as the
// access token does.
func (x *exchange) idLife(id string, now time.Time, life int64) int64 {
	if x.idLivesAsAccess {
		return life
	}
	if at, ok := oauth.Expiry(id); ok {
		return max(at.Unix()-now.Unix(), 0)
	}
	return life
}

func (x *exchange) refreshLifeOf(refresh string, now time.Time) int64 {
	if at, ok := oauth.Expiry(refresh); ok {
		return max(at.Unix()-now.Unix(), 0)
	}
	return seconds(x.refreshLife)
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// scopesOf is the scope parameter (RFC 6749 §3.3); none is "user", as in Envoy.
func scopesOf(list []string) string {
	if len(list) == 0 {
		return "user"
	}
	return escape(strings.Join(list, " "))
}

var errNoLifetime = errors.New("the answer of the token endpoint has no expires_in, and there is no default_expires_in")
