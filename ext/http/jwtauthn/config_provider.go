// SPDX-License-Identifier: Apache-2.0

package jwtauthn

import (
	"errors"
	"fmt"
	"strings"
	"time"

	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/internal/jose"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/upstream/call"
)

// Defaults of Envoy's, but for defaultCache: there nothing is remembered without
// jwt_cache_config.
const (
	defaultSkew       = 60 // seconds
	defaultCache      = 1000
	defaultCached     = 4096 // bytes of a token
	defaultConfigured = 100
	maxCache          = 1 << 20
	defaultKeysAge    = 10 * time.Minute
	defaultAgain      = time.Second
	defaultTimeout    = 5 * time.Second
	maxKeysAge        = 365 * 24 * time.Hour
	shortestAgain     = time.Millisecond
)

func (b *builder) provider(name string, m *jwtauthnv3.JwtProvider) (*provider, error) {
	p := &provider{
		name: name, issuer: m.GetIssuer(), audiences: m.GetAudiences(), requireExpires: m.GetRequireExpiration(),
		forward: m.GetForward(), pad: m.GetPadForwardPayloadHeader(),
		payloadKey: m.GetPayloadInMetadata(), headerKey: m.GetHeaderInMetadata(), failedKey: m.GetFailedStatusInMetadata(),
		spaced: m.GetNormalizePayloadInMetadata().GetSpaceDelimitedClaims(),
		skew:   defaultSkew, clearRoute: m.GetClearRouteCache(),
	}
	if s := m.GetClockSkewSeconds(); s > 0 {
		p.skew = uint64(s)
	}
	if d := m.GetMaxLifetime(); d != nil {
		p.requireExpires, p.maxLifetime = true, d.AsDuration()
		p.limited = true
	}
	if m.GetSubjects() != nil {
		x, err := match.CompileString(m.GetSubjects())
		if err != nil {
			return nil, fmt.Errorf("subjects: %w", err)
		}
		p.subjects = x
	}
	if err := p.locate(m); err != nil {
		return nil, err
	}
	if err := p.write(m); err != nil {
		return nil, err
	}
	b.cache(p, m.GetJwtCacheConfig())
	var err error
	p.source, err = b.source(m)
	return p, err
}

// locate says where tokens of the provider are.
func (p *provider) locate(m *jwtauthnv3.JwtProvider) error {
	for i, h := range m.GetFromHeaders() {
		name, err := header.ParseName(h.GetName())
		if err != nil {
			return fmt.Errorf("from_headers[%d].name: %w", i, err)
		}
		p.locations = append(p.locations, location{kind: inHeader, header: name, prefix: h.GetValuePrefix()})
	}
	for _, n := range m.GetFromParams() {
		p.locations = append(p.locations, location{kind: inQuery, name: n})
	}
	for _, n := range m.GetFromCookies() {
		p.locations = append(p.locations, location{kind: inCookie, name: n})
	}
	if len(p.locations) == 0 {
		p.locations = []location{{kind: inHeader, header: header.Authorization, prefix: "Bearer "}, {kind: inQuery, name: "access_token"}}
	}
	for i := range p.locations {
		p.locations[i].allow(p.issuer)
	}
	return nil
}

// write says which headers are written.
func (p *provider) write(m *jwtauthnv3.JwtProvider) error {
	if n := m.GetForwardPayloadHeader(); n != "" {
		var err error
		if p.payloadHeader, err = header.ParseName(n); err != nil {
			return fmt.Errorf("forward_payload_header: %w", err)
		}
	}
	for i, c := range m.GetClaimToHeaders() {
		name, err := header.ParseName(c.GetHeaderName())
		if err != nil {
			return fmt.Errorf("claim_to_headers[%d].header_name: %w", i, err)
		}
		if (c.GetClaimName() == "") == (len(c.GetClaimPath()) == 0) {
			return fmt.Errorf("claim_to_headers[%d]: set either claim_name or claim_path", i)
		}
		path := strings.Split(c.GetClaimName(), ".")
		if len(c.GetClaimPath()) > 0 {
			path = nil
			for _, s := range c.GetClaimPath() {
				path = append(path, s.GetKey())
			}
		}
		p.claims = append(p.claims, claimHeader{name, path})
	}
	return nil
}

// cache makes the caches of verified tokens, one for each loop.
func (b *builder) cache(p *provider, m *jwtauthnv3.JwtCacheConfig) {
	most := defaultCache
	p.cached = defaultCached
	if m != nil {
		most = min(int(m.GetJwtCacheSize()), maxCache)
		if most == 0 {
			most = defaultConfigured
		}
		if n := m.GetJwtMaxTokenSize(); n > 0 {
			p.cached = int(n)
		}
	}
	for range b.c.Loops {
		p.caches = append(p.caches, newCache(most))
	}
}

// source says where the keys are.
func (b *builder) source(m *jwtauthnv3.JwtProvider) (source, error) {
	switch s := m.GetJwksSourceSpecifier().(type) {
	case *jwtauthnv3.JwtProvider_LocalJwks:
		slot, err := b.c.Secrets.Data(s.LocalJwks)
		if err != nil {
			return nil, fmt.Errorf("local_jwks: %w", err)
		}
		keys, err := secret.NewParsed(slot, readKeys, b.c.Log("jwt"))
		if err != nil {
			return nil, fmt.Errorf("local_jwks: %w: give a JSON Web Key Set (RFC 7517)", err)
		}
		return local{keys}, nil
	case *jwtauthnv3.JwtProvider_RemoteJwks:
		r, err := b.remote(s.RemoteJwks)
		if err != nil {
			return nil, fmt.Errorf("remote_jwks.%w", err)
		}
		b.remotes = append(b.remotes, r)
		return r, nil
	}
	return nil, errors.New("jwks_source_specifier: there are no keys: set remote_jwks or local_jwks")
}

func (b *builder) remote(m *jwtauthnv3.RemoteJwks) (*remote, error) {
	service, err := call.CompileURI(m.GetHttpUri())
	if err != nil {
		return nil, fmt.Errorf("http_uri.%w", err)
	}
	service.Limit = jose.MaxKeys
	if service.Timeout <= 0 {
		service.Timeout = defaultTimeout
	}
	if service.Retry, err = call.CompileRetry(m.GetRetryPolicy()); err != nil {
		return nil, fmt.Errorf("retry_policy.%w", err)
	}
	if r := service.Retry; r != nil && r.On == 0 {
		r.On, _ = route.ParseRetryOn("5xx,gateway-error,connect-failure,reset")
	}
	r := newRemote(m.GetHttpUri().GetUri(), service, b.c)
	r.age = min(duration(m.GetCacheDuration(), defaultKeysAge), maxKeysAge)
	r.again = max(duration(m.GetAsyncFetch().GetFailedRefetchDuration(), defaultAgain), shortestAgain)
	r.count = b.fetches.At(0)
	if a := m.GetAsyncFetch(); a != nil && !a.GetFastListener() && b.c.Await != nil && !b.c.Checking {
		w, ready := b.c.Resources.Pending("JWKS", r.uri)
		b.c.Await(w)
		r.ready = ready
	}
	return r, nil
}

func duration(d *durationpb.Duration, otherwise time.Duration) time.Duration {
	if d == nil || d.AsDuration() <= 0 {
		return otherwise
	}
	return d.AsDuration()
}
