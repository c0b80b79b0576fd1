// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// services are a Service with an endpoint, which is the demo's orders, and one with none.
const services = `
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{name: web, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: web, port: %s}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {ports: [{port: 80}]}
`

// edge is an edge of v1 that finds the hosts of the Service by version 1 of discovery.
const edge = `{"listeners": [{"address": "tcp://%[1]s", "filters": [{"type": "read", "name": "http_connection_manager", "config": {
  "codec_type": "auto", "stat_prefix": "ingress_http",
  "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["foo.com"], "routes": [{"timeout_ms": 0, "prefix": "/", "cluster": "shop.default.svc.cluster.local"}]}]},
  "filters": [{"type": "decoder", "name": "router", "config": {}}]}}]}],
 "admin": {"access_log_path": "/dev/null", "address": "tcp://127.0.0.1:0"},
 "cluster_manager": {
  "clusters": [{"name": "shop.default.svc.cluster.local", "connect_timeout_ms": 250, "type": "sds", "lb_type": "round_robin", "service_name": "shop.default.svc.cluster.local"}],
  "sds": {"cluster": {"name": "kubernetes-envoy-sds", "type": "static", "connect_timeout_ms": 250, "lb_type": "round_robin", "hosts": [{"url": "tcp://%[2]s"}]}, "refresh_delay_ms": 50}}}`

// TestServicesAreRegistered lets an edge of v1 find the endpoints of a Service, from files,
// by the discovery that the same process serves.
func TestServicesAreRegistered(t *testing.T) {
	f := weirtest.Example(t, moduleRoot, "examples/quickstart")
	at := []string{"127.0.0.1:" + weirtest.FreePort(t), "127.0.0.1:" + weirtest.FreePort(t)}
	for name, text := range map[string]string{"services.yaml": fmt.Sprintf(services, f.Ports["9001"]), "edge.json": fmt.Sprintf(edge, at[0], at[1])} {
		if err := os.WriteFile(filepath.Join(f.Path, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := weirtest.Start(t, f.Run("--drain-strategy", "immediate", "--registration", at[1])...)
	p.WaitFor("Ready.")
	ask := "curl -s http://" + at[1] + "/v1/registration/"
	until(t, f, ask+"shop.default.svc.cluster.local", `{"hosts":[{"ip_address":"127.0.0.1","port":`)
	until(t, f, ask+"empty.default.svc.cluster.local", `{"hosts":[]}`)
	until(t, f, ask+"nobody.default", `{"hosts":[]}`)
	until(t, f, "curl -si http://"+at[1]+"/v1/registration/shop", "HTTP/1.1 400")
	until(t, f, "curl -s -H 'host: foo.com' http://"+at[0]+"/", `"name":"orders"`)
	f.Edit(t, "services.yaml", "addresses: [127.0.0.1]", "addresses: [127.0.0.9]")
	until(t, f, ask+"shop.default", `"ip_address":"127.0.0.9"`)
	p.Signal(syscall.SIGTERM)
	if status := p.Wait(30 * time.Second); status != 0 {
		t.Errorf("status %d after SIGTERM", status)
	}
}

// TestControlRegisters: a control plane answers, too.
func TestControlRegisters(t *testing.T) {
	f := weirtest.Example(t, moduleRoot, "examples/quickstart")
	if err := os.WriteFile(filepath.Join(f.Path, "services.yaml"), []byte(fmt.Sprintf(services, "9001")), 0o644); err != nil {
		t.Fatal(err)
	}
	c := weirtest.Start(t, "control", f.Path, "--listen", "127.0.0.1:0", "--registration", "127.0.0.1:0")
	c.WaitFor("listening for proxies")
	at := regexp.MustCompile(`service discovery address=(\S+)`).FindStringSubmatch(c.Output())
	if at == nil {
		t.Fatal(c.Output())
	}
	until(t, f, "curl -s http://"+at[1]+"/v1/registration/shop.default", `{"hosts":[{"ip_address":"127.0.0.1","port":9001`)
	c.Signal(syscall.SIGTERM)
	if status := c.Wait(30 * time.Second); status != 0 {
		t.Errorf("status %d after SIGTERM", status)
	}
}
