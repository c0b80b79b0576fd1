// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"weir.dev/weir/test/weirtest"
)

// emissaryOverrides are objects of Emissary whose error responses have bodies of their own;
// %[1]s is the port of the Listener, %[2]s that of the backend, %[3]s that of nobody and
// %[4]s a file.
const emissaryOverrides = `
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http}
spec: {port: %[1]s, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: all}
spec: {hostname: "*", requestPolicy: {insecure: {action: Route}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Module
metadata: {name: ambassador}
spec:
  config:
    error_response_overrides:
    - {on_status_code: 401, body: {json_format: {error: who are you, code: "%%RESPONSE_CODE%%", n: 1}}}
    - {on_status_code: 404, body: {text_format: "<p>%%REQ(:PATH)%% of %%PROTOCOL%%: %%RESPONSE_CODE%%</p>", content_type: text/html}}
    - {on_status_code: 503, body: {text_format: module}}
    - {on_status_code: 504, body: {text_format_source: {filename: %[4]s}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: shop}
spec: {hostname: "*", prefix: /shop/, service: "127.0.0.1:%[2]s"}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: gone}
spec: {hostname: "*", prefix: /gone/, service: "127.0.0.1:%[3]s"}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: own}
spec: {hostname: "*", prefix: /own/, service: "127.0.0.1:%[2]s", error_response_overrides: [{on_status_code: 503, body: {text_format: "mapping %%RESPONSE_CODE%%"}}]}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: none}
spec: {hostname: "*", prefix: /none/, service: "127.0.0.1:%[2]s", bypass_error_response_overrides: true}
`

// TestEmissaryOverrides replaces bodies of responses as a Module and Mappings ask, of a
// backend and of the proxy.
func TestEmissaryOverrides(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Path[len("/"):])
		w.Header().Set("www-authenticate", "Token")
		w.Header().Set("content-encoding", "odd")
		w.WriteHeader(status)
		fmt.Fprintf(w, "backend %d", status)
	}))
	t.Cleanup(shop.Close)
	f := folder(t, "8080")
	late := filepath.Join(t.TempDir(), "late.txt")
	for name, text := range map[string]string{
		filepath.Join(f.Path, "objects.yaml"): fmt.Sprintf(emissaryOverrides, f.Ports["8080"], shop.URL[strings.LastIndex(shop.URL, ":")+1:], weirtest.FreePort(t), late),
		late:                                  "too late, %RESPONSE_CODE%",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := weirtest.Start(t, f.Run("--drain-strategy", "immediate")...)
	p.WaitFor("Ready.")
	for _, tt := range []struct {
		path  string
		wants []string
		not   string
	}{
		{"nowhere", []string{"404 Not Found", "content-type: text/html", "<p>/nowhere of HTTP/1.1: 404</p>"}, ""},
		{"shop/404", []string{"404 Not Found", "<p>/404 of HTTP/1.1: 404</p>"}, "backend"},
		{"shop/401", []string{"401 Unauthorized", "www-authenticate: Token", "content-type: application/json", `"error":"who are you"`, `"code":401`, `"n":"1"`}, "content-encoding"},
		{"shop/503", []string{"503 Service Unavailable", "content-type: text/plain", "module"}, "backend"},
		{"shop/504", []string{"too late, 504"}, "backend"},
		{"shop/500", []string{"backend 500"}, ""},
		{"shop/200", []string{"backend 200"}, ""},
		{"gone/", []string{"503 Service Unavailable", "module"}, ""},
		{"own/503", []string{"mapping 503"}, "backend"},
		{"own/401", []string{"backend 401"}, ""},
		{"none/503", []string{"backend 503"}, ""},
	} {
		line := "curl -si http://127.0.0.1:8080/" + tt.path
		for _, want := range tt.wants {
			until(t, f, line, want)
		}
		if got := curl(t, f, line); tt.not != "" && strings.Contains(got, tt.not) {
			t.Errorf("%s: %q is in:\n%s", line, tt.not, got)
		}
	}
}
