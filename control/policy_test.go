// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control"
	"weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/source"
)

// TestWhatAPolicyTouches changes a policy of one of fifty routes: the virtual hosts of the
// others, their clusters and the listener stay what they were.
func TestWhatAPolicyTouches(t *testing.T) {
	const policy = `---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: r7}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r7}]
  timeout: {http: {requestTimeout: 1s}}
  circuitBreaker: {maxConnections: 1}
`
	all := controltest.Objects(t, edge+routes(50)+policy)
	w := controltest.NewWorld(t, control.Options{})
	w.Apply(all...)
	before := w.Snapshot()
	key := source.Key{Kind: source.BackendTrafficPolicy, Name: source.Name{Namespace: "default", Name: "r7"}}
	changed := w.View().Get(key).DeepCopyObject().(*envoygateway.BackendTrafficPolicy)
	timeout, most := gwapiv1.Duration("2s"), int64(2)
	changed.Spec.Timeout.HTTP.RequestTimeout = &timeout
	changed.Spec.CircuitBreaker.MaxConnections = &most
	w.Apply(source.Change{Key: key, Object: changed})
	after := w.Snapshot()
	old, _ := before.Routes().Get("default/edge/80")
	now, _ := after.Routes().Get("default/edge/80")
	fresh := 0
	for i, vh := range now.GetVirtualHosts() {
		if vh != old.GetVirtualHosts()[i] {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d virtual hosts were made anew", fresh)
	}
	fresh = 0
	for name, m := range after.Clusters().All() {
		if was, ok := before.Clusters().Get(name); !ok || was != m {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d clusters were made anew", fresh)
	}
	if l, was := get(after.Listeners().Get("default/edge/80")), get(before.Listeners().Get("default/edge/80")); l != was {
		t.Error("the listener was made anew")
	}
}

// TestManyAncestors: a status has room for sixteen ancestors, and tells of more at the last.
func TestManyAncestors(t *testing.T) {
	objects, targets := edge, ""
	for i := range 18 {
		name := fmt.Sprintf("g%02d", i)
		objects += "---\n" + `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: ` + name + `}, spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}}` + "\n"
		targets += `{group: gateway.networking.k8s.io, kind: Gateway, name: ` + name + "},"
	}
	objects += "---\n" + `{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: BackendTrafficPolicy, metadata: {name: all}, spec: {targetRefs: [` + targets + "], timeout: {http: {requestTimeout: 1s}}}}\n"
	all := controltest.Objects(t, objects)
	w := controltest.NewWorld(t, control.Options{})
	w.Apply(all...)
	_, text, _ := strings.Cut(w.Status(), "BackendTrafficPolicy default/all\n")
	text, _, _ = strings.Cut(text, "\nGateway ")
	text = strings.TrimSpace(text)
	if n := strings.Count(text, "at Gateway"); n != 16 || !strings.HasSuffix(text, "g15: Accepted, Aggregated") {
		t.Errorf("%d: %s", n, text)
	}
}
