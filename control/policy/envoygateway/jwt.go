// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/cluster"
	"weir.dev/weir/control/policy/envoygateway/sheet"
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
func (p *Policies) readTokens(c *memo.Ctx, s *sheet.Sheet, at string, owner source.Key, j *api.JWT) *tokens {
	out := &tokens{owner: owner, providers: map[string]*jwtauthnv3.JwtProvider{}}
	if len(j.Providers) == 0 {
		s.Bad(at, "is empty: name who signs tokens")
	}
	var names []string
	for i, from := range j.Providers {
		path := fmt.Sprintf("%s[%d]", at, i)
		name := out.name() + "/" + from.Name
		if out.providers[name] != nil {
			s.Bad(path+".name", "%s stands twice", from.Name)
		}
		out.providers[name] = p.provider(c, s, path, out, &from)
		names = append(names, name)
	}
	out.requirement = build.AnyToken(names, ptr.Deref(j.Optional, false), ptr.Deref(j.FailOpen, false))
	return out
}

func (p *Policies) provider(c *memo.Ctx, s *sheet.Sheet, at string, t *tokens, from *api.JWTProvider) *jwtauthnv3.JwtProvider {
	out := &jwtauthnv3.JwtProvider{
		Issuer: from.Issuer, Audiences: from.Audiences, Forward: true, ClearRouteCache: ptr.Deref(from.RecomputeRoute, false),
		// Authorization reads claims there.
		PayloadInMetadata:          from.Name,
		NormalizePayloadInMetadata: &jwtauthnv3.JwtProvider_NormalizePayload{SpaceDelimitedClaims: scopes[:]},
	}
	for _, h := range from.ClaimToHeaders {
		if !validHeader(h.Header) {
			s.Bad(at+".claimToHeaders", "%q is not the name of a header", h.Header)
		}
		out.ClaimToHeaders = append(out.ClaimToHeaders, &jwtauthnv3.JwtClaimToHeader{HeaderName: h.Header, ClaimName: h.Claim})
	}
	if e := from.ExtractFrom; e != nil {
		for _, h := range e.Headers {
			if !validHeader(h.Name) || build.BadText(ptr.Deref(h.ValuePrefix, "")) != "" {
				s.Bad(at+".extractFrom.headers", "%q with the prefix %q is not a header", h.Name, ptr.Deref(h.ValuePrefix, ""))
			}
			out.FromHeaders = append(out.FromHeaders, &jwtauthnv3.JwtHeader{Name: h.Name, ValuePrefix: ptr.Deref(h.ValuePrefix, "")})
		}
		out.FromCookies, out.FromParams = e.Cookies, e.Params
	}
	switch {
	case (from.RemoteJWKS == nil) == (from.LocalJWKS == nil):
		s.Bad(at, "give one of remoteJWKS and localJWKS")
	case from.RemoteJWKS != nil:
		p.remoteKeys(c, s, at+".remoteJWKS", t, from.RemoteJWKS, out)
	default:
		out.JwksSourceSpecifier = build.LocalKeys(localKeys(c, s, at+".localJWKS", t.owner.Namespace, from.LocalJWKS))
	}
	return out
}

// localKeys returns keys that are given.
func localKeys(c *memo.Ctx, s *sheet.Sheet, at, namespace string, l *api.LocalJWKS) string {
	keys := ptr.Deref(l.Inline, "")
	if r := l.ValueRef; ptr.Deref(l.Type, "Inline") == "ValueRef" && r != nil {
		keys = valueOf(c, s, at+".valueRef", namespace, *r, "jwks")
	}
	// Proxies would refuse the listener for keys that are none.
	if _, status := jose.ParseKeys([]byte(keys)); status != jose.OK {
		s.Bad(at, "is not a set of keys (JWKS): %s", status)
	}
	return keys
}

// valueOf returns what a ConfigMap has under a key or, without it, under its first.
func valueOf(c *memo.Ctx, s *sheet.Sheet, at, namespace string, ref gwapiv1.LocalObjectReference, key string) string {
	name := source.Name{Namespace: namespace, Name: string(ref.Name)}
	if ref.Kind != "ConfigMap" || ref.Group != "" {
		s.Bad(at, "%s cannot hold it: refer to a ConfigMap", source.A(string(ref.Kind)))
		return ""
	}
	m, ok := source.Get[*corev1.ConfigMap](c, source.ConfigMap, name)
	if !ok {
		s.Bad(at, "there is no ConfigMap %s", name)
		return ""
	}
	data := attach.DataOf(m)
	if text, ok := data[key]; ok {
		return string(text)
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		return string(data[k])
	}
	s.Bad(at, "ConfigMap %s is empty", name)
	return ""
}

// remoteKeys has keys fetched: from the backends that are named, or else from the host
// of the URI.
func (p *Policies) remoteKeys(c *memo.Ctx, s *sheet.Sheet, at string, t *tokens, r *api.RemoteJWKS, out *jwtauthnv3.JwtProvider) {
	u, err := url.Parse(r.URI)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		s.Bad(at+".uri", "%q is not the URI of keys, such as https://auth.example.com/jwks.json", r.URI)
		return
	}
	id, ok := p.callees.Called(c, s, at, t.owner, &r.BackendCluster, u)
	if !ok {
		return
	}
	t.clusters = append(t.clusters, id)
	keys := build.RemoteKeys(r.URI, id.Name(), s.Positive(at+".cacheDuration", r.CacheDuration, time.Millisecond).AsDuration(), s.Duration(at+".failedRefetchDuration", r.FailedRefetchDuration).AsDuration())
	keys.RemoteJwks.RetryPolicy = cluster.Calls(s, at, &r.BackendCluster)
	out.JwksSourceSpecifier = keys
}
