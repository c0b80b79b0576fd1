// SPDX-License-Identifier: Apache-2.0

package envoygateway_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/control"
	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/controltest"
)

// callers name whom filters and logs call in every place there is. CALL1, CALL2 and so on
// stand for backends that have so many connections.
const callers = `
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
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: told}}
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: one, namespace: default}
spec: {parentRefs: [{name: gw}], hostnames: [one.example]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: two, namespace: default}
spec: {parentRefs: [{name: gw}], hostnames: [two.example]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: one, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: one}]
  extAuth: {grpc: {CALL1}}
  jwt: {providers: [{name: a, remoteJWKS: {uri: "https://a.example/keys", CALL2}}, {name: b, remoteJWKS: {uri: "https://b.example/keys", CALL3}}]}
  oidc: {clientID: weir, clientSecret: {name: client}, provider: {issuer: "https://c.example", authorizationEndpoint: "https://c.example/a", tokenEndpoint: "https://c.example/t", CALL4}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: two, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: two}]
  extAuth: {http: {CALL5}}
---
apiVersion: v1
kind: Secret
metadata: {name: client, namespace: default}
stringData: {client-secret: hush}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: one, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: one}]
  extProc: [{CALL6}, {CALL7}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: told, namespace: default}
spec:
  telemetry:
    tracing: {provider: {type: OpenTelemetry, CALL8}}
    accessLog:
      settings:
      - {sinks: [{type: File, file: {path: /dev/stdout}}, {type: ALS, als: {type: HTTP, CALL9}}]}
      - {sinks: [{type: OpenTelemetry, openTelemetry: {CALL10}}]}
`

// TestCalled: what backendSettings say is on the cluster of whoever is called.
func TestCalled(t *testing.T) {
	const places = 10
	text := callers
	want := map[string]uint32{}
	for i := places; i > 0; i-- { // CALL10 before CALL1.
		name := fmt.Sprintf("s%d", i)
		want["default/"+name+"/80"] = uint32(i)
		text = strings.ReplaceAll(text, fmt.Sprintf("CALL%d", i), fmt.Sprintf(
			"backendRefs: [{name: %s, port: 80}], backendSettings: {circuitBreaker: {maxConnections: %d}, loadBalancer: {type: Random, zoneAware: {weightedZones: [{zone: a, weight: %d}]}}}", name, i, i))
		text += fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: default}\nspec: {ports: [{port: 80}]}\n", name)
		text += fmt.Sprintf("---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %s, namespace: default, labels: {kubernetes.io/service-name: %s}}\n"+
			"addressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.1.0.1], zone: a}]\n", name, name)
	}
	w := controltest.NewWorld(t, control.Options{})
	w.Apply(controltest.Objects(t, text)...)
	if got := w.Status(); strings.Contains(got, "not Accepted") || strings.Contains(got, "Warning") {
		t.Fatalf("it is not all taken:\n%s", got)
	}
	for name, c := range w.Snapshot().Clusters().All() {
		for service, n := range want {
			if strings.HasPrefix(name, service) {
				if got := c.GetCircuitBreakers().GetThresholds(); len(got) != 1 || got[0].GetMaxConnections().GetValue() != n {
					t.Errorf("%s has the limits %v, want %d", name, got, n)
				}
				ends, _ := w.Snapshot().Endpoints().Get(c.GetEdsClusterConfig().GetServiceName())
				if got := ends.GetEndpoints(); len(got) != 1 || got[0].GetLoadBalancingWeight().GetValue() != n {
					t.Errorf("%s has the endpoints %v, want their zone to weigh %d", name, got, n)
				}
				delete(want, service)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("nobody calls %v", want)
	}
}

// TestCalledByDefault is about what EnvoyProxies leave out, which is in no namespace.
func TestCalledByDefault(t *testing.T) {
	var proxy api.EnvoyProxySpec
	if err := json.Unmarshal([]byte(`{"telemetry":{"tracing":{"provider":{"type":"OpenTelemetry",
		"backendRefs":[{"name":"s1","namespace":"default","port":80}],"backendSettings":{"circuitBreaker":{"maxConnections":1}}}},
		"accessLog":{"settings":[{"sinks":[{"type":"OpenTelemetry","openTelemetry":{"backendRefs":[{"name":"s1","port":80}]}}]}]}}}`), &proxy); err != nil {
		t.Fatal(err)
	}
	w := controltest.NewWorld(t, control.Options{Proxy: &proxy})
	w.Apply(controltest.Objects(t, oneGateway+"apiVersion: v1\nkind: Service\nmetadata: {name: s1, namespace: default}\nspec: {ports: [{port: 80}]}\n")...)
	found := 0
	for _, c := range w.Snapshot().Clusters().All() {
		if got := c.GetCircuitBreakers().GetThresholds(); len(got) == 1 && got[0].GetMaxConnections().GetValue() == 1 {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d clusters are as the default says", found)
	}
}
