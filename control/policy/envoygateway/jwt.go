// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"net/url"
	"time"

	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/jose"
	"weir.dev/weir/internal/memo"
)

// tokens are what an object says of tokens: its providers, by names that no other object
// has, and what is asked for.
type tokens struct {
	owner       source.Key
	providers   map[string]*jwtauthnv3.JwtProvider
	requirement *jwtauthnv3.JwtRequirement
	clusters    []graph.ClusterID
}

func (t *tokens) name() string { return t.owner.Kind.Kind + "/" + t.owner.Name.String() }

// readTokens reads the providers of an object. at is their path.
func (p *Policies) readTokens(c *memo.Ctx, s *sheet, at string, owner source.Key, j *api.JWT) *tokens {
	out := &tokens{owner: owner, providers: map[string]*jwtauthnv3.JwtProvider{}}
	if len(j.Providers) == 0 {
		s.bad(at, "is empty: name who signs tokens")
	}
	var names []string
	for i, from := range j.Providers {
		path := fmt.Sprintf("%s[%d]", at, i)
		name := out.name() + "/" + from.Name
		if out.providers[name] != nil {
			s.bad(path+".name", "%s stands twice", from.Name)
		}
		out.providers[name] = p.provider(c, s, path, out, &from)
		names = append(names, name)
	}
	out.requirement = build.AnyToken(names, is(j.Optional), is(j.FailOpen))
	return out
}

func (p *Policies) provider(c *memo.Ctx, s *sheet, at string, t *tokens, from *api.JWTProvider) *jwtauthnv3.JwtProvider {
	out := &jwtauthnv3.JwtProvider{
		Issuer: from.Issuer, Audiences: from.Audiences, Forward: true, ClearRouteCache: is(from.RecomputeRoute),
		// Authorization reads claims there.
		PayloadInMetadata:          from.Name,
		NormalizePayloadInMetadata: &jwtauthnv3.JwtProvider_NormalizePayload{SpaceDelimitedClaims: scopes[:]},
	}
	for _, h := range from.ClaimToHeaders {
		if !validHeader(h.Header) {
			s.bad(at+".claimToHeaders", "%q is not the name of a header", h.Header)
		}
		out.ClaimToHeaders = append(out.ClaimToHeaders, &jwtauthnv3.JwtClaimToHeader{HeaderName: h.Header, ClaimName: h.Claim})
	}
	if e := from.ExtractFrom; e != nil {
		for _, h := range e.Headers {
			if !validHeader(h.Name) || build.BadText(deref(h.ValuePrefix, "")) != "" {
				s.bad(at+".extractFrom.headers", "%q with the prefix %q is not a header", h.Name, deref(h.ValuePrefix, ""))
			}
			out.FromHeaders = append(out.FromHeaders, &jwtauthnv3.JwtHeader{Name: h.Name, ValuePrefix: deref(h.ValuePrefix, "")})
		}
		out.FromCookies, out.FromParams = e.Cookies, e.Params
	}
	switch {
	case (from.RemoteJWKS == nil) == (from.LocalJWKS == nil):
		s.bad(at, "give one of remoteJWKS and localJWKS")
	case from.RemoteJWKS != nil:
		p.remoteKeys(c, s, at+".remoteJWKS", t, from.RemoteJWKS, out)
	default:
		out.JwksSourceSpecifier = build.LocalKeys(localKeys(c, s, at+".localJWKS", t.owner.Namespace, from.LocalJWKS))
	}
	return out
}

// localKeys returns keys that are given.
func localKeys(c *memo.Ctx, s *sheet, at, namespace string, l *api.LocalJWKS) string {
	keys := deref(l.Inline, "")
	if r := l.ValueRef; deref(l.Type, "Inline") == "ValueRef" && r != nil {
		keys = valueOf(c, s, at+".valueRef", namespace, *r, "jwks")
	}
	// Proxies would refuse the listener for keys that are none.
	if _, status := jose.ParseKeys([]byte(keys)); status != jose.OK {
		s.bad(at, "is not a set of keys (JWKS): %s", status)
	}
	return keys
}

// valueOf returns what a ConfigMap has under a key or, without it, under its first.
func valueOf(c *memo.Ctx, s *sheet, at, namespace string, ref gwapiv1.LocalObjectReference, key string) string {
	name := source.Name{Namespace: namespace, Name: string(ref.Name)}
	if ref.Kind != "ConfigMap" || ref.Group != "" {
		s.bad(at, "%s cannot hold it: refer to a ConfigMap", source.A(string(ref.Kind)))
		return ""
	}
	m, ok := source.Get[*corev1.ConfigMap](c, source.ConfigMap, name)
	switch {
	case !ok:
		s.bad(at, "there is no ConfigMap %s", name)
		return ""
	case m.Data[key] != "":
		return m.Data[key]
	}
	for _, k := range sortedKeys(m.Data) {
		return m.Data[k]
	}
	s.bad(at, "ConfigMap %s is empty", name)
	return ""
}

// remoteKeys has keys fetched: from the backends that are named, or else from the host
// of the URI.
func (p *Policies) remoteKeys(c *memo.Ctx, s *sheet, at string, t *tokens, r *api.RemoteJWKS, out *jwtauthnv3.JwtProvider) {
	u, err := url.Parse(r.URI)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		s.bad(at+".uri", "%q is not the URI of keys, such as https://auth.example.com/jwks.json", r.URI)
		return
	}
	id, ok := p.called(c, s, at, t.owner, &r.BackendCluster, u)
	if !ok {
		return
	}
	t.clusters = append(t.clusters, id)
	keys := build.RemoteKeys(r.URI, id.Name(), s.positive(at+".cacheDuration", r.CacheDuration, time.Millisecond).AsDuration(), s.duration(at+".failedRefetchDuration", r.FailedRefetchDuration).AsDuration())
	keys.RemoteJwks.RetryPolicy = calls(s, at, &r.BackendCluster)
	out.JwksSourceSpecifier = keys
}
