// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/local"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/xds"
)

// told keeps the newest status of each object: in brief, and whole.
type told map[string]string

func (w told) Write(updates []*status.Update) {
	for _, u := range updates {
		whole, err := json.Marshal(u.Status)
		if err != nil {
			panic(err)
		}
		w[u.Key.String()] = status.Brief(u) + string(whole)
	}
}

// A claimant is a gateway of some dialect that wants port 8080 for all hosts, and the object that is told of it. BORN
// is where the time goes at which it was made.
type claimant struct{ dialect, gateway, object, path, objects string }

// claimants are of all dialects, those that have precedence first. The last is that of the RouteRules of 2018, which
// refine an Ingress.
var claimants = []claimant{
	{"Gateway API", "default/edge", "Gateway default/edge", "listener http", `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, creationTimestamp: "BORN"}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
`},
	{"Emissary", "emissary-default", "Listener default/http", "spec.port", `
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http, creationTimestamp: "BORN"}
spec: {port: 8080, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: all, creationTimestamp: "BORN"}
spec: {hostname: "*", requestPolicy: {insecure: {action: Route}}}
`},
	{"Istio", "istio-ingressgateway", "Gateway default/mesh", "spec.servers[0].port", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: mesh, creationTimestamp: "BORN"}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]}
`},
	{"Ingress", "ingress-plain", "Ingress default/plain", "spec", `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: plain, annotations: {weir.dev/http-port: "8080"}}
spec: {controller: weir.dev/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain, creationTimestamp: "BORN"}
spec: {ingressClassName: plain, defaultBackend: {service: {name: shop, port: {number: 80}}}}
`},
	{"RouteRule", "ingress-rules", "Ingress default/rules", "spec", `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: rules, annotations: {weir.dev/http-port: "8080"}}
spec: {controller: istio.io/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: rules, creationTimestamp: "BORN"}
spec: {ingressClassName: rules, defaultBackend: {service: {name: shop, port: {number: 80}}}}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: rules, creationTimestamp: "BORN"}
spec: {destination: {name: shop}, route: [{labels: {version: v1}}]}
`},
}

const shop = `
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{port: 80}]}
`

// TestPrecedence has gateways of all pairs of dialects want one port of one proxy: the dialect that comes first has it, however
// old its objects are, and both are told so. When it goes, the other has the port, and nobody is told of anything.
func TestPrecedence(t *testing.T) {
	for i, first := range claimants {
		for _, second := range claimants[i+1:] {
			for _, elder := range []claimant{first, second} {
				t.Run(fmt.Sprintf("%s, %s, older is %s", first.dialect, second.dialect, elder.dialect), func(t *testing.T) {
					precedence(t, first, second, elder == first)
				})
			}
		}
	}
}

func precedence(t *testing.T, first, second claimant, older bool) {
	var serving *xds.Snapshot
	statuses := told{}
	tr := control.NewTranslator(control.Options{})
	c := &control.Controller{
		Queue: &source.Queue{}, Translator: tr, Writer: statuses,
		Runner: local.New(local.Options{Reached: "127.0.0.1", Apply: func(s *xds.Snapshot) []xds.Problem { serving = s; return nil }}),
	}
	born := []string{"2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"}
	if !older {
		slices.Reverse(born)
	}
	one := controltest.Objects(t, strings.ReplaceAll(first.objects, "BORN", born[0]))
	c.Step(slices.Concat(controltest.Objects(t, shop+"---"+strings.ReplaceAll(second.objects, "BORN", born[1])), one))
	serves := func(who claimant) {
		t.Helper()
		var names []string
		for name := range serving.Listeners().All() {
			names = append(names, name)
		}
		if want := []string{who.gateway + "/8080"}; !slices.Equal(names, want) {
			t.Errorf("the listeners are %v, want %v", names, want)
		}
	}
	serves(first)
	tells := func(who claimant, text string) {
		t.Helper()
		if got := statuses[who.object]; !strings.Contains(got, text) || !strings.Contains(got, who.path) {
			t.Errorf("%s is not told at %s that %s, but:\n%s", who.object, who.path, text, got)
		}
	}
	const remedy = ": give one of them an address of its own, or another port"
	tells(first, fmt.Sprintf("%s wants port 8080, too, and does not get it", second.gateway)+remedy)
	tells(second, fmt.Sprintf("port 8080 is taken by %s, which has precedence", first.gateway)+remedy)
	for i := range one {
		one[i].Object = nil
	}
	c.Step(one)
	serves(second)
	if got := statuses[second.object]; strings.Contains(got, "port 8080") {
		t.Errorf("%s is still told:\n%s", second.object, got)
	}
}
