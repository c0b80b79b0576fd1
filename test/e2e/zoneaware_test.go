// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// zoneAware is a Service with endpoints in two zones, and a policy of what zones mean to it. %[1]s is the gateway's port,
// %[2]s that of the endpoints, %[3]s the policy's load balancer. What the Service says itself does not count.
const zoneAware = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec: {gatewayClassName: eg, addresses: [{value: 127.0.0.1}], listeners: [{name: http, port: %[1]s, protocol: HTTP}]}
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
- {addresses: [127.0.0.3], zone: a, nodeName: a-2}
- {addresses: [127.0.0.4], zone: b, nodeName: b-1}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: app, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  loadBalancer: {%[3]s}
  healthCheck: {passive: {consecutive5XxErrors: 1, consecutiveGatewayErrors: 1, interval: 10s, baseEjectionTime: 600s, maxEjectionPercent: 100}}
`

// goneFromZone is an endpoint of zone a, which has one left without it.
const goneFromZone = "- {addresses: [127.0.0.3], zone: a, nodeName: a-2}\n"

// TestZoneAware has requests stay in the zone of a proxy of its own as long as that has the endpoints, and the healthy ones,
// that a policy asks for, and go to all of them otherwise.
func TestZoneAware(t *testing.T) {
	const (
		here = "127.0.0.2 127.0.0.3"
		all  = "127.0.0.2 127.0.0.3 127.0.0.4"
		left = "127.0.0.2 127.0.0.4"
		one  = "type: RoundRobin, zoneAware: {preferLocal: {minEndpointsThreshold: 1, force: {minEndpointsInZoneThreshold: 1}}}"
		two  = "type: LeastRequest, zoneAware: {preferLocal: {minEndpointsThreshold: 2, force: {minEndpointsInZoneThreshold: 2}}}"
	)
	hosts := weirtest.FreePort(t)
	broken := map[string]*atomic.Bool{}
	for _, host := range strings.Fields(all) {
		broken[host] = breakable(t, host, hosts)
	}
	for _, tt := range []struct {
		name, zone, balancer string
		// first is who answers, fewer who does once there is an endpoint less.
		first, fewer string
		// fail are endpoints that then fail one after the other, and wants who answers each time.
		fail, wants []string
	}{
		{"stays", "a", one, here, "127.0.0.2", []string{"127.0.0.2"}, []string{"127.0.0.4"}},
		{"stays with the last that is healthy", "a", one, here, "", []string{"127.0.0.2", "127.0.0.3"}, []string{"127.0.0.3", "127.0.0.4"}},
		{"stays in the other zone", "eu/b", one, "127.0.0.4", "127.0.0.4", nil, nil},
		{"leaves when too few are there", "a", two, here, left, nil, nil},
		{"leaves when too few are healthy", "a", two, here, "", []string{"127.0.0.2"}, []string{"127.0.0.3 127.0.0.4"}},
		{"never stays with fewer than six", "a", "type: Random, zoneAware: {preferLocal: {force: {}}}", all, left, nil, nil},
		{"stays for a share of requests", "a", "type: Random, zoneAware: {preferLocal: {minEndpointsThreshold: 1, percentageEnabled: 50, force: {}}}", all, left, nil, nil},
		{"a zone that nobody knows", "z", one, all, left, nil, nil},
		{"no zone", "", one, all, left, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, b := range broken {
				b.Store(false)
			}
			port, objects := weirtest.FreePort(t), filepath.Join(t.TempDir(), "objects.yaml")
			text := fmt.Sprintf(zoneAware, port, hosts, tt.balancer)
			write := func(text string) {
				if err := os.WriteFile(objects, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(text)
			p := weirtest.Start(t, "run", objects, "--admin", "", "--drain-strategy", "immediate", "--service-zone", tt.zone)
			p.WaitFor("Ready.")
			answeredBy(t, "http://127.0.0.1:"+port+"/", tt.first)
			if tt.fewer != "" {
				write(strings.Replace(text, goneFromZone, "", 1))
				answeredBy(t, "http://127.0.0.1:"+port+"/", tt.fewer)
			}
			for i, want := range tt.wants {
				broken[tt.fail[i]].Store(true)
				answeredBy(t, "http://127.0.0.1:"+port+"/", want)
			}
			ended(p)
		})
	}
}

// TestZoneShares has the proxies of a control plane share requests over zones: by weights, and as much as is to stay.
func TestZoneShares(t *testing.T) {
	asks, err := os.ReadFile(filepath.Join(moduleRoot, "examples/envoy/dynamic-control-plane/grpc/deltas.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	port, hosts := weirtest.FreePort(t), weirtest.FreePort(t)
	for _, host := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		serveNamed(t, host, hosts)
	}
	const requests = 1000
	for _, tt := range []struct {
		name, balancer string
		// least and most are how many requests zone b gets.
		least, most int
	}{
		{"RoundRobin", "type: RoundRobin, zoneAware: {weightedZones: [{zone: a, weight: 20}, {zone: b, weight: 80}]}", 750, 850},
		{"LeastRequest", "type: LeastRequest, zoneAware: {weightedZones: [{zone: b, weight: 4}]}", 750, 850},
		{"Random", "type: Random, zoneAware: {weightedZones: [{zone: b, weight: 4}, {zone: elsewhere, weight: 1000}]}", 750, 850},
		{"BackendUtilization", "type: BackendUtilization, backendUtilization: {}, zoneAware: {weightedZones: [{zone: a, weight: 70}, {zone: b, weight: 30}]}", 250, 350},
		{"ConsistentHash", "type: ConsistentHash, consistentHash: {type: Headers, headers: [{name: x-n}]}, zoneAware: {weightedZones: [{zone: a, weight: 20}, {zone: b, weight: 80}]}", 740, 860},
		{"nothing for a zone", "type: Random, zoneAware: {weightedZones: [{zone: b, weight: 0}]}", 0, 0},
		// Of 40 percent a third.
		{"most stay", "type: Random, zoneAware: {preferLocal: {minEndpointsThreshold: 1, percentageEnabled: 60, force: {}}}", 83, 183},
		{"all stay", "type: Random, zoneAware: {preferLocal: {minEndpointsThreshold: 1, force: {}}}", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			objects, bootstrap := filepath.Join(t.TempDir(), "objects.yaml"), filepath.Join(t.TempDir(), "bootstrap.yaml")
			if err := os.WriteFile(objects, fmt.Appendf(nil, zoneAware, port, hosts, tt.balancer), 0o600); err != nil {
				t.Fatal(err)
			}
			c := weirtest.Start(t, "control", objects, "--listen", "127.0.0.1:0")
			c.WaitFor("listening for proxies")
			at := regexp.MustCompile(`address=127\.0\.0\.1:(\d+)`).FindStringSubmatch(c.Output())[1]
			if err := os.WriteFile(bootstrap, []byte(strings.ReplaceAll(string(asks), "port_value: 18000", "port_value: "+at)), 0o600); err != nil {
				t.Fatal(err)
			}
			p := weirtest.Start(t, "proxy", "-c", bootstrap, "--drain-strategy", "immediate", "--service-cluster", "default/edge", "--service-zone", "a")
			listens(t, "127.0.0.1:"+port)
			got := 0
			for i := range requests {
				if answers(t, "http://127.0.0.1:"+port+"/", fmt.Sprint(i)) == "127.0.0.4" {
					got++
				}
			}
			if got < tt.least || got > tt.most {
				t.Errorf("%d of %d requests go to zone b, want %d to %d", got, requests, tt.least, tt.most)
			}
			ended(p, c)
		})
	}
}

// ended ends processes whose clients have no more to ask.
func ended(all ...*weirtest.Process) {
	http.DefaultClient.CloseIdleConnections()
	for _, p := range all {
		p.Signal(syscall.SIGTERM)
		p.Wait(30 * time.Second)
	}
}

// answers returns who answers a request that has a header of its own.
func answers(t *testing.T, url, header string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("x-n", header)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	return string(body)
}
