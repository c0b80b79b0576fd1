// SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// endpoint is a URL with parameters of its own.
type endpoint struct {
	base   string      // to the query
	params [][2]string // encoded
}

// newEndpoint splits a URL. Parameters of a name in taken are left out.
func newEndpoint(text string, taken ...string) endpoint {
	base, query, _ := strings.Cut(text, "?")
	e := endpoint{base: base}
next:
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		for _, t := range taken {
			if k == t {
				continue next
			}
		}
		if pair != "" {
			e.params = append(e.params, [2]string{k, v})
		}
	}
	return e
}

// with is the URL with further parameters.
func (e *endpoint) with(more ...[2]string) string {
	var b strings.Builder
	b.WriteString(e.base)
	sep := "?"
	for _, list := range [][][2]string{e.params, more} {
		for _, p := range list {
			b.WriteString(sep + p[0] + "=" + p[1])
			sep = "&"
		}
	}
	return b.String()
}

// escape encodes for a query; a space is %20, as all servers read it.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// wanted is the state that goes to the authorization server and comes back. Sum binds the page to the login: who
// gets hold of a state cannot have its browser sent elsewhere. Envoy's states, which have none, are not taken.
type wanted struct {
	URL  string `json:"url"`
	CSRF string `json:"csrf_token"`
	Flow string `json:"flow_id"`
	Sum  string `json:"url_mac"`
}

// bind signs the page of a login. Other signatures are of one line, or of five.
func (k *keys) bind(flow, page string) string { return k.sign("page", flow, page) }

func (w *wanted) encode() string {
	b, err := json.Marshal(w)
	if err != nil {
		panic("BUG: a state of strings: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseState reads a state, of which nothing is proven.
func parseState(text string) (wanted, bool) {
	var w wanted
	if t, err := url.QueryUnescape(text); err == nil {
		text = t
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || json.Unmarshal(b, &w) != nil {
		return wanted{}, false
	}
	return w, w.URL != "" && w.CSRF != "" && isFlow(w.Flow)
}

// webURL reads the URL of a page, to which a browser may be sent.
func webURL(text string) (*url.URL, bool) {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, false
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, false
	}
	return u, true
}

// allows reports whether browsers may be sent to a URL's host.
func (c *Settings) allows(u *url.URL) bool {
	if len(c.domains) == 0 {
		return true
	}
	host := strings.ToLower(u.Hostname())
	for _, d := range c.domains {
		if suffix, wild := strings.CutPrefix(d, "*"); wild {
			if len(host) > len(suffix) && strings.HasSuffix(host, suffix) {
				return true
			}
		} else if host == d {
			return true
		}
	}
	return false
}

// login sends the browser to the authorization server.
func (x *exchange) login() {
	h := x.s.Request.Header
	base := ""
	if x.original != nil {
		base = string(x.original.AppendTo(nil, &x.s.Info))
	} else {
		base = scheme(h) + "://" + string(h.Get(header.Authority))
	}
	page, ok := webURL(base + string(h.Get(header.Path)))
	if !ok || !x.allows(page) {
		x.unauthorized("oauth.original_url_not_allowed")
		return
	}
	redirectURI := string(x.redirectURI.AppendTo(nil, &x.s.Info))
	u, ok := webURL(redirectURI)
	if !ok || !x.allows(u) {
		x.unauthorized("oauth.redirect_uri_not_allowed")
		return
	}
	flow, verifier := newFlow(), newVerifier()
	csrf := flow + "." + x.keys.sign(flow)
	wants := base + string(h.Get(header.Path))
	state := wanted{URL: wants, CSRF: csrf, Flow: flow, Sum: x.keys.bind(flow, wants)}
	to := x.authorize.with(
		[2]string{"client_id", escape(x.client.ID)}, [2]string{"response_type", "code"},
		[2]string{"redirect_uri", escape(redirectURI)}, [2]string{"state", state.encode()},
		[2]string{"code_challenge", challenge(verifier)}, [2]string{"code_challenge_method", "S256"},
	) + x.resources
	c := &x.cookies
	set := []string{
		c.nonce.name + "." + flow + "=" + csrf + c.tail(&c.nonce, seconds(x.nonceLife)),
		c.verifier.name + "." + flow + "=" + x.keys.seal(verifier) + c.tail(&c.verifier, seconds(x.verifierLife)),
	}
	x.count.Unauthorized.Inc()
	x.redirect(to, "oauth.missing_credentials", c.oldFlows(set, h))
}

// scheme is what the page was asked for by: https, unless it was clearly http.
func scheme(h *header.Map) string {
	if string(h.Get(header.Scheme)) == "http" {
		return "http"
	}
	return "https"
}

// answer is what the authorization server sent the browser back with, once it is proven
// that the browser began the login.
type answer struct{ code, page string }

// back reads the request that the authorization server sent the browser back with. why
// is "" if all is well.
func (x *exchange) back() (a answer, why string) {
	h := x.s.Request.Header
	path := string(h.Get(header.Path))
	text, told := match.QueryValue(path, "state")
	w, ok := parseState(text)
	if ok && x.began(h, &w) {
		x.flow = w.Flow
	}
	if _, failed := match.QueryValue(path, "error"); failed {
		return a, "oauth.authorization_server_error"
	}
	code, has := match.QueryValue(path, "code")
	code, err := url.QueryUnescape(code)
	page, good := webURL(w.URL)
	switch {
	case !told || !has || code == "" || err != nil:
		return a, "oauth.no_code_or_state"
	case !ok:
		return a, "oauth.invalid_state"
	case x.flow == "":
		return a, "oauth.csrf_token_mismatch"
	case !good || !x.allows(page):
		return a, "oauth.original_url_not_allowed"
	case x.callback.Match([]byte(page.RequestURI())):
		return a, "oauth.redirect_loop" // The page is this very one.
	}
	return answer{code, w.URL}, ""
}

// began reports whether this browser has begun the login of a state: it has the cookie
// with the same token, which is ours, and the page is the one that it was to come to.
func (x *exchange) began(h *header.Map, w *wanted) bool {
	have, _ := match.CookieValue(h, x.cookies.nonce.name+"."+w.Flow)
	sig, ok := strings.CutPrefix(w.CSRF, w.Flow+".")
	return ok && same(have, w.CSRF) && x.keys.signed(sig, w.Flow) && same(w.Sum, x.keys.bind(w.Flow, w.URL))
}

// alreadyIn answers a browser that comes back from the authorization server and is logged
// in already, by another of its requests.
func (x *exchange) alreadyIn() {
	a, why := x.back()
	if why != "" {
		x.unauthorized(why)
		return
	}
	x.redirect(a.page, "oauth.race_redirect", x.cookies.endFlow(nil, x.flow))
}

// signOut ends the session.
func (x *exchange) signOut() {
	h, c := x.s.Request.Header, &x.cookies
	var set []string
	for _, k := range []*cookie{&c.mac, &c.access, &c.id, &c.refresh, &c.expires} {
		set = append(set, c.removal(k, k.name))
	}
	seen := map[string]bool{}
	eachCookie(h, func(name, _ string) {
		if seen[name] || len(set) >= maxRemovals {
			return
		}
		seen[name] = true
		for _, k := range []*cookie{&c.access, &c.id, &c.refresh} {
			if isChunk(name, k.name) {
				set = append(set, c.removal(k, name))
			}
		}
		for _, k := range []*cookie{&c.nonce, &c.verifier} {
			if _, ok := flowOf(name, k.name); ok || name == k.name {
				set = append(set, c.removal(k, name))
			}
		}
	})
	home := scheme(h) + "://" + string(h.Get(header.Authority)) + "/"
	x.redirect(x.signOutURL(home), "oauth.sign_out", set)
}

// signOutURL is where a browser goes that has signed out: to the authorization server, if
// it is to end its session, too (OpenID Connect RP-Initiated Logout 1.0 §2).
func (x *exchange) signOutURL(home string) string {
	if x.endSession == "" {
		return home
	}
	e := newEndpoint(x.endSession)
	more := [][2]string{{"id_token_hint", escape(x.have.id)}, {"client_id", escape(x.client.ID)}}
	if !x.noPostLogout {
		if x.postLogout != nil {
			home = string(x.postLogout.AppendTo(nil, &x.s.Info))
		}
		more = append(more, [2]string{"post_logout_redirect_uri", escape(home)})
	}
	return e.with(more...)
}
