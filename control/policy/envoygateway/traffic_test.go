// SPDX-License-Identifier: Apache-2.0

package envoygateway_test

import (
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/source"
)

// oneGateway is what policies are for, and begins what else there is.
const oneGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  gatewayClassName: weir
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
`

const utilized = oneGateway + `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: default}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{name: app, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: app, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  loadBalancer: {type: BackendUtilization, backendUtilization: {KEEP}}
  healthCheck: {active: {type: TCP, overrides: {port: PORT}}}
`

// TestUtilization holds what a BackendTrafficPolicy comes to where the brief form does not
// show it: the port that is checked, and what clients see of reports of load.
func TestUtilization(t *testing.T) {
	for _, test := range []struct {
		keep, port string
		removed    []string
		asked      uint32
		told       string
	}{
		{"blackoutPeriod: 1s", "9090", []string{"endpoint-load-metrics", "endpoint-load-metrics-bin"}, 9090, ""},
		{"keepResponseHeaders: false", "1", []string{"endpoint-load-metrics", "endpoint-load-metrics-bin"}, 1, ""},
		{"keepResponseHeaders: true", "65535", nil, 65535, ""},
		{"keepResponseHeaders: true", "65536", nil, 0, "spec.healthCheck.active.overrides.port: 65536 is no port"},
	} {
		w := controltest.NewWorld(t, control.Options{})
		w.Apply(controltest.Objects(t, strings.NewReplacer("KEEP", test.keep, "PORT", test.port).Replace(utilized))...)
		if got := w.Status(); !strings.Contains(got, test.told) || strings.Contains(got, "Warning") {
			t.Errorf("%s, %s: it is not told that %q:\n%s", test.keep, test.port, test.told, got)
		}
		for _, rc := range w.Snapshot().Routes().All() {
			for _, h := range rc.GetVirtualHosts() {
				for _, r := range h.GetRoutes() {
					if got := r.GetResponseHeadersToRemove(); !slices.Equal(got, test.removed) {
						t.Errorf("%s: responses lose %v, want %v", test.keep, got, test.removed)
					}
				}
			}
		}
		asked := uint32(0)
		for _, c := range w.Snapshot().Clusters().All() {
			for _, h := range c.GetHealthChecks() {
				asked = h.GetAltPort().GetValue()
			}
		}
		if asked != test.asked {
			t.Errorf("port %s: %d is asked", test.port, asked)
		}
	}
}

// TestLonelyBackend: a Backend that no route leads to has a status, unless Envoy Gateway is
// there to tell.
func TestLonelyBackend(t *testing.T) {
	const told = "Backend default/lost\n  nothing holds\n    not Accepted (Invalid): spec.tls.caCertificateRefs[0]: there is no ConfigMap default/none"
	w := controltest.NewWorld(t, control.Options{})
	w.Apply(controltest.Objects(t, `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: lost, namespace: default}
spec: {endpoints: [{fqdn: {hostname: a.example.com, port: 80}}], tls: {caCertificateRefs: [{group: "", kind: ConfigMap, name: none}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: fine, namespace: default}
spec: {endpoints: [{fqdn: {hostname: a.example.com, port: 80}}]}
`)...)
	const fine = "Backend default/fine\n  Accepted\n"
	if got := w.Status(); !strings.Contains(got, told) || !strings.Contains(got, fine) {
		t.Errorf("alone:\n%s", got)
	}
	class := controltest.Objects(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: envoy}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
`)
	w.Apply(class...)
	if got := w.Status(); strings.Contains(got, "Accepted") {
		t.Errorf("beside Envoy Gateway:\n%s", got)
	}
	w.Apply(source.Change{Key: class[0].Key})
	if got := w.Status(); !strings.Contains(got, told) || !strings.Contains(got, fine) {
		t.Errorf("alone again:\n%s", got)
	}
}

// TestBinaryAnswer: a body of a ConfigMap's binaryData is answered as it is.
func TestBinaryAnswer(t *testing.T) {
	const png = "\x89PNG\r\n\x1a\n"
	found := 0
	for _, rc := range worldOf(t, "testdata/incompatible.txtar").Snapshot().Routes().All() {
		for _, h := range rc.GetVirtualHosts() {
			for _, r := range h.GetRoutes() {
				if string(r.GetDirectResponse().GetBody().GetInlineBytes()) == png {
					found++
				}
			}
		}
	}
	if found != 3 {
		t.Errorf("%d routes answer the picture", found)
	}
}

// TestNoLimiter: a global limit where nothing counts it is told, and lets nobody pass.
func TestNoLimiter(t *testing.T) {
	w := controltest.NewWorld(t, control.Options{})
	w.Apply(controltest.Objects(t, oneGateway+`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: default}
spec:
  parentRefs: [{name: gw}]
  rules:
  - {matches: [{path: {value: /a}}], filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: RateLimitFilter, name: old}}]}
  - {matches: [{path: {value: /b}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: app, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  rateLimit: {type: Global, global: {rules: [{limit: {requests: 3, unit: Hour}}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: RateLimitFilter
metadata: {name: old, namespace: default}
spec: {type: Global, global: {rules: [{limit: {requests: 3, unit: Hour}}]}}
`)...)
	if got := w.Status(); strings.Count(got, "needs a limiter that proxies share") < 2 {
		t.Errorf("it is not told:\n%s", got)
	}
	for _, rc := range w.Snapshot().Routes().All() {
		for _, h := range rc.GetVirtualHosts() {
			for _, r := range h.GetRoutes() {
				if r.GetDirectResponse().GetStatus() != 500 {
					t.Errorf("%s lets requests pass", r.GetName())
				}
			}
		}
	}
}

// TestMoreStatistics: an EnvoyProxy has clusters of its Gateways count sizes, those that are there, too, and virtual hosts
// have statistics; and not for others.
func TestMoreStatistics(t *testing.T) {
	const more = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: other, namespace: default}
spec: {gatewayClassName: weir, listeners: [{name: http, protocol: HTTP, port: 81}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: both, namespace: default}
spec: {parentRefs: [{name: gw}, {name: other}], rules: [{backendRefs: [{name: app, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: sized, namespace: default}
spec: {telemetry: {metrics: {enableRequestResponseSizesStats: SIZED, enableVirtualHostStats: SIZED, enableGRPCStats: SIZED}}}
`
	w := controltest.NewWorld(t, control.Options{})
	named := strings.Replace(oneGateway, "gatewayClassName: weir", "gatewayClassName: weir\n  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: sized}}", 1)
	for _, sized := range []string{"false", "true", "false"} {
		w.Apply(controltest.Objects(t, named+strings.ReplaceAll(more, "SIZED", sized))...)
		if n, want := strings.Count(w.XDS(), "grpc_stats"), map[string]int{"false": 0, "true": 1}[sized]; n != want {
			t.Errorf("statistics of gRPC are wanted: %s: %d chains have them", sized, n)
		}
		for table, want := range map[string]bool{"gw/80": sized == "true", "other/81": false} {
			gateway, _, _ := strings.Cut(table, "/")
			m, ok := w.Snapshot(source.Name{Namespace: "default", Name: gateway}).Clusters().Get("default/app/80")
			rc, _ := w.Snapshot().Routes().Get("default/" + table)
			if got := len(rc.GetVirtualHosts()[0].GetVirtualClusters()) == 1; got != want {
				t.Errorf("virtual hosts have statistics: %s: it is %v that %s's do", sized, got, gateway)
			}
			if got := m.GetTrackClusterStats().GetRequestResponseSizes(); !ok || got != want {
				t.Errorf("sizes are counted: %s: it is %v that the cluster of %s, which is there: %v, does", sized, got, gateway, ok)
			}
		}
	}
}
