// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/policy/envoygateway/install"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/golden"
)

// TestChangesComeToWhatAllAtOnceDoes adds and removes the objects of each golden at
// random, and compares what is remembered with what is made anew: standalone, for a fleet, and for one that counts
// nothing.
func TestChangesComeToWhatAllAtOnceDoes(t *testing.T) {
	paths, err := filepath.Glob("*/*/testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all, _ := controltest.Parse(t, golden.Parse(string(data)))
			r := rand.New(rand.NewPCG(7, uint64(len(all))))
			o := []control.Options{{Limits: &install.LimitService{}}, {Limits: &install.LimitService{}, Provision: true, Deliver: true}, {Provision: true}}[r.IntN(3)]
			w := controltest.NewWorld(t, o)
			present := map[int]bool{}
			for step := range 40 {
				var batch []source.Change
				for range 1 + r.IntN(3) {
					i := r.IntN(len(all))
					c := all[i]
					if present[i] = !present[i]; !present[i] {
						c.Object = nil
					}
					batch = append(batch, c)
				}
				w.Apply(batch...)
				fresh := controltest.NewWorld(t, o)
				var now []source.Change
				for i, c := range all {
					if present[i] {
						now = append(now, c)
					}
				}
				fresh.Apply(now...)
				if got, want := w.XDS(), fresh.XDS(); got != want {
					t.Fatalf("step %d: the snapshot is\n%s\nand made anew\n%s", step, got, want)
				}
				if got, want := w.Status(), fresh.Status(); got != want {
					t.Fatalf("step %d: the statuses are\n%s\nand made anew\n%s", step, got, want)
				}
			}
		})
	}
}

const edge = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}
`

// routes returns n routes with a host and a Service each.
func routes(n int) string {
	out := ""
	for i := range n {
		out += fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r%d}
spec:
  parentRefs: [{name: edge}]
  hostnames: [r%d.example.com]
  rules: [{backendRefs: [{name: s%d, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: s%d}
spec: {ports: [{port: 80}]}
`, i, i, i, i)
	}
	return out
}

// TestWhatAChangeTouches changes one route among many: of the snapshot, only what is
// the route's own is made anew.
func TestWhatAChangeTouches(t *testing.T) {
	all := controltest.Objects(t, edge+routes(50))
	w := controltest.NewWorld(t, control.Options{})
	w.Apply(all...)
	before := w.Snapshot()
	route := source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "default", Name: "r7"}}
	changed := w.View().Get(route).DeepCopyObject().(*gwapiv1.HTTPRoute)
	changed.Spec.Rules[0].BackendRefs[0].Name = "s8"
	r := w.Apply(source.Change{Key: route, Object: changed})
	if len(r.Gateways) != 1 || len(r.Statuses) != 0 {
		t.Errorf("changed %v, and %d statuses", r.Gateways, len(r.Statuses))
	}
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
	for name, m := range after.Clusters().All() {
		if was, ok := before.Clusters().Get(name); !ok || was != m {
			t.Errorf("cluster %s was made anew", name)
		}
	}
	if l, was := get(after.Listeners().Get("default/edge/80")), get(before.Listeners().Get("default/edge/80")); l != was {
		t.Error("the listener was made anew")
	}
}

func get[M any](m M, _ bool) M { return m }
