// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/url"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	oauth2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/oauth2/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/cluster"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Keys of the Secrets that a policy names.
const (
	clientIDKey     = "client-id"
	clientSecretKey = "client-secret"
)

// What holds if a policy does not say, as in Envoy Gateway.
const (
	defaultRedirect = "%REQ(x-forwarded-proto)%://%REQ(:authority)%/oauth2/callback"
	defaultLogout   = "/logout"
	tokenTimeout    = 10 // seconds
)

// oidc has users log in at a provider. jwt is what the policy says of tokens.
func (x *compiledSecurity) oidc(c *memo.Ctx, p *Policies, owner source.Name, o *api.OIDC, jwt *api.JWT) {
	if o == nil {
		return
	}
	before := len(x.Refused)
	at := x.provider(c, o)
	out := &oauth2v3.OAuth2Config{
		AuthorizationEndpoint: at.authorization, EndSessionEndpoint: at.endSession, AuthType: oauth2v3.OAuth2Config_BASIC_AUTH,
		AuthScopes: o.Scopes, Resources: o.Resources, RedirectUri: ptr.Deref(o.RedirectURL, defaultRedirect), SignoutPath: pathIs(ptr.Deref(o.LogoutPath, defaultLogout)),
		ForwardBearerToken: ptr.Deref(o.ForwardAccessToken, false), UseRefreshToken: wrapperspb.Bool(o.RefreshToken == nil || *o.RefreshToken),
		DefaultExpiresIn: x.Duration("oidc.defaultTokenTTL", o.DefaultTokenTTL), DefaultRefreshTokenExpiresIn: x.Duration("oidc.defaultRefreshTokenTTL", o.DefaultRefreshTokenTTL),
		CsrfTokenExpiresIn: x.Duration("oidc.csrfTokenTTL", o.CSRFTokenTTL), DisableTokenEncryption: ptr.Deref(o.DisableTokenEncryption, false),
		DenyRedirectMatcher: x.denyRedirect(o.DenyRedirect), PassThroughMatcher: x.passThrough(o, jwt),
	}
	// A login has both cookies, or neither is of use.
	out.CodeVerifierTokenExpiresIn = out.CsrfTokenExpiresIn
	if !slices.Contains(out.AuthScopes, "openid") {
		out.AuthScopes = append(slices.Clone(out.AuthScopes), "openid")
	}
	if p := ptr.Deref(o.LogoutPath, "/"); !strings.HasPrefix(p, "/") {
		x.Bad("oidc.logoutPath", "%q is not a path: it begins with /", p)
	}
	out.RedirectPathMatcher = pathIs(x.redirectPath(out.RedirectUri))
	x.forwardID(o, out)
	secret := x.credentials(c, owner, o, out)
	var id graph.ClusterID
	if u, err := url.Parse(at.token); at.token != "" && err == nil {
		var found bool
		if id, found = p.callees.Called(c, &x.Sheet, "oidc.provider", source.Key{Kind: source.SecurityPolicy, Name: owner}, &o.Provider.BackendCluster, u); !found {
			return
		}
		out.TokenEndpoint = &corev3.HttpUri{
			Uri: at.token, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: id.Name()}, Timeout: &durationpb.Duration{Seconds: tokenTimeout},
		}
		out.RetryPolicy = cluster.Calls(&x.Sheet, "oidc.provider", &o.Provider.BackendCluster)
	}
	if len(x.Refused) > before {
		return
	}
	m := &oauth2v3.OAuth2PerRoute{Config: out}
	if err := m.ValidateAll(); err != nil {
		x.Bad("oidc", "cannot be done: %v", err)
		return
	}
	perFilter(x.route, build.OAuth2, build.Any(m))
	x.filters[build.OAuth2] = &oauth2v3.OAuth2{}
	x.clusters, x.secrets = append(x.clusters, id), append(x.secrets, graph.SecretValue(secret, clientSecretKey), graph.CookieKey(secret, clientSecretKey))
}

// endpoints are where a provider is asked.
type endpoints struct{ authorization, token, endSession string }

// provider returns where the provider is asked: as the policy says, or as the provider
// itself does, which has been asked if the policy does not.
func (x *compiledSecurity) provider(c *memo.Ctx, o *api.OIDC) endpoints {
	p := &o.Provider
	out := endpoints{ptr.Deref(p.AuthorizationEndpoint, ""), ptr.Deref(p.TokenEndpoint, ""), ptr.Deref(p.EndSessionEndpoint, "")}
	if p.WantsDiscovery() {
		i, _ := source.Get[*source.Issuer](c, source.Issuers, source.IssuerName(p.Issuer))
		switch {
		case p.Issuer == "":
			x.Bad("oidc.provider.issuer", "is empty: name the provider, or give authorizationEndpoint and tokenEndpoint")
			return out
		case i == nil:
			x.Bad("oidc.provider.issuer", "%s has not been asked yet for its configuration", p.Issuer)
			return endpoints{}
		case i.TokenEndpoint == "":
			x.Bad("oidc.provider.issuer", "the configuration of %s cannot be had: %s; or give authorizationEndpoint and tokenEndpoint", p.Issuer, i.Problem)
			return endpoints{}
		}
		out = endpoints{cmp.Or(out.authorization, i.AuthorizationEndpoint), cmp.Or(out.token, i.TokenEndpoint), cmp.Or(out.endSession, i.EndSessionEndpoint)}
	}
	for _, e := range []struct{ field, text string }{{"authorizationEndpoint", out.authorization}, {"tokenEndpoint", out.token}, {"endSessionEndpoint", out.endSession}} {
		u, err := url.Parse(e.text)
		if e.text != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "") {
			x.Bad("oidc.provider."+e.field, "%q is not a URL such as https://login.example.com/%s", e.text, strings.TrimSuffix(e.field, "Endpoint"))
		}
	}
	return out
}

// redirectPath is the path of a redirect URL, which may have operators of formats in it.
func (x *compiledSecurity) redirectPath(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	host, path, slash := strings.Cut(rest, "/")
	switch {
	case !ok || scheme != "http" && scheme != "https" && scheme != "%REQ(x-forwarded-proto)%", host == "" || !slash || path == "" || strings.ContainsAny(path, "?#%"):
		x.Bad("oidc.redirectURL", "%q is not a URL with a path of its own, such as https://www.example.com/oauth2/callback", text)
		return "/"
	}
	return "/" + path
}

func pathIs(path string) *matcherv3.PathMatcher {
	return &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: build.Text(path, false)}}
}

func (x *compiledSecurity) forwardID(o *api.OIDC, out *oauth2v3.OAuth2Config) {
	if o.ForwardIDToken == nil {
		return
	}
	h := o.ForwardIDToken.Header
	switch {
	case !validHeader(h) || strings.EqualFold(h, "host"):
		x.Bad("oidc.forwardIDToken.header", "%q is not the name of a header for it", h)
	case strings.EqualFold(h, "authorization") && ptr.Deref(o.ForwardAccessToken, false):
		x.Bad("oidc.forwardIDToken.header", "is %s, where forwardAccessToken puts the access token: name another, or remove one", h)
	}
	out.ForwardIdToken = &oauth2v3.OAuth2TokenForwarding{Header: h}
}

// denyRedirect are the requests that are answered 401 rather than sent to log in.
func (x *compiledSecurity) denyRedirect(d *api.OIDCDenyRedirect) []*routev3.HeaderMatcher {
	if d == nil {
		return nil
	}
	var out []*routev3.HeaderMatcher
	for i, h := range d.Headers {
		at := fmt.Sprintf("oidc.denyRedirect.headers[%d]", i)
		if !validHeader(h.Name) && !slices.Contains([]string{":path", ":method", ":authority", ":scheme"}, h.Name) {
			x.Bad(at+".name", "%q is not the name of a header", h.Name)
		}
		if m := stringMatch(&x.Sheet, at, h.StringMatch); m != nil {
			out = append(out, &routev3.HeaderMatcher{Name: h.Name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}})
		}
	}
	return out
}

// passThrough are the requests that have a token which the policy's jwt judges.
func (x *compiledSecurity) passThrough(o *api.OIDC, jwt *api.JWT) []*routev3.HeaderMatcher {
	if !ptr.Deref(o.PassThroughAuthHeader, false) {
		return nil
	}
	if jwt == nil || ptr.Deref(jwt.FailOpen, false) {
		x.Bad("oidc.passThroughAuthHeader", "needs jwt, without failOpen, to judge what is passed through: without it any token would let in")
		return nil
	}
	var out []*routev3.HeaderMatcher
	add := func(name, prefix string) {
		m := &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
		if prefix != "" {
			m.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: build.Prefix(prefix)}
		}
		out = append(out, m)
	}
	for _, p := range jwt.Providers {
		switch e := p.ExtractFrom; {
		case e == nil:
			add("authorization", "Bearer ")
		default:
			for _, h := range e.Headers {
				add(h.Name, ptr.Deref(h.ValuePrefix, ""))
			}
		}
	}
	return out
}

// credentials says who the client is, and what its cookies are called. It returns the
// Secret that has the client's secret.
func (x *compiledSecurity) credentials(c *memo.Ctx, owner source.Name, o *api.OIDC, out *oauth2v3.OAuth2Config) source.Name {
	cr := &oauth2v3.OAuth2Credentials{ClientId: ptr.Deref(o.ClientID, ""), CookieDomain: ptr.Deref(o.CookieDomain, "")}
	out.Credentials = cr
	switch {
	case (o.ClientID == nil) == (o.ClientIDRef == nil):
		x.Bad("oidc.clientID", "give one of clientID and clientIDRef")
	case o.ClientIDRef != nil:
		if s := secretOf(c, &x.Sheet, "oidc.clientIDRef", source.Key{Kind: source.SecurityPolicy, Name: owner}, *o.ClientIDRef); s != nil {
			if cr.ClientId = string(s.Data[clientIDKey]); cr.ClientId == "" {
				x.Bad("oidc.clientIDRef", "%s of Secret %s is not there, or empty", clientIDKey, source.NameOf(s))
			}
		}
	case cr.ClientId == "":
		x.Bad("oidc.clientID", "is empty: say what the provider calls the client")
	}
	var name source.Name
	if s := secretOf(c, &x.Sheet, "oidc.clientSecret", source.Key{Kind: source.SecurityPolicy, Name: owner}, o.ClientSecret); s != nil {
		name = source.NameOf(s)
		if len(s.Data[clientSecretKey]) == 0 {
			x.Bad("oidc.clientSecret", "%s of Secret %s is not there, or empty", clientSecretKey, name)
		}
		cr.TokenSecret = build.SecretConfig(graph.SecretValue(name, clientSecretKey))
		cr.TokenFormation = &oauth2v3.OAuth2Credentials_HmacSecret{HmacSecret: build.SecretConfig(graph.CookieKey(name, clientSecretKey))}
	}
	// Policies of one host must not take each other's cookies.
	h := fnv.New32a()
	h.Write([]byte(owner.String()))
	suffix := fmt.Sprintf("-%08x", h.Sum32())
	names := &oauth2v3.OAuth2Credentials_CookieNames{
		BearerToken: "AccessToken" + suffix, OauthHmac: "OauthHMAC" + suffix, OauthExpires: "OauthExpires" + suffix, IdToken: "IdToken" + suffix,
		RefreshToken: "RefreshToken" + suffix, OauthNonce: "OauthNonce" + suffix, CodeVerifier: "CodeVerifier" + suffix,
	}
	if n := o.CookieNames; n != nil {
		names.BearerToken, names.IdToken = cmp.Or(ptr.Deref(n.AccessToken, ""), names.BearerToken), cmp.Or(ptr.Deref(n.IDToken, ""), names.IdToken)
		if names.BearerToken == names.IdToken {
			x.Bad("oidc.cookieNames", "both tokens have the name %q: name each differently", names.IdToken)
		}
	}
	cr.CookieNames = names
	if k := o.CookieConfig; k != nil && k.SameSite != nil {
		out.CookieConfigs = x.sameSite(*k.SameSite)
	}
	return name
}

func (x *compiledSecurity) sameSite(text string) *oauth2v3.CookieConfigs {
	value, ok := map[string]oauth2v3.CookieConfig_SameSite{"Lax": oauth2v3.CookieConfig_LAX, "Strict": oauth2v3.CookieConfig_STRICT, "None": oauth2v3.CookieConfig_NONE}[text]
	if !ok {
		x.Bad("oidc.cookieConfig.sameSite", "is %q: there are Lax, Strict and None", text)
	}
	k := &oauth2v3.CookieConfig{SameSite: value}
	return &oauth2v3.CookieConfigs{
		BearerTokenCookieConfig: k, OauthHmacCookieConfig: k, OauthExpiresCookieConfig: k, IdTokenCookieConfig: k,
		RefreshTokenCookieConfig: k, OauthNonceCookieConfig: k, CodeVerifierCookieConfig: k,
	}
}
