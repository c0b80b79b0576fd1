// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// emissaryLimits are objects of two installs of Emissary: one asks weir ratelimit by gRPC,
// the other the limiter of its own process. %[1]s and %[2]s are the ports of their
// Listeners, %[3]s that of the backend and %[4]s that of weir ratelimit.
const emissaryLimits = `
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
spec: {config: {default_labels: {ambassador: {defaults: [{generic_key: {key: who, value: shop}}]}}}}
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimitService
metadata: {name: counter}
spec: {service: "127.0.0.1:%[4]s", protocol_version: v3, timeout_ms: 20000, failure_mode_deny: true, grpc: {use_resource_exhausted_code: true}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: shop}
spec:
  hostname: "*"
  prefix: /shop/
  service: "127.0.0.1:%[3]s"
  labels: {ambassador: [{by-user: [{request_headers: {key: user, header_name: x-user, omit_if_not_present: true}}]}]}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: open}
spec: {hostname: "*", prefix: /open/, service: "127.0.0.1:%[3]s"}
---
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: own}
spec: {port: %[2]s, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}, ambassador_id: [own]}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: own}
spec: {hostname: "*", requestPolicy: {insecure: {action: Route}}, ambassador_id: [own]}
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimitService
metadata: {name: own}
spec: {service: weir.limiter, timeout_ms: 20000, ambassador_id: [own]}
---
apiVersion: getambassador.io/v2
kind: Mapping
metadata: {name: own}
spec: {prefix: /, service: "127.0.0.1:%[3]s", ambassador_id: own, labels: {ambassador: [{all: [{generic_key: shop, v3Key: who}, {user: {header: x-user}}]}]}}
`

// TestEmissaryLimits asks a RateLimitService about requests, by the labels of their Mapping
// and of the Module.
func TestEmissaryLimits(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(shop.Close)
	f := folder(t, "8080", "8081")
	write := func(path, text string) string {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	limits := write(filepath.Join(t.TempDir(), "limits.yaml"),
		"domain: ambassador\ndescriptors: [{key: who, value: shop, descriptors: [{key: user, rate_limit: {unit: year, requests_per_unit: 2}}]}]\n")
	counter := weirtest.FreePort(t)
	service := weirtest.Start(t, "ratelimit", limits, "--listen", "127.0.0.1:"+counter, "--http", "")
	service.WaitFor("listening")
	port := shop.URL[strings.LastIndex(shop.URL, ":")+1:]
	write(filepath.Join(f.Path, "objects.yaml"), fmt.Sprintf(emissaryLimits, f.Ports["8080"], f.Ports["8081"], port, counter))
	p := weirtest.Start(t, f.Run("--drain-strategy", "immediate", "--ratelimit-config", limits)...)
	p.WaitFor("Ready.")

	const ask = "curl -si --header 'x-user: %s' http://127.0.0.1:%s"
	for _, at := range []string{"8080/shop/", "8081/"} {
		until(t, f, fmt.Sprintf(ask, "ann", at), "429 Too Many Requests") // After two.
		until(t, f, fmt.Sprintf(ask, "ann", at), "x-envoy-ratelimited: true")
		until(t, f, fmt.Sprintf(ask, "bob", at), "200 OK")
	}
	until(t, f, "curl -si http://127.0.0.1:8080/shop/", "200 OK") // Nobody's.
	until(t, f, "curl -si --header 'content-type: application/grpc' --header 'x-user: ann' http://127.0.0.1:8080/shop/", "grpc-status: 8")

	service.Signal(os.Kill)
	service.Wait(30 * time.Second)
	until(t, f, fmt.Sprintf(ask, "eve", "8080/shop/"), "500 Internal Server Error")
	until(t, f, "curl -si http://127.0.0.1:8080/open/", "500 Internal Server Error") // It has the Module's labels.
	until(t, f, fmt.Sprintf(ask, "eve", "8081/"), "200 OK")
}
