// SPDX-License-Identifier: Apache-2.0

package envoygateway_test

import (
	"os"
	"strings"
	"testing"

	credentialinjectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	oauth2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/oauth2/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/golden"
)

const issuer = "https://login.example.com"

// worldOf translates an archive.
func worldOf(t *testing.T, archive string) *controltest.World {
	t.Helper()
	text, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	changes, problems := controltest.Parse(t, golden.Parse(string(text)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w := controltest.NewWorld(t, control.Options{})
	w.Apply(changes...)
	return w
}

// login is what the route of a host has of OAuth 2; nil if there is nothing.
func login(t *testing.T, w *controltest.World, host string) *oauth2v3.OAuth2Config {
	t.Helper()
	for _, rc := range w.Snapshot().Routes().All() {
		for _, vh := range rc.GetVirtualHosts() {
			if vh.GetDomains()[0] != host {
				continue
			}
			a := vh.GetRoutes()[0].GetTypedPerFilterConfig()["envoy.filters.http.oauth2"]
			if a == nil {
				return nil
			}
			return unpack(t, a, &oauth2v3.OAuth2PerRoute{}).GetConfig()
		}
	}
	t.Fatalf("there is no host %s", host)
	return nil
}

// TestLoginMessages holds what an oidc comes to where the brief form does not show it.
func TestLoginMessages(t *testing.T) {
	w := worldOf(t, "testdata/oidc.txtar")
	all := login(t, w, "all.example.com")
	cluster := all.GetTokenEndpoint().GetCluster()
	want := parse(t, `
		token_endpoint {uri: "https://login.example.com/token" cluster: "`+cluster+`" timeout {seconds: 10}}
		retry_policy {retry_on: "connect-failure,refused-stream,unavailable,cancelled,reset" num_retries {value: 3}}
		authorization_endpoint: "https://login.example.com/auth?tenant=a" end_session_endpoint: "https://login.example.com/logout"
		credentials {
			client_id: "from-secret" cookie_domain: "example.com"
			token_secret {name: "default/client#client-secret" sds_config {ads {} resource_api_version: V3}}
			hmac_secret {name: "default/client#client-secret/cookies" sds_config {ads {} resource_api_version: V3}}
			cookie_names {
				bearer_token: "A" oauth_hmac: "OauthHMAC-SUFFIX" oauth_expires: "OauthExpires-SUFFIX" id_token: "I"
				refresh_token: "RefreshToken-SUFFIX" oauth_nonce: "OauthNonce-SUFFIX" code_verifier: "CodeVerifier-SUFFIX"
			}
		}
		redirect_uri: "https://all.example.com/back" redirect_path_matcher {path {exact: "/back"}} signout_path {path {exact: "/bye"}}
		forward_bearer_token: true forward_id_token {header: "x-id-token"} auth_type: BASIC_AUTH
		auth_scopes: "email" auth_scopes: "openid" resources: "https://api.example.com"
		pass_through_matcher {name: "x-token" string_match {prefix: "T "}}
		deny_redirect_matcher {name: "x-requested-with" string_match {exact: "XMLHttpRequest"}}
		deny_redirect_matcher {name: "accept" string_match {prefix: "application/"}}
		use_refresh_token {} default_expires_in {seconds: 3600} default_refresh_token_expires_in {seconds: 86400}
		csrf_token_expires_in {seconds: 300} code_verifier_token_expires_in {seconds: 300} disable_token_encryption: true
		cookie_configs {
			bearer_token_cookie_config {same_site: LAX} oauth_hmac_cookie_config {same_site: LAX} oauth_expires_cookie_config {same_site: LAX}
			id_token_cookie_config {same_site: LAX} refresh_token_cookie_config {same_site: LAX} oauth_nonce_cookie_config {same_site: LAX}
			code_verifier_cookie_config {same_site: LAX}
		}
	`, &oauth2v3.OAuth2Config{})
	names := all.GetCredentials().GetCookieNames()
	_, suffix, _ := strings.Cut(names.GetOauthHmac(), "-")
	for _, n := range []*string{&names.OauthHmac, &names.OauthExpires, &names.RefreshToken, &names.OauthNonce, &names.CodeVerifier} {
		*n = strings.Replace(*n, suffix, "SUFFIX", 1)
	}
	if d := cmp.Diff(want, all, protocmp.Transform()); d != "" {
		t.Errorf("all (-want +got):\n%s", d)
	}
	few := login(t, w, "few.example.com")
	if few.GetCredentials().GetCookieNames().GetBearerToken() == "AccessToken-"+suffix || !few.GetUseRefreshToken().GetValue() || few.GetSignoutPath().GetPath().GetExact() != "/logout" ||
		few.GetRedirectPathMatcher().GetPath().GetExact() != "/oauth2/callback" || few.GetTokenEndpoint().GetCluster() == cluster {
		t.Errorf("few: %v", few)
	}
	// Both secrets are delivered, and the one is not the other.
	value, ok := w.Snapshot().Secrets().Get("default/client#client-secret")
	key, also := w.Snapshot().Secrets().Get("default/client#client-secret/cookies")
	if !ok || !also || string(value.GetGenericSecret().GetSecret().GetInlineBytes()) != "very secret" || len(key.GetGenericSecret().GetSecret().GetInlineBytes()) != 32 {
		t.Errorf("%v\n%v", value, key)
	}
	again, _ := worldOf(t, "testdata/oidc.txtar").Snapshot().Secrets().Get("default/client#client-secret/cookies")
	if cmp.Diff(key, again, protocmp.Transform()) != "" {
		t.Error("another control plane makes another key of cookies")
	}
}

// TestDiscovered: what a provider says of itself is used once it is known, and what the
// policy says goes first.
func TestDiscovered(t *testing.T) {
	w := worldOf(t, "testdata/oidc.txtar")
	if login(t, w, "unasked.example.com") != nil {
		t.Error("nobody knows yet where users log in")
	}
	tell := func(i *source.Issuer) {
		i.ObjectMeta = metav1.ObjectMeta{Name: issuer}
		w.Apply(source.Change{Key: source.Key{Kind: source.Issuers, Name: source.IssuerName(issuer)}, Object: i})
	}
	tell(&source.Issuer{Problem: "it is gone"})
	if got := w.Status(); !strings.Contains(got, "the configuration of https://login.example.com cannot be had: it is gone") {
		t.Error(got)
	}
	tell(&source.Issuer{AuthorizationEndpoint: issuer + "/a", TokenEndpoint: issuer + "/t", EndSessionEndpoint: issuer + "/e"})
	m := login(t, w, "unasked.example.com")
	if m.GetAuthorizationEndpoint() != issuer+"/a" || m.GetTokenEndpoint().GetUri() != issuer+"/t" || m.GetEndSessionEndpoint() != issuer+"/e" {
		t.Errorf("%v", m)
	}
	if got := login(t, w, "few.example.com").GetTokenEndpoint().GetUri(); got != issuer+"/token" {
		t.Errorf("what the policy says: %s", got)
	}
}

// TestInjected holds what HTTPRouteFilters come to where the brief form does not show it.
func TestInjected(t *testing.T) {
	w := worldOf(t, "testdata/inject.txtar")
	l, _ := w.Snapshot().Listeners().Get("default/eg/80")
	m := unpack(t, l.GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), &hcmv3.HttpConnectionManager{})
	found := 0
	for _, f := range m.GetHttpFilters() {
		if f.GetName() != "envoy.filters.http.credential_injector/default/all" {
			continue
		}
		found++
		c := unpack(t, f.GetTypedConfig(), &credentialinjectorv3.CredentialInjector{})
		g := unpack(t, c.GetCredential().GetTypedConfig(), &genericv3.Generic{})
		if !c.GetOverwrite() || g.GetHeader() != "X-Key" || g.GetCredential().GetName() != "default/key#credential" {
			t.Errorf("%v %v", c, g)
		}
	}
	if s, ok := w.Snapshot().Secrets().Get("default/key#credential"); found != 1 || !ok || string(s.GetGenericSecret().GetSecret().GetInlineBytes()) != "Basic YW5uOnRlc3Q=" {
		t.Errorf("%d filters, %v", found, s)
	}
}
