// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"encoding/json"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// SecurityPolicySpec is what a SecurityPolicy says.
type SecurityPolicySpec struct {
	Targets `json:",inline"`

	// MergeType is as of a BackendTrafficPolicySpec.
	MergeType     *string        `json:"mergeType,omitempty"`
	APIKeyAuth    *APIKeyAuth    `json:"apiKeyAuth,omitempty"`
	CORS          *CORS          `json:"cors,omitempty"`
	CSRF          *CSRF          `json:"csrf,omitempty"`
	BasicAuth     *BasicAuth     `json:"basicAuth,omitempty"`
	JWT           *JWT           `json:"jwt,omitempty"`
	OIDC          *OIDC          `json:"oidc,omitempty"`
	ExtAuth       *ExtAuth       `json:"extAuth,omitempty"`
	Authorization *Authorization `json:"authorization,omitempty"`
}

// CORS lets pages of other origins ask.
type CORS struct {
	AllowOrigins     []Origin          `json:"allowOrigins,omitempty"`
	AllowMethods     []string          `json:"allowMethods,omitempty"`
	AllowHeaders     []string          `json:"allowHeaders,omitempty"`
	ExposeHeaders    []string          `json:"exposeHeaders,omitempty"`
	MaxAge           *gwapiv1.Duration `json:"maxAge,omitempty"`
	AllowCredentials *bool             `json:"allowCredentials,omitempty"`
}

// An Origin is a scheme, a host and a port; a host may begin with a wildcard, and "*"
// is any origin. In v0.6 it was a StringMatch.
type Origin struct {
	Text  string
	Match *StringMatch
}

// UnmarshalJSON reads either form.
func (o *Origin) UnmarshalJSON(data []byte) error {
	*o = Origin{}
	if json.Unmarshal(data, &o.Text) == nil {
		return nil
	}
	o.Match = &StringMatch{}
	return json.Unmarshal(data, o.Match)
}

// MarshalJSON writes the form that was read.
func (o Origin) MarshalJSON() ([]byte, error) {
	if o.Match != nil {
		return json.Marshal(o.Match)
	}
	return json.Marshal(o.Text)
}

// CSRF refuses requests that pages of other origins had sent.
type CSRF struct {
	ShadowFraction    *gwapiv1.Fraction `json:"shadowFraction,omitempty"`
	AdditionalOrigins []Origin          `json:"additionalOrigins,omitempty"`
}

// JWT asks for tokens.
type JWT struct {
	Optional  *bool         `json:"optional,omitempty"`
	FailOpen  *bool         `json:"failOpen,omitempty"`
	Providers []JWTProvider `json:"providers"`
}

// A JWTProvider signs tokens.
type JWTProvider struct {
	Name           string          `json:"name"`
	Issuer         string          `json:"issuer,omitempty"`
	Audiences      []string        `json:"audiences,omitempty"`
	RemoteJWKS     *RemoteJWKS     `json:"remoteJWKS,omitempty"`
	LocalJWKS      *LocalJWKS      `json:"localJWKS,omitempty"`
	ClaimToHeaders []ClaimToHeader `json:"claimToHeaders,omitempty"`
	RecomputeRoute *bool           `json:"recomputeRoute,omitempty"`
	ExtractFrom    *JWTExtractor   `json:"extractFrom,omitempty"`
}

// RemoteJWKS is where keys are fetched.
type RemoteJWKS struct {
	BackendCluster `json:",inline"`

	URI                   string            `json:"uri"`
	CacheDuration         *gwapiv1.Duration `json:"cacheDuration,omitempty"`
	FailedRefetchDuration *gwapiv1.Duration `json:"failedRefetchDuration,omitempty"`
}

// BackendCluster is who is asked something by proxies.
type BackendCluster struct {
	// BackendRef is the only one there was until v1.1.
	BackendRef      *gwapiv1.BackendObjectReference `json:"backendRef,omitempty"`
	BackendRefs     []BackendRef                    `json:"backendRefs,omitempty"`
	BackendSettings *ClusterSettings                `json:"backendSettings,omitempty"`
}

// A BackendRef is a reference with a weight.
type BackendRef struct {
	gwapiv1.BackendObjectReference `json:",inline"`

	Weight   *uint32 `json:"weight,omitempty"`
	Fallback *bool   `json:"fallback,omitempty"`
}

// LocalJWKS are keys that are given. Type is Inline or ValueRef, which is a ConfigMap.
type LocalJWKS struct {
	Type     *string                       `json:"type,omitempty"`
	Inline   *string                       `json:"inline,omitempty"`
	ValueRef *gwapiv1.LocalObjectReference `json:"valueRef,omitempty"`
}

// ClaimToHeader tells a backend a claim.
type ClaimToHeader struct {
	Header string `json:"header"`
	Claim  string `json:"claim"`
}

// JWTExtractor is where requests have their tokens.
type JWTExtractor struct {
	Headers []JWTHeader `json:"headers,omitempty"`
	Cookies []string    `json:"cookies,omitempty"`
	Params  []string    `json:"params,omitempty"`
}

// JWTHeader is a header that has a token.
type JWTHeader struct {
	Name        string  `json:"name"`
	ValuePrefix *string `json:"valuePrefix,omitempty"`
}

// Authorization allows or denies requests: the first rule that matches decides.
type Authorization struct {
	Rules         []AuthorizationRule `json:"rules,omitempty"`
	DefaultAction *string             `json:"defaultAction,omitempty"`
}

// An AuthorizationRule says what to do, Allow or Deny, with whom.
type AuthorizationRule struct {
	Name      *string    `json:"name,omitempty"`
	Action    string     `json:"action"`
	Operation *Operation `json:"operation,omitempty"`
	Principal *Principal `json:"principal,omitempty"`
	CEL       *string    `json:"cel,omitempty"`
}

// An Operation is what is asked for.
type Operation struct {
	Methods []string   `json:"methods,omitempty"`
	Path    *PathMatch `json:"path,omitempty"`
}

// A Principal is who asks.
type Principal struct {
	ClientCIDRs          []string                   `json:"clientCIDRs,omitempty"`
	JWT                  *JWTPrincipal              `json:"jwt,omitempty"`
	Headers              []AuthorizationHeaderMatch `json:"headers,omitempty"`
	ClientIPGeoLocations []map[string]any           `json:"clientIPGeoLocations,omitempty"`
}

// AuthorizationHeaderMatch is a header that has one of the values.
type AuthorizationHeaderMatch struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

// JWTPrincipal is who a token is about.
type JWTPrincipal struct {
	Provider string     `json:"provider"`
	Claims   []JWTClaim `json:"claims,omitempty"`
	Scopes   []string   `json:"scopes,omitempty"`
}

// A JWTClaim has one of the values. ValueType is String or StringArray.
type JWTClaim struct {
	Name      string   `json:"name"`
	ValueType *string  `json:"valueType,omitempty"`
	Values    []string `json:"values"`
}

// BasicAuth asks for names and passwords.
type BasicAuth struct {
	Users                 gwapiv1.SecretObjectReference `json:"users"`
	ForwardUsernameHeader *string                       `json:"forwardUsernameHeader,omitempty"`
}

// APIKeyAuth asks for keys.
type APIKeyAuth struct {
	CredentialRefs        []gwapiv1.SecretObjectReference `json:"credentialRefs"`
	ExtractFrom           []ExtractFrom                   `json:"extractFrom"`
	ForwardClientIDHeader *string                         `json:"forwardClientIDHeader,omitempty"`
	Sanitize              *bool                           `json:"sanitize,omitempty"`
}

// ExtractFrom is where requests have their keys.
type ExtractFrom struct {
	Headers []string `json:"headers,omitempty"`
	Params  []string `json:"params,omitempty"`
	Cookies []string `json:"cookies,omitempty"`
}

// ExtAuth asks a service.
type ExtAuth struct {
	GRPC                 *GRPCExtAuth       `json:"grpc,omitempty"`
	HTTP                 *HTTPExtAuth       `json:"http,omitempty"`
	HeadersToExtAuth     []string           `json:"headersToExtAuth,omitempty"`
	BodyToExtAuth        *BodyToExtAuth     `json:"bodyToExtAuth,omitempty"`
	Timeout              *gwapiv1.Duration  `json:"timeout,omitempty"`
	FailOpen             *bool              `json:"failOpen,omitempty"`
	RecomputeRoute       *bool              `json:"recomputeRoute,omitempty"`
	IncludeRouteMetadata *bool              `json:"includeRouteMetadata,omitempty"`
	ContextExtensions    []ContextExtension `json:"contextExtensions,omitempty"`
	StatusOnError        *int32             `json:"statusOnError,omitempty"`
}

// GRPCExtAuth is a service of Envoy's ext_authz in gRPC.
type GRPCExtAuth struct {
	BackendCluster `json:",inline"`
}

// HTTPExtAuth is a service of HTTP.
type HTTPExtAuth struct {
	BackendCluster `json:",inline"`

	Path             *string  `json:"path,omitempty"`
	PathOverride     *string  `json:"pathOverride,omitempty"`
	HeadersToBackend []string `json:"headersToBackend,omitempty"`
}

// BodyToExtAuth sends bodies, too.
type BodyToExtAuth struct {
	MaxRequestBytes uint32 `json:"maxRequestBytes"`
}

// A ContextExtension is told to the service. Type is Value or ValueRef.
type ContextExtension struct {
	Name     string        `json:"name"`
	Type     string        `json:"type"`
	Value    *string       `json:"value,omitempty"`
	ValueRef *ObjectKeyRef `json:"valueRef,omitempty"`
}

// An ObjectKeyRef is a key of a ConfigMap or Secret.
type ObjectKeyRef struct {
	gwapiv1.LocalObjectReference `json:",inline"`

	Key string `json:"key"`
}

// OIDC has users log in elsewhere.
type OIDC struct {
	Provider               OIDCProvider                   `json:"provider"`
	ClientID               *string                        `json:"clientID,omitempty"`
	ClientIDRef            *gwapiv1.SecretObjectReference `json:"clientIDRef,omitempty"`
	ClientSecret           gwapiv1.SecretObjectReference  `json:"clientSecret"`
	CookieNames            *OIDCCookieNames               `json:"cookieNames,omitempty"`
	CookieConfig           *OIDCCookieConfig              `json:"cookieConfig,omitempty"`
	CookieDomain           *string                        `json:"cookieDomain,omitempty"`
	Scopes                 []string                       `json:"scopes,omitempty"`
	Resources              []string                       `json:"resources,omitempty"`
	RedirectURL            *string                        `json:"redirectURL,omitempty"`
	DenyRedirect           *OIDCDenyRedirect              `json:"denyRedirect,omitempty"`
	LogoutPath             *string                        `json:"logoutPath,omitempty"`
	ForwardAccessToken     *bool                          `json:"forwardAccessToken,omitempty"`
	ForwardIDToken         *OIDCTokenForwarding           `json:"forwardIDToken,omitempty"`
	DefaultTokenTTL        *gwapiv1.Duration              `json:"defaultTokenTTL,omitempty"`
	RefreshToken           *bool                          `json:"refreshToken,omitempty"`
	DefaultRefreshTokenTTL *gwapiv1.Duration              `json:"defaultRefreshTokenTTL,omitempty"`
	CSRFTokenTTL           *gwapiv1.Duration              `json:"csrfTokenTTL,omitempty"`
	DisableTokenEncryption *bool                          `json:"disableTokenEncryption,omitempty"`
	PassThroughAuthHeader  *bool                          `json:"passThroughAuthHeader,omitempty"`
}

// OIDCProvider is where users log in.
type OIDCProvider struct {
	BackendCluster `json:",inline"`

	Issuer                string  `json:"issuer"`
	AuthorizationEndpoint *string `json:"authorizationEndpoint,omitempty"`
	TokenEndpoint         *string `json:"tokenEndpoint,omitempty"`
	EndSessionEndpoint    *string `json:"endSessionEndpoint,omitempty"`
}

// WantsDiscovery reports whether the provider is to be asked where its endpoints are.
func (p *OIDCProvider) WantsDiscovery() bool {
	given := func(s *string) bool { return s != nil && *s != "" }
	return !given(p.AuthorizationEndpoint) || !given(p.TokenEndpoint)
}

// OIDCCookieNames are the names of the tokens' cookies.
type OIDCCookieNames struct {
	AccessToken *string `json:"accessToken,omitempty"`
	IDToken     *string `json:"idToken,omitempty"`
}

// OIDCCookieConfig is how cookies are set. SameSite is Lax, Strict or None.
type OIDCCookieConfig struct {
	SameSite *string `json:"sameSite,omitempty"`
}

// OIDCDenyRedirect says which requests are not sent to log in.
type OIDCDenyRedirect struct {
	Headers []OIDCDenyRedirectHeader `json:"headers,omitempty"`
}

// An OIDCDenyRedirectHeader matches a header.
type OIDCDenyRedirectHeader struct {
	StringMatch `json:",inline"`

	Name string `json:"name"`
}

// OIDCTokenForwarding is the header that backends are told a token by.
type OIDCTokenForwarding struct {
	Header string `json:"header"`
}
