// SPDX-License-Identifier: Apache-2.0

package credentialinjector_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// TestRedirect: a credential stays behind where a redirect that is followed here leads elsewhere, and is given again
// where that route asks for it.
func TestRedirect(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, "http://"+to, http.StatusFound)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s key=%s own=%s", r.Host, r.URL.Path, r.Header.Get("x-key"), r.Header.Get("authorization"))
	}))
	t.Cleanup(up.Close)
	const asks = `typed_per_filter_config: {inject: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}}`
	e := proxytest.Edge{
		Filters: `- name: inject
  disabled: true
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
    overwrite: true
    credential:
      name: c
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic
        credential: {name: s}
        header: x-key
`,
		Routes: `- {match: {prefix: /from}, route: {cluster: up, internal_redirect_policy: {}}, ` + asks + `}
- {match: {prefix: /again}, route: {cluster: up}, ` + asks + `}
- {match: {prefix: /}, route: {cluster: up}}`,
	}
	yaml := e.YAML() + "  secrets:\n  - {name: s, generic_secret: {secret: {inline_string: sesame}}}\n"
	p := proxytest.Start(t, yaml, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": strings.TrimPrefix(up.URL, "http://")}})
	proxytest.Eventually(t, "a listener", func() (int, bool) { n := len(p.Listeners()); return n, n == 1 })
	for to, want := range map[string]string{
		"":             "a /from key=sesame own=mine",
		"b.test/to":    "b.test /to key= own=mine",
		"a/to":         "a /to key= own=mine",
		"b.test/again": "b.test /again key=sesame own=mine",
	} {
		r := p.Do("GET /from?to=" + to + " HTTP/1.1\r\nHost: a\r\nauthorization: mine\r\nx-key: forged\r\n\r\n")
		if got := string(r.Content); got != want {
			t.Errorf("to %q: %q, want %q", to, got, want)
		}
	}
}
