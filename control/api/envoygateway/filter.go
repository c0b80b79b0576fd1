// SPDX-License-Identifier: Apache-2.0

package envoygateway

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// HTTPRouteFilterSpec is what an HTTPRouteFilter does.
type HTTPRouteFilterSpec struct {
	URLRewrite          *URLRewrite          `json:"urlRewrite,omitempty"`
	DirectResponse      *CustomResponse      `json:"directResponse,omitempty"`
	CredentialInjection *CredentialInjection `json:"credentialInjection,omitempty"`
	Matches             []CookieMatches      `json:"matches,omitempty"`
}

// URLRewrite changes where a request is for.
type URLRewrite struct {
	Hostname             *HostnameModifier `json:"hostname,omitempty"`
	Path                 *PathModifier     `json:"path,omitempty"`
	AppendXForwardedHost *bool             `json:"appendXForwardedHost,omitempty"`
}

// HostnameModifier changes the host. Type is Header, Backend or PathRegex.
type HostnameModifier struct {
	Type      string        `json:"type"`
	Header    *string       `json:"header,omitempty"`
	PathRegex *Substitution `json:"pathRegex,omitempty"`
}

// PathModifier changes the path. Type is ReplaceRegexMatch.
type PathModifier struct {
	Type              string        `json:"type"`
	ReplaceRegexMatch *Substitution `json:"replaceRegexMatch,omitempty"`
}

// A Substitution replaces what a pattern of RE2 matches.
type Substitution struct {
	Pattern      string `json:"pattern"`
	Substitution string `json:"substitution"`
}

// CredentialInjection tells backends a secret.
type CredentialInjection struct {
	Header     *string            `json:"header,omitempty"`
	Overwrite  *bool              `json:"overwrite,omitempty"`
	Credential InjectedCredential `json:"credential"`
}

// InjectedCredential is a Secret with the key credential.
type InjectedCredential struct {
	ValueRef gwapiv1.SecretObjectReference `json:"valueRef"`
}

// CookieMatches are cookies that a request has.
type CookieMatches struct {
	Cookies []CookieMatch `json:"cookies,omitempty"`
}

// A CookieMatch is about a cookie. Type is Exact or RegularExpression.
type CookieMatch struct {
	Type  *string `json:"type,omitempty"`
	Name  string  `json:"name"`
	Value string  `json:"value"`
}
