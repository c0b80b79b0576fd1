// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

const zones = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec: {gatewayClassName: weir, addresses: [{value: 127.0.0.1}], listeners: [{name: http, port: %[1]s, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: default}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: app, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {ports: [{port: 80}], trafficDistribution: PreferSameNode}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app-1, namespace: default, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: %[2]s}]
endpoints:
- {addresses: [127.0.0.2], zone: a, nodeName: a-1}
- {addresses: [127.0.0.3], zone: b, nodeName: b-1}
- {addresses: [127.0.0.4], zone: b, nodeName: b-2}
---
apiVersion: v1
kind: Node
metadata: {name: b-9, labels: {topology.kubernetes.io/zone: b}}
`

// TestTrafficStaysNear has proxies that say where they are go to the endpoints of their node or zone, and to the others
// once there are none.
func TestTrafficStaysNear(t *testing.T) {
	asks, err := os.ReadFile(filepath.Join(moduleRoot, "examples/envoy/dynamic-control-plane/grpc/deltas.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	port, hosts := weirtest.FreePort(t), weirtest.FreePort(t)
	for _, host := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		serveNamed(t, host, hosts)
	}
	objects := filepath.Join(t.TempDir(), "objects.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(zones, port, hosts)
	write(objects, text)
	c := weirtest.Start(t, "control", objects, "--listen", "127.0.0.1:0")
	c.WaitFor("listening for proxies")
	at := regexp.MustCompile(`address=127\.0\.0\.1:(\d+)`).FindStringSubmatch(c.Output())[1]
	bootstrap := filepath.Join(t.TempDir(), "bootstrap.yaml")
	write(bootstrap, strings.ReplaceAll(string(asks), "port_value: 18000", "port_value: "+at))
	asked := func(n int) map[string]int {
		out := map[string]int{}
		for range n {
			resp, err := http.Get("http://127.0.0.1:" + port + "/")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
			out[string(body)]++
		}
		return out
	}
	for _, tt := range []struct {
		zone, node string
		want       string
	}{
		{"a", "", "map[127.0.0.2:20]"},
		{"b", "b-2", "map[127.0.0.4:20]"},
		{"a", "b-1", "map[127.0.0.3:20]"},
	} {
		p := weirtest.Start(t, "proxy", "-c", bootstrap, "--drain-strategy", "immediate", "--service-cluster", "default/edge", "--service-zone", tt.zone,
			"--config-yaml", fmt.Sprintf("node: {metadata: {NODE_NAME: %q}}", tt.node))
		listens(t, "127.0.0.1:"+port)
		if got := fmt.Sprint(asked(20)); got != tt.want {
			t.Errorf("zone %q, node %q: %s, want %s", tt.zone, tt.node, got, tt.want)
		}
		p.Signal(syscall.SIGTERM)
		p.Wait(30 * time.Second)
	}
	// The zone is that of the Node; within it both are alike, until none is there.
	weirtest.Start(t, "proxy", "-c", bootstrap, "--service-cluster", "default/edge", "--config-yaml", "node: {metadata: {NODE_NAME: b-9}}")
	listens(t, "127.0.0.1:"+port)
	if got := asked(60); len(got) != 2 || got["127.0.0.2"] > 0 {
		t.Errorf("of node b-9: %v", got)
	}
	write(objects, strings.Replace(text, "- {addresses: [127.0.0.3], zone: b, nodeName: b-1}\n- {addresses: [127.0.0.4], zone: b, nodeName: b-2}\n", "", 1))
	got := asked(20)
	for end := time.Now().Add(30 * time.Second); got["127.0.0.2"] < 20 && time.Now().Before(end); {
		got = asked(20)
	}
	if got["127.0.0.2"] < 20 {
		t.Errorf("once there is none in the zone: %v", got)
	}
}

// serveNamed serves the name of a host at it.
func serveNamed(t *testing.T, host, port string) {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(host)) })}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close() })
}
