// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// gateway runs examples/quickstart, on ports of its own, and waits until it is ready.
func gateway(t *testing.T) (weirtest.Folder, *weirtest.Process) {
	t.Helper()
	f := weirtest.Example(t, moduleRoot, "examples/quickstart")
	p := weirtest.Start(t, f.Run("--drain-strategy", "immediate")...)
	p.WaitFor("Ready.")
	return f, p
}

// until asks until the answer holds what is wanted.
func until(t *testing.T, f weirtest.Folder, line, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if got = curl(t, f, line); strings.Contains(got, want) {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("%s: %q is missing in:\n%s", line, want, got)
}

// TestObjectsAreWatched changes a route, breaks it, and mends it, while it is served.
func TestObjectsAreWatched(t *testing.T) {
	f, p := gateway(t)
	until(t, f, "curl -s http://127.0.0.1:8080/orders/7", `"name":"orders"`)
	until(t, f, "curl -si http://127.0.0.1:8080/bills/7", "HTTP/1.1 404 Not Found")

	f.Edit(t, "gateway.yaml", "value: /orders", "value: /bills")
	until(t, f, "curl -s http://127.0.0.1:8080/bills/7", `"path":"/bills/7"`)
	until(t, f, "curl -si http://127.0.0.1:8080/orders/7", "HTTP/1.1 404 Not Found")

	line := f.Edit(t, "gateway.yaml", "backendRefs:", "backendRef:")
	p.WaitFor(fmt.Sprintf("gateway.yaml:%d: HTTPRoute \"default/orders\": spec.rules[0].backendRef: unknown field (did you mean \"backendRefs\"?)", line))
	until(t, f, "curl -s http://127.0.0.1:8080/bills/7", `"path":"/bills/7"`)

	f.Edit(t, "gateway.yaml", "backendRef:", "backendRefs:")
	line = f.Edit(t, "gateway.yaml", "name: orders\n    - matches", "name: order\n    - matches")
	p.WaitFor(fmt.Sprintf("gateway.yaml:%d: HTTPRoute \"default/orders\": spec.rules[0].backendRefs[0]: there is no Backend default/order", line-2))
	until(t, f, "curl -si http://127.0.0.1:8080/bills/7", "HTTP/1.1 500 Internal Server Error")

	p.Signal(syscall.SIGTERM)
	if status := p.Wait(30 * time.Second); status != 0 {
		t.Errorf("status %d after SIGTERM", status)
	}
}

// TestObjectsAreChecked breaks the quickstart in several ways, and asks what is wrong.
func TestObjectsAreChecked(t *testing.T) {
	f := weirtest.Example(t, moduleRoot, "examples/quickstart")
	if out, status := weirtest.Run(t, "", "check", f.Path); status != 0 || out != "" {
		t.Fatalf("status %d: %s", status, out)
	}
	typo := f.Edit(t, "gateway.yaml", "statusCode: 301", "statusCode: 299")
	out, status := weirtest.Run(t, "", "check", f.Path)
	if want := fmt.Sprintf("gateway.yaml:%d: HTTPRoute \"default/orders\": spec.rules[1].filters[0].requestRedirect.statusCode: is 299: there are 301, 302", typo); status != 1 || !strings.Contains(out, want) {
		t.Errorf("status %d, %q is missing in:\n%s", status, want, out)
	}
	if out, status = weirtest.Run(t, "", "run", f.Path, "--admin", ""); status != 1 || !strings.Contains(out, "is 299") {
		t.Errorf("run: status %d:\n%s", status, out)
	}
	f.Edit(t, "gateway.yaml", "statusCode: 299", "statusCode: 302")
	if err := os.Remove(filepath.Join(f.Path, "backends.yaml")); err != nil {
		t.Fatal(err)
	}
	out, status = weirtest.Run(t, "", "check", f.Path, "-o", "sarif")
	if status != 1 || !strings.Contains(out, "there is no Backend default/orders") || !strings.Contains(out, `"version": "2.1.0"`) {
		t.Errorf("status %d:\n%s", status, out)
	}
	out, status = weirtest.Run(t, "", "translate", f.Path)
	if status != 0 || !strings.Contains(out, "under /orders -> answer 500") {
		t.Errorf("translate: status %d:\n%s", status, out)
	}
	out, status = weirtest.Run(t, "", "get", f.Path, "httproute/orders")
	if status != 1 || !strings.Contains(out, "not ResolvedRefs (BackendNotFound)") || !strings.Contains(out, "|     under /orders -> answer 500") {
		t.Errorf("get: status %d:\n%s", status, out)
	}
}

// TestGetAsksARunningProxy asks the admin of the quickstart, and of nothing.
func TestGetAsksARunningProxy(t *testing.T) {
	_, p := gateway(t)
	found := regexp.MustCompile(`admin http://([^/]+)/`).FindStringSubmatch(p.Output())
	if found == nil {
		t.Fatal("no admin is told: ", p.Output())
	}
	out, status := weirtest.Run(t, "", "get", "--admin", found[1], "gateway/edge", "backend/users")
	if status != 0 || !strings.Contains(out, "Gateway default/edge\n  | listener default/edge/") || !strings.Contains(out, "| cluster backend/default/users/0 ") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if out, status = weirtest.Run(t, "", "get", "--admin", found[1], "gateway/other"); status != 1 || !strings.Contains(out, "there is nothing that gateway/other names") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if out, status = weirtest.Run(t, "", "get", "--admin", "127.0.0.1:1"); status != 1 || !strings.Contains(out, "no proxy answers at --admin 127.0.0.1:1") {
		t.Errorf("status %d:\n%s", status, out)
	}
}

// TestTakenPortIsTold has something else listen where a Gateway should: it is told which Gateway, where it stands, and
// which port.
func TestTakenPortIsTold(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "taken.yaml")
	text := fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  addresses: [{value: 127.0.0.1}]
  listeners:
  - {name: http, port: %s, protocol: HTTP}
`, port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := weirtest.Start(t, "run", file, "--admin", "")
	p.WaitFor(fmt.Sprintf("%s:12: Gateway \"default/edge\": spec.listeners: listener \"default/edge/%s\": listen on 127.0.0.1:%s: bind: address already in use", file, port, port))
}
