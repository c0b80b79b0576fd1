// SPDX-License-Identifier: Apache-2.0

package jwtauthn

import (
	"crypto/sha256"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/internal/jose"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stream"
)

// provider is one issuer of tokens.
type provider struct {
	name, issuer string
	audiences    []string // empty: any
	subjects     *match.String
	// requireExpires asks for exp; limited, that it is within maxLifetime.
	requireExpires, limited bool
	maxLifetime             time.Duration
	skew                    uint64 // seconds
	locations               []location

	forward, pad, clearRoute         bool
	payloadHeader                    header.Name // zero: none
	claims                           []claimHeader
	payloadKey, headerKey, failedKey string
	spaced                           []string

	source source
	caches []*cache // by loop
	cached int      // the largest token that is remembered, in bytes
}

// writes are the headers that the provider writes.
func (p *provider) writes() []header.Name {
	var out []header.Name
	if !p.payloadHeader.IsZero() {
		out = append(out, p.payloadHeader)
	}
	for _, c := range p.claims {
		out = append(out, c.header)
	}
	return out
}

// group is several providers, told apart by who issued a token.
type group struct {
	providers []*provider
	locations []location
}

// group joins the locations of providers.
func (b *builder) group(names []string) group {
	var g group
	for _, n := range names {
		p := b.providers[n]
		if p == nil {
			continue // It is told of where it is required.
		}
		g.providers = append(g.providers, p)
		for _, l := range p.locations {
			g.locations = addLocation(g.locations, l, p.issuer)
		}
	}
	return g
}

// of returns the provider of an issuer, or else the first that does not look at issuers.
func (g *group) of(issuer string) *provider {
	var rest *provider
	for _, p := range g.providers {
		if p.issuer == issuer {
			return p
		}
		if p.issuer == "" && rest == nil {
			rest = p
		}
	}
	return rest
}

// requirement is what a request must have.
type requirement interface {
	verify(v *verification) jose.Status
}

type (
	// required asks for valid tokens of one provider.
	required struct {
		p         *provider
		audiences []string // in place of the provider's
	}
	either []requirement
	all    []requirement
	// optional lets through what has no token and, if failed is set, what has a wrong one.
	optional struct {
		group  group
		failed bool
	}
	// extractOnly takes what tokens claim on trust.
	extractOnly struct {
		group group
		mark  header.Name // zero: none
	}
)

// verification is what one request is at.
type verification struct {
	s     *stream.Stream
	loop  int
	count *Stats
	now   uint64
	// routed tells that something was written that the route may depend on.
	routed bool
	err    error // the stream ended while keys were waited for
}

func (v *verification) finish() {
	if v.routed {
		v.s.ClearRoute()
	}
}

func (r *required) verify(v *verification) jose.Status {
	status := v.tokens(r.p.locations, func(l *location, raw string) jose.Status {
		return v.token(r.p, nil, l, raw, r.audiences)
	})
	if status != jose.OK && r.p.failedKey != "" {
		note(v.s, r.p.failedKey, map[string]any{"code": strconv.Itoa(int(status)), "message": status.String()})
	}
	return status
}

// verify returns OK if one of them does, and otherwise what says most of why not.
func (r either) verify(v *verification) jose.Status {
	worst := jose.Missing
	for _, x := range r {
		switch s := x.verify(v); s {
		case jose.OK:
			return s
		case jose.Missing:
		case jose.UnknownIssuer:
			if worst == jose.Missing {
				worst = s
			}
		default:
			worst = s
		}
	}
	return worst
}

func (r all) verify(v *verification) jose.Status {
	for _, x := range r {
		if s := x.verify(v); s != jose.OK {
			return s
		}
	}
	return jose.OK
}

func (r *optional) verify(v *verification) jose.Status {
	status := v.tokens(r.group.locations, func(l *location, raw string) jose.Status {
		s := v.token(nil, &r.group, l, raw, nil)
		if r.failed {
			return jose.OK
		}
		return s
	})
	if status == jose.Missing {
		return jose.OK
	}
	return status
}

func (r *extractOnly) verify(v *verification) jose.Status {
	_ = v.tokens(r.group.locations, func(l *location, raw string) jose.Status {
		t, s := jose.Parse(raw)
		if s != jose.OK {
			return jose.OK
		}
		if !r.mark.IsZero() {
			v.s.Request.Header.Set(r.mark, "false")
		}
		if p := r.group.of(t.Issuer); p != nil && l.allows(t.Issuer) {
			v.accept(p, l, p.read(t))
		}
		return jose.OK
	})
	return jose.OK
}

// maxTokens bounds the tokens of one request.
const maxTokens = 32

// tokens calls f for each token at the locations, until one is refused. All must be
// valid: who is behind the proxy may use any of them.
func (v *verification) tokens(list []location, f func(l *location, raw string) jose.Status) jose.Status {
	var buf [4]found
	tokens := extract(buf[:0], list, v.s.Request.Header)
	switch {
	case len(tokens) == 0:
		return jose.Missing
	case len(tokens) > maxTokens:
		return jose.BadFormat
	}
	for i := len(tokens) - 1; i >= 0; i-- {
		if s := f(tokens[i].at, tokens[i].text); s != jose.OK {
			return s
		}
	}
	return jose.OK
}

// token verifies one token: of p or, if that is nil, of the provider in g that issued it.
func (v *verification) token(p *provider, g *group, l *location, raw string, audiences []string) jose.Status {
	key := sha256.Sum256(view(raw))
	known := v.remembered(p, g, key)
	var t *jose.Token
	if known != nil {
		v.count.Hit.Inc()
		t = known.token
	} else {
		v.count.Miss.Inc()
		var s jose.Status
		if t, s = jose.Parse(strings.Clone(raw)); s != jose.OK {
			return s
		}
	}
	if !l.allows(t.Issuer) {
		return jose.UnknownIssuer
	}
	if g != nil {
		p = g.of(t.Issuer)
	}
	if p == nil {
		return jose.UnknownIssuer
	}
	if len(audiences) == 0 {
		audiences = p.audiences
	}
	if s := p.judge(t, v.now, audiences); s != jose.OK {
		return s
	}
	if known == nil {
		keys, err := p.source.wait(v.s)
		if err != nil {
			v.err = err
			return jose.KeysFetchFailed
		}
		if keys == nil {
			return jose.KeysFetchFailed
		}
		if s := keys.Verify(t); s != jose.OK {
			return s
		}
		known = p.read(t)
		if len(raw) <= p.cached {
			p.caches[v.loop].put(key, known, keys)
		}
	}
	v.accept(p, l, known)
	return jose.OK
}

// remembered returns what is known of a token that was verified with the keys of now.
func (v *verification) remembered(p *provider, g *group, key hash) *verified {
	if p != nil {
		return p.caches[v.loop].get(key, p.source.keys())
	}
	for _, p := range g.providers {
		if x := p.caches[v.loop].get(key, p.source.keys()); x != nil && g.of(x.token.Issuer) == p {
			return x
		}
	}
	return nil
}

// judge looks at all of a token but its signature.
func (p *provider) judge(t *jose.Token, now uint64, audiences []string) jose.Status {
	if s := t.Live(now, p.skew); s != jose.OK {
		return s
	}
	if !allowed(audiences, t.Audiences) {
		return jose.AudienceNotAllowed
	}
	if p.subjects != nil && !p.subjects.Match(t.Subject) {
		return jose.VerificationFailed
	}
	if p.requireExpires && t.Expires == 0 {
		return jose.VerificationFailed
	}
	if p.limited && t.Expires > now && t.Expires-now >= uint64(p.maxLifetime/time.Second) {
		return jose.VerificationFailed
	}
	return jose.OK
}

// allowed reports whether a token's audiences have one that is asked for. As in Envoy
// the scheme of a URL and a slash at its end do not count.
func allowed(want, have []string) bool {
	if len(want) == 0 {
		return true
	}
	for _, h := range have {
		for _, w := range want {
			if h == w || bare(h) == bare(w) {
				return true
			}
		}
	}
	return false
}

func bare(audience string) string {
	for _, scheme := range []string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(audience, scheme); ok {
			audience = rest
			break
		}
	}
	return strings.TrimSuffix(audience, "/")
}

// accept hands on what a token claims.
func (v *verification) accept(p *provider, l *location, x *verified) {
	h := v.s.Request.Header
	for i := range x.headers {
		h.Add(x.headers[i].name, x.headers[i].value)
	}
	if !p.forward {
		l.remove(h)
	}
	if p.headerKey != "" {
		note(v.s, p.headerKey, x.token.Header)
	}
	if p.payloadKey != "" {
		note(v.s, p.payloadKey, x.payload)
	}
	if p.clearRoute && (x.claimed || p.payloadKey != "") {
		v.routed = true
	}
}
