// SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	oauth2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/oauth2/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/oauth"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.oauth2"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: Name, Config: &oauth2v3.OAuth2{}, New: newFilter,
		Route: &oauth2v3.OAuth2PerRoute{}, NewRoute: newRoute,
	}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*oauth2v3.OAuth2)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not an OAuth2", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	f := &Filter{name: c.Name, slot: c.Slot, scope: c.Scope, shards: len(c.Loops), counts: map[string]*stats.Sharded[Stats]{}}
	c.Own(f.close)
	if m.GetConfig() == nil {
		return f, nil
	}
	s, err := compile(m, m.GetConfig(), c.Services, c.Warn("OAuth 2 filter", "filter", c.Name))
	if err != nil {
		return nil, err
	}
	s.counts = f.countsOf(s.statScope)
	f.own = s
	return f, nil
}

func newRoute(cfg proto.Message, s *extension.Services) (any, error) {
	m, ok := cfg.(*oauth2v3.OAuth2PerRoute)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not an OAuth2PerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	return compile(m, m.GetConfig(), s, s.Warn("OAuth 2 of a route"))
}

// validated is a message of the filter.
type validated interface {
	proto.Message
	ValidateAll() error
}

func compile(whole validated, m *oauth2v3.OAuth2Config, s *extension.Services, warn func(path, reason string)) (*Settings, error) {
	if err := supported.Apply(whole, "", warn); err != nil {
		return nil, err
	}
	if err := whole.ValidateAll(); err != nil {
		return nil, err
	}
	k := compiler{s, m, &Settings{
		log: s.Log("oauth2"), plain: m.GetDisableTokenEncryption(), idLivesAsAccess: m.GetUseAccessTokenExpiryForIdTokenCookie(),
		forwardAccess: m.GetForwardBearerToken(), preserveAuthorization: m.GetPreserveAuthorizationHeader(),
		refresh:    m.GetUseRefreshToken() == nil || m.GetUseRefreshToken().GetValue(),
		hideAccess: m.GetDisableAccessTokenSetCookie(), hideID: m.GetDisableIdTokenSetCookie(), hideRefresh: m.GetDisableRefreshTokenSetCookie(),
		endSession:  m.GetEndSessionEndpoint(),
		defaultLife: lasting(m.GetDefaultExpiresIn(), 0), refreshLife: lasting(m.GetDefaultRefreshTokenExpiresIn(), week),
		nonceLife: lasting(m.GetCsrfTokenExpiresIn(), tenMinutes), verifierLife: lasting(m.GetCodeVerifierTokenExpiresIn(), tenMinutes),
	}}
	if p := m.GetStatPrefix(); p != "" {
		k.out.statScope = stats.Sanitize(p)
	}
	for _, step := range []func() error{k.check, k.client, k.endpoints, k.matchers, k.cookies, k.forwarding} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("config.%w", err)
		}
	}
	return k.out, nil
}

// Lifetimes where nothing is configured, as in Envoy.
const (
	week       = 7 * 24 * time.Hour
	tenMinutes = 10 * time.Minute
)

func lasting(d *durationpb.Duration, unset time.Duration) time.Duration {
	if d == nil {
		return unset
	}
	return d.AsDuration()
}

// compiler compiles one OAuth2Config.
type compiler struct {
	*extension.Services
	m   *oauth2v3.OAuth2Config
	out *Settings
}

// check refuses what contradicts itself.
func (k *compiler) check() error {
	m := k.m
	for name, d := range map[string]time.Duration{
		"default_expires_in": k.out.defaultLife, "default_refresh_token_expires_in": k.out.refreshLife,
		"csrf_token_expires_in": k.out.nonceLife, "code_verifier_token_expires_in": k.out.verifierLife,
	} {
		if d < 0 {
			return fmt.Errorf("%s: is negative: say how long it lasts", name)
		}
	}
	id := strings.ToLower(m.GetForwardIdToken().GetHeader())
	switch {
	case m.GetForwardBearerToken() && m.GetPreserveAuthorizationHeader():
		return errors.New("preserve_authorization_header: contradicts forward_bearer_token, which writes the header: remove one")
	case id == "authorization" && m.GetForwardBearerToken():
		return errors.New("forward_id_token.header: is authorization, which forward_bearer_token writes: name another, or remove one")
	case id == "authorization" && m.GetPreserveAuthorizationHeader():
		return errors.New("forward_id_token.header: is authorization, which preserve_authorization_header keeps: name another, or remove one")
	case m.GetEndSessionEndpoint() != "" && !slices.Contains(m.GetAuthScopes(), "openid"):
		return errors.New("end_session_endpoint: is OpenID Connect's: add openid to auth_scopes, or remove it")
	}
	return nil
}

// defaultTimeout bounds a token request whose timeout is 0.
const defaultTimeout = 10 * time.Second

// defaultRetry is what is tried again where a retry policy does not say.
const defaultRetry = "5xx,gateway-error,connect-failure,reset"

func (k *compiler) client() error {
	m := k.m
	service, err := call.CompileURI(m.GetTokenEndpoint())
	if err != nil {
		return fmt.Errorf("token_endpoint.%w", err)
	}
	service.Limit = oauth.MaxAnswer
	if service.Timeout <= 0 {
		service.Timeout = defaultTimeout
	}
	if service.Retry, err = call.CompileRetry(m.GetRetryPolicy()); err != nil {
		return fmt.Errorf("retry_policy.%w", err)
	}
	if r := service.Retry; r != nil && r.On == 0 {
		r.On, _ = route.ParseRetryOn(defaultRetry)
	}
	cr := m.GetCredentials()
	c := &oauth.Client{Calls: call.NewClient(service, k.Clusters), ID: cr.GetClientId(), Method: methods[m.GetAuthType()]}
	k.out.client = c
	if c.Method != oauth.TLS {
		if cr.GetTokenSecret() == nil {
			return fmt.Errorf("credentials.token_secret: is missing: auth_type %s needs it", m.GetAuthType())
		}
		if c.Secret, err = k.Secrets.Named(cr.GetTokenSecret(), secret.KindGeneric); err != nil {
			return fmt.Errorf("credentials.token_secret.%w", err)
		}
	}
	if c.Method == oauth.KeyJWT {
		if err := k.assertions(c); err != nil {
			return err
		}
	}
	slot, err := k.Secrets.Named(cr.GetHmacSecret(), secret.KindGeneric)
	if err != nil {
		return fmt.Errorf("credentials.hmac_secret.%w", err)
	}
	k.out.keys, err = secret.NewParsed(slot, parseKeys, k.out.log)
	return err
}

var methods = map[oauth2v3.OAuth2Config_AuthType]oauth.Method{
	oauth2v3.OAuth2Config_URL_ENCODED_BODY: oauth.Body,
	oauth2v3.OAuth2Config_BASIC_AUTH:       oauth.Basic,
	oauth2v3.OAuth2Config_TLS_CLIENT_AUTH:  oauth.TLS,
	oauth2v3.OAuth2Config_PRIVATE_KEY_JWT:  oauth.KeyJWT,
}

var algorithms = map[oauth2v3.PrivateKeyJwtConfig_SigningAlgorithm]oauth.Algorithm{
	oauth2v3.PrivateKeyJwtConfig_RS256: oauth.RS256,
	oauth2v3.PrivateKeyJwtConfig_RS384: oauth.RS384,
	oauth2v3.PrivateKeyJwtConfig_RS512: oauth.RS512,
	oauth2v3.PrivateKeyJwtConfig_ES256: oauth.ES256,
	oauth2v3.PrivateKeyJwtConfig_ES384: oauth.ES384,
	oauth2v3.PrivateKeyJwtConfig_ES512: oauth.ES512,
}

// assertions compiles how the client signs who it is.
func (k *compiler) assertions(c *oauth.Client) (err error) {
	p := k.m.GetPrivateKeyJwtConfig()
	c.Algorithm, c.Lifetime, c.Audience = algorithms[p.GetSigningAlgorithm()], lasting(p.GetAssertionLifetime(), time.Minute), p.GetAssertionAudience()
	if c.Audience == "" {
		c.Audience = k.m.GetTokenEndpoint().GetUri()
	}
	if c.Key, err = secret.NewParsed(c.Secret, c.Algorithm.ParseKey, k.out.log); err != nil {
		return fmt.Errorf("credentials.token_secret: %w", err)
	}
	return nil
}

func (k *compiler) endpoints() (err error) {
	m, s := k.m, k.out
	for field, text := range map[string]string{"authorization_endpoint": m.GetAuthorizationEndpoint(), "end_session_endpoint": m.GetEndSessionEndpoint()} {
		if _, ok := webURL(text); !ok && text != "" {
			return fmt.Errorf("%s: %q is not the URL of a page: write it as https://HOST/PATH", field, text)
		}
	}
	// What a login itself says goes before what the endpoint's URL does.
	s.authorize = newEndpoint(m.GetAuthorizationEndpoint(), "client_id", "response_type", "scope", "redirect_uri", "state", "code_challenge", "code_challenge_method")
	s.authorize.params = append(s.authorize.params, [2]string{"scope", scopesOf(m.GetAuthScopes())})
	for _, r := range m.GetResources() {
		s.resources += "&resource=" + escape(r)
	}
	if s.redirectURI, err = k.format("redirect_uri", m.GetRedirectUri()); err != nil {
		return err
	}
	if t := m.GetOriginalRequestUri(); t != "" {
		if s.original, err = k.format("original_request_uri", t); err != nil {
			return err
		}
	}
	s.noPostLogout = m.GetPostLogoutRedirectUri().GetDisabled()
	if t := m.GetPostLogoutRedirectUri().GetUri(); t != "" {
		if s.postLogout, err = k.format("post_logout_redirect_uri.uri", t); err != nil {
			return err
		}
	}
	for i, d := range m.GetAllowedRedirectDomains() {
		if d == "" || strings.Contains(strings.TrimPrefix(d, "*."), "*") {
			return fmt.Errorf("allowed_redirect_domains[%d]: %q is neither a host nor *.DOMAIN", i, d)
		}
		s.domains = append(s.domains, strings.ToLower(d))
	}
	return nil
}

func (k *compiler) format(field, text string) (route.Formatter, error) {
	f, err := format.Compile(text, format.Options{Hostname: k.Node.Hostname, Operators: k.Operators})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return f, nil
}

func (k *compiler) matchers() (err error) {
	m, s := k.m, k.out
	if s.callback, err = match.CompilePath(m.GetRedirectPathMatcher()); err != nil {
		return fmt.Errorf("redirect_path_matcher.%w", err)
	}
	if s.signout, err = match.CompilePath(m.GetSignoutPath()); err != nil {
		return fmt.Errorf("signout_path.%w", err)
	}
	for _, l := range []struct {
		field string
		from  []*routev3.HeaderMatcher
		into  *[]*match.Header
	}{
		{"pass_through_matcher", m.GetPassThroughMatcher(), &s.passThrough},
		{"deny_redirect_matcher", m.GetDenyRedirectMatcher(), &s.denyRedirect},
		{"allow_failed_matcher", m.GetAllowFailedMatcher(), &s.allowFailed},
	} {
		for i, c := range l.from {
			h, err := match.CompileHeader(c)
			if err != nil {
				return fmt.Errorf("%s[%d].%w", l.field, i, err)
			}
			*l.into = append(*l.into, h)
		}
	}
	return nil
}

func (k *compiler) forwarding() (err error) {
	if k.out.forwardAccess {
		k.out.forwarded = []header.Name{header.Authorization}
	}
	n := k.m.GetForwardIdToken().GetHeader()
	if n == "" {
		return nil
	}
	if k.out.forwardID, err = header.ParseName(n); err != nil {
		return fmt.Errorf("forward_id_token.header: %w", err)
	}
	k.out.forwarded = append(k.out.forwarded, k.out.forwardID)
	return nil
}

func (k *compiler) cookies() error {
	cr := k.m.GetCredentials()
	names, set := cr.GetCookieNames(), k.m.GetCookieConfigs()
	c := &k.out.cookies
	c.domain = cr.GetCookieDomain()
	if t := k.m.GetTokenCookieChunking(); t != nil {
		c.size, c.chunks = 4096, 8
		if n := t.GetMaxCookieSize(); n != nil {
			c.size = int(n.GetValue())
		}
		if n := t.GetMaxChunks(); n != nil {
			c.chunks = int(n.GetValue())
		}
	}
	used := map[string]string{}
	for _, v := range []struct {
		field, name, unset string
		set                *oauth2v3.CookieConfig
		into               *cookie
	}{
		{"bearer_token", names.GetBearerToken(), "BearerToken", set.GetBearerTokenCookieConfig(), &c.access},
		{"oauth_hmac", names.GetOauthHmac(), "OauthHMAC", set.GetOauthHmacCookieConfig(), &c.mac},
		{"oauth_expires", names.GetOauthExpires(), "OauthExpires", set.GetOauthExpiresCookieConfig(), &c.expires},
		{"id_token", names.GetIdToken(), "IdToken", set.GetIdTokenCookieConfig(), &c.id},
		{"refresh_token", names.GetRefreshToken(), "RefreshToken", set.GetRefreshTokenCookieConfig(), &c.refresh},
		{"oauth_nonce", names.GetOauthNonce(), "OauthNonce", set.GetOauthNonceCookieConfig(), &c.nonce},
		{"code_verifier", names.GetCodeVerifier(), "OauthCodeVerifier", set.GetCodeVerifierCookieConfig(), &c.verifier},
	} {
		*v.into = cookie{name: v.name, path: v.set.GetPath(), sameSite: sameSites[v.set.GetSameSite()], partitioned: v.set.GetPartitioned()}
		if v.name == "" {
			v.into.name = v.unset
		}
		if v.into.path == "" {
			v.into.path = "/"
		}
		if other, twice := used[v.into.name]; twice {
			return fmt.Errorf("credentials.cookie_names.%s: is %q, as %s is: name each differently", v.field, v.into.name, other)
		}
		used[v.into.name] = v.field
	}
	return nil
}

var sameSites = map[oauth2v3.CookieConfig_SameSite]string{
	oauth2v3.CookieConfig_STRICT: "Strict", oauth2v3.CookieConfig_LAX: "Lax", oauth2v3.CookieConfig_NONE: "None",
}
