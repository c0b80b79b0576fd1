// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/local"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/xds"
)

// written keeps what is written, in a word each.
type written []string

func (w *written) Write(updates []*status.Update) {
	for _, u := range updates {
		*w = append(*w, fmt.Sprintf("%s: %T", u.Key, u.Status))
	}
}

const notOurs = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: foreign}
spec: {controllerName: example.com/another-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: foreign, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec: {parentRefs: [{name: edge}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: app}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}], retry: {numRetries: 2}}
`

// What is not ours at the start may have been ours until then: what is ours of its status is taken back then, and not again.
func TestTakesBackAtTheStart(t *testing.T) {
	parse := func(text string) []source.Change {
		changes := controltest.Objects(t, text)
		return changes
	}
	var got written
	c := &control.Controller{
		Queue: &source.Queue{}, Translator: control.NewTranslator(control.Options{}), Writer: &got,
		Runner: local.New(local.Options{Apply: func(*xds.Snapshot) []xds.Problem { return nil }, Reached: "127.0.0.1"}),
	}
	c.Step(nil) // Woken before there is anything.
	c.Step(parse(notOurs))
	want := written{
		"BackendTrafficPolicy default/app: *v1.PolicyStatus", "Gateway default/edge: *status.Leaving", "GatewayClass foreign: <nil>", "GatewayClass weir: *v1.GatewayClassStatus",
		"HTTPRoute default/app: *v1.RouteStatus",
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("at the start %q is written, want %q", got, want)
	}
	got = nil
	c.Step(parse(strings.ReplaceAll(notOurs, "numRetries: 2", "numRetries: 3")))
	if len(got) > 0 {
		t.Errorf("later %q is written", got)
	}
}

// TestTellsWhoComesInPlaceOfAnother: an object that is deleted and made again, of which only the latter is seen, has no
// status yet, though what became of it is the same.
func TestTellsWhoComesInPlaceOfAnother(t *testing.T) {
	tr := control.NewTranslator(control.Options{})
	objects := controltest.Objects(t, strings.ReplaceAll(notOurs, "gatewayClassName: foreign", "gatewayClassName: weir"))
	tr.Apply(objects)
	told := func(uid func(source.Kind) string) []string {
		var out []string
		for i := range objects {
			objects[i].Object = objects[i].Object.DeepCopyObject().(source.Object)
			objects[i].Object.SetUID(types.UID(uid(objects[i].Key.Kind)))
		}
		for _, u := range tr.Apply(objects).Statuses {
			out = append(out, u.Key.String())
		}
		return out
	}
	if got := told(func(source.Kind) string { return "" }); len(got) > 0 {
		t.Errorf("of objects that are the same, %q is told", got)
	}
	if got, want := told(func(k source.Kind) string { return "another " + k.Kind }), []string{
		"BackendTrafficPolicy default/app", "Gateway default/edge", "GatewayClass weir", "HTTPRoute default/app",
	}; !slices.Equal(got, want) {
		t.Errorf("of others in their place, %q is told, want %q", got, want)
	}
	if got := told(func(k source.Kind) string { return "another " + k.Kind }); len(got) > 0 {
		t.Errorf("of those, again, %q is told", got)
	}
}
