// SPDX-License-Identifier: Apache-2.0

// Package bench measures how quickly and how cheaply Weir takes up what a cluster says: the scenarios of
// github.com/howardjohn/gateway-api-bench, made anew on this cluster. Small sizes are a test of its own: no request may
// be answered with an error while something changes. With WEIR_BENCH_CONTROL=full the sizes are the published ones.
package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"weir.dev/weir/test/kube/cluster"
	"weir.dev/weir/test/kube/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// full tells that the sizes are the published ones.
func full() bool { return os.Getenv("WEIR_BENCH_CONTROL") == "full" }

// size returns how much of something there is.
func size(published, small int) int {
	if full() {
		return published
	}
	return small
}

// The kinds that scenarios make.
var (
	httpRoutes     = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}
	gateways       = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}
	services       = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	endpointSlices = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
)

// backendAddress is where the backend of all routes listens, at two ports.
const backendAddress = "10.246.0.2"

var backendPorts = [2]int{8080, 8081}

const base = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: weir
  addresses: [{value: 10.246.9.1}]
  allowedListeners: {namespaces: {from: All}}
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: default}
spec: {ports: [{name: a, port: 80, targetPort: 8080}, {name: b, port: 8080, targetPort: 8081}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: backend, namespace: default, labels: {kubernetes.io/service-name: backend}}
addressType: IPv4
ports: [{name: a, port: 8080, protocol: TCP}, {name: b, port: 8081, protocol: TCP}]
endpoints: [{addresses: [10.246.0.2]}]
`

// A system is a cluster with a Gateway and a backend, and Weir that serves it: a control plane and a proxy.
type system struct {
	kubetest.Cluster
	t              *testing.T
	control, proxy cluster.Process
	client         *http.Client
}

// The control plane listens at controlAddress, and the proxy binds address.
const (
	controlAddress = "127.0.0.1:18000"
	address        = "10.246.9.1"
)

// bootstrap is what the proxy starts from, as one that is provisioned.
const bootstrap = `
node: {id: proxy, cluster: default/edge}
cluster_manager: {enable_deferred_cluster_creation: true}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{google_grpc: {target_uri: "` + controlAddress + `", stat_prefix: control}}]
  cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
  lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
`

// start starts a system.
func start(t *testing.T) *system {
	s := &system{Cluster: kubetest.Start(t, kubetest.Options{Channel: "experimental"}), t: t}
	for _, port := range backendPorts {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(backendAddress, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("ok")) // The client counts what it gets.
		}), ReadHeaderTimeout: time.Minute}
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(l) }()
		t.Cleanup(func() {
			_ = server.Close() // Its error is that of Serve.
			<-ended
		})
	}
	s.Apply(t, base)
	weir := kubetest.Programs()["weir"]
	s.control = s.Run(t, "control", weir, "control", "--kubeconfig", s.Kubeconfig(), "--listen", controlAddress)
	file := filepath.Join(t.TempDir(), "proxy.yaml")
	if err := os.WriteFile(file, []byte(bootstrap), 0o600); err != nil {
		t.Fatal(err)
	}
	s.proxy = s.Run(t, "proxy", weir, "proxy", "-c", file, "--concurrency", "1")
	s.Until(t, "the Gateway to be programmed", func(context.Context) error {
		o := s.Get(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`)
		list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		for _, c := range list {
			if c, ok := c.(map[string]any); ok && c["type"] == "Programmed" && c["status"] == "True" {
				return nil
			}
		}
		return fmt.Errorf("its status is %v", o.Object["status"])
	})
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	s.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	return s
}

// usage is what both processes have used and use.
type usage struct{ control, proxy share }

type share struct {
	cpu time.Duration
	rss int64 // bytes
}

// since tells what has been used since before, for each of n.
func (u usage) since(before usage, n int) string {
	of := func(u, b share) time.Duration {
		return ((u.cpu - b.cpu) / time.Duration(max(1, n))).Round(time.Microsecond)
	}
	return fmt.Sprintf("control plane %v of CPU and %d MiB, proxy %v and %d MiB", of(u.control, before.control), u.control.rss>>20, of(u.proxy, before.proxy), u.proxy.rss>>20)
}

// used reads what Weir has used.
func (s *system) used() usage {
	s.t.Helper()
	return usage{s.usedBy(s.control), s.usedBy(s.proxy)}
}

func (s *system) usedBy(p cluster.Process) share {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		s.t.Fatal(err)
	}
	const user, system, resident, tick = 11, 12, 21, 10 * time.Millisecond // fields after the name; see proc(5)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	number := func(i int) int64 {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		return n
	}
	return share{time.Duration(number(user)+number(system)) * tick, number(resident) * int64(os.Getpagesize())}
}

// ask sends a request and returns the status.
func (s *system) ask(host, path string) (int, error) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Host = host
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// object returns an object.
func object(apiVersion, kind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	for k, v := range spec {
		o.Object[k] = v
	}
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// route returns an HTTPRoute of a host, with rules.
func route(namespace, name, host string, rules ...any) *unstructured.Unstructured {
	return object("gateway.networking.k8s.io/v1", "HTTPRoute", namespace, name, map[string]any{"spec": map[string]any{
		"parentRefs": []any{map[string]any{"name": "edge", "namespace": "default"}},
		"hostnames":  []any{host}, "rules": rules,
	}})
}

// rule returns a rule that forwards what begins with a path, and changes headers both ways.
func rule(path, backend string, port int64, filters bool) map[string]any {
	out := map[string]any{
		"matches":     []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": path}}},
		"backendRefs": []any{map[string]any{"name": backend, "namespace": "default", "port": port}},
	}
	if filters {
		add := func(name string) map[string]any {
			return map[string]any{"add": []any{map[string]any{"name": name, "value": "added"}}}
		}
		out["filters"] = []any{
			map[string]any{"type": "RequestHeaderModifier", "requestHeaderModifier": add("added-header")},
			map[string]any{"type": "ResponseHeaderModifier", "responseHeaderModifier": add("added-resp-header")},
		}
	}
	return out
}
