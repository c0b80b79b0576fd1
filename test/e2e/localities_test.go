// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// localities are a Service, told by EndpointSlices and Nodes, and a host of a ServiceEntry, each with hosts in two zones of
// one region, and one of another.
const localities = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: %[1]s, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app, namespace: default}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
    - {match: [{uri: {prefix: /entry}}], route: [{destination: {host: app.example.org}}], retries: {attempts: 0}}
    - {route: [{destination: {host: app}}], retries: {attempts: 0}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: app, namespace: default}
spec: {host: app, trafficPolicy: %[3]s}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: entry, namespace: default}
spec: {host: app.example.org, trafficPolicy: %[3]s}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: app, namespace: default}
spec:
  hosts: [app.example.org]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: %[2]s}]
  endpoints:
    - {address: 127.0.0.2, locality: eu/a, labels: {version: v1}}
    - {address: 127.0.0.3, locality: eu/b, labels: {version: v2}}
    - {address: 127.0.0.4, locality: us/c, labels: {version: v2}}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app-1, namespace: default, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: %[2]s}]
endpoints:
- {addresses: [127.0.0.2], zone: a, nodeName: a-1, targetRef: {kind: Pod, name: one}}
- {addresses: [127.0.0.3], zone: b, nodeName: b-1, targetRef: {kind: Pod, name: two}}
- {addresses: [127.0.0.4], zone: c, nodeName: c-1, targetRef: {kind: Pod, name: two}}
---
apiVersion: v1
kind: Node
metadata: {name: a-1, labels: {topology.kubernetes.io/zone: a, topology.kubernetes.io/region: eu}}
---
apiVersion: v1
kind: Node
metadata: {name: b-1, labels: {topology.kubernetes.io/zone: b, topology.kubernetes.io/region: eu}}
---
apiVersion: v1
kind: Node
metadata: {name: c-1, labels: {topology.kubernetes.io/zone: c, topology.kubernetes.io/region: us}}
---
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: default, labels: {version: v1}}
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: default, labels: {version: v2}}
`

// TestLocalities has requests stay where the proxy is, go on to other places as hosts fail, and be shared as a
// DestinationRule says.
func TestLocalities(t *testing.T) {
	hosts := weirtest.FreePort(t)
	broken := map[string]*atomic.Bool{}
	for _, host := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		broken[host] = breakable(t, host, hosts)
	}
	const outliers = "outlierDetection: {consecutive5xxErrors: 1, interval: 10s, baseEjectionTime: 600s, maxEjectionPercent: 100}"
	for _, tt := range []struct {
		name, zone, policy string
		// wants are who answers at first, and once each of fail has failed.
		fail  []string
		wants []string
	}{
		{"near, as hosts can fail", "eu/a", "{" + outliers + "}", []string{"127.0.0.2", "127.0.0.3"}, []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}},
		{"near", "eu/b", "{" + outliers + ", loadBalancer: {localityLbSetting: {enabled: true}}}", []string{"127.0.0.3"}, []string{"127.0.0.3", "127.0.0.2"}},
		{"off", "eu/a", "{" + outliers + ", loadBalancer: {localityLbSetting: {enabled: false}}}", nil, []string{"127.0.0.2 127.0.0.3 127.0.0.4"}},
		{"nowhere", "", "{" + outliers + "}", nil, []string{"127.0.0.2 127.0.0.3 127.0.0.4"}},
		{
			"another region", "sa/d", "{" + outliers + ", loadBalancer: {localityLbSetting: {failover: [{from: sa, to: us}]}}}",
			[]string{"127.0.0.4"}, []string{"127.0.0.4", "127.0.0.2 127.0.0.3"},
		},
		{
			"by labels", "us/c", "{" + outliers + ", loadBalancer: {localityLbSetting: {failoverPriority: [version=v2, topology.kubernetes.io/region]}}}",
			[]string{"127.0.0.4", "127.0.0.3"}, []string{"127.0.0.4", "127.0.0.3", "127.0.0.2"},
		},
		{"shares", "eu/a", "{loadBalancer: {localityLbSetting: {distribute: [{from: eu/a/*, to: {eu/a/*: 75, us/*: 25}}]}}}", nil, []string{"127.0.0.2 127.0.0.4"}},
		{"shares of all", "", "{loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {distribute: [{from: '*', to: {eu/b: 100}}]}}}", nil, []string{"127.0.0.3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, b := range broken {
				b.Store(false)
			}
			port := weirtest.FreePort(t)
			objects := filepath.Join(t.TempDir(), "objects.yaml")
			if err := os.WriteFile(objects, fmt.Appendf(nil, localities, port, hosts, tt.policy), 0o600); err != nil {
				t.Fatal(err)
			}
			p := weirtest.Start(t, "run", objects, "--admin", "", "--drain-strategy", "immediate", "--service-zone", tt.zone)
			p.WaitFor("Ready.")
			for i, want := range tt.wants {
				if i > 0 {
					broken[tt.fail[i-1]].Store(true)
				}
				for _, path := range []string{"/", "/entry"} {
					answeredBy(t, "http://127.0.0.1:"+port+path, want)
				}
			}
			ended(p)
		})
	}
}

// breakable serves the name of a host at it; with the value set, 503.
func breakable(t *testing.T, host, port string) *atomic.Bool {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		t.Fatal(err)
	}
	broken := &atomic.Bool{}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte(host))
	})}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close() })
	return broken
}

// answeredBy asks until exactly these hosts answer 40 requests, all of them with 200.
func answeredBy(t *testing.T, url, want string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		seen := map[string]int{}
		for range 40 {
			resp, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusOK {
				body = fmt.Appendf(body, "(%d)", resp.StatusCode)
			}
			seen[string(body)]++
		}
		if got = names(seen); got == want {
			return
		}
	}
	t.Fatalf("%s is answered by %q, want %q", url, got, want)
}

func names(of map[string]int) string {
	out := ""
	for i, n := range slices.Sorted(maps.Keys(of)) {
		if i > 0 {
			out += " "
		}
		out += n
	}
	return out
}
