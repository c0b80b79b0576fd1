// SPDX-License-Identifier: Apache-2.0

package control_test

import (
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
