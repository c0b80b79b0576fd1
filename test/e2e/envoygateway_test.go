// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// TestEnvoyGateway serves the objects of examples/seeds/002-envoy-gateway and replays the document's own requests; then
// it changes the policy as the document's second and third scenario do.
func TestEnvoyGateway(t *testing.T) {
	f := weirtest.Example(t, moduleRoot, "examples/seeds/002-envoy-gateway")
	p := weirtest.Start(t, f.Run("--drain-strategy", "immediate")...)
	p.WaitFor("Ready.")
	until(t, f, `curl -si --header "Host: example.com" http://127.0.0.1:8080/`, `"name":"example-svc"`)
	until(t, f, `curl -si --header "Host: backends.example" http://127.0.0.1:8080/bar`, `"name":"backend"`)
	until(t, f, `curl -si --header "Host: backends.example" http://127.0.0.1:8080/bar`, `"name":"backend-2"`)

	for _, host := range []string{"ratelimit.example", "old.ratelimit.example"} {
		limited := `curl -si --header "Host: ` + host + `" --header "x-user-id: one" http://127.0.0.1:8080/get`
		for range 3 {
			until(t, f, limited, "200 OK")
		}
		until(t, f, limited, "429 Too Many Requests")
		until(t, f, `curl -si --header "Host: `+host+`" --header "x-user-id: two" http://127.0.0.1:8080/get`, "200 OK")
	}
	// The access log is the EnvoyProxy's.
	p.WaitFor(`"response_code":429`)

	// All requests of the route, whoever sends them: the third scenario.
	f.Edit(t, "ratelimit.yaml", `      - clientSelectors:
        - headers:
          - name: x-user-id
            value: one
        limit:
          requests: 3
          unit: Hour`, `      - limit:
          requests: 2
          unit: Day`)
	until(t, f, `curl -si --header "Host: ratelimit.example" http://127.0.0.1:8080/get`, "429 Too Many Requests")

	// A policy that cannot be done says why, and lets nobody pass.
	f.Edit(t, "ratelimit.yaml", "unit: Day", "unit: Fortnight")
	p.WaitFor(`spec.rateLimit.global.rules[0].limit.unit: is "Fortnight"`)
	until(t, f, `curl -si --header "Host: ratelimit.example" http://127.0.0.1:8080/get`, "500 Internal Server Error")

	p.Signal(syscall.SIGTERM)
	if status := p.Wait(30 * time.Second); status != 0 {
		t.Errorf("weir ended with %d:\n%s", status, p.Output())
	}
	if strings.Contains(p.Output(), "panic") {
		t.Error(p.Output())
	}
}
