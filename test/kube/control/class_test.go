// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"weir.dev/weir/test/kube/kubetest"
)

const classes = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: second}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: foreign}
spec: {controllerName: example.com/another-controller}
`

// provisioned are the kinds that a Gateway of no parameters gets.
func provisioned() []string {
	return []string{"apps/v1, kind: Deployment", "v1, kind: Service", "v1, kind: ConfigMap", "v1, kind: ServiceAccount"}
}

// TestClassSwitch gives a Gateway another class: what it had goes, and comes again under the name of a class that is
// ours; of one of another controller nothing is left, in its status and its routes' neither, and not even if the control
// plane was away when that happened.
func TestClassSwitch(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	c.Apply(t, objects)
	c.Apply(t, classes)
	c.Running(t, "default", "app")
	answers(t, c, "http://"+programmed(t, c)+"/app", 200)
	become := func(class string) {
		t.Helper()
		patch := fmt.Appendf(nil, `{"spec": {"gatewayClassName": %q}}`, class)
		if err := c.Patch(t.Context(), `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`, patch); err != nil {
			t.Fatal(err)
		}
	}
	gone := func(name string) {
		t.Helper()
		for _, kind := range provisioned() {
			absent(t, c, fmt.Sprintf("{apiVersion: %s, metadata: {name: %s, namespace: default}}", kind, name))
		}
	}
	become("second")
	gone("edge-weir")
	since(t, c)
	answers(t, c, "http://"+programmed(t, c)+"/app", 200)

	nobodys := func() {
		t.Helper()
		c.Until(t, "the statuses to be nobody's", func(context.Context) error {
			o := c.Get(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`)
			status, _, _ := unstructured.NestedMap(o.Object, "status")
			if condition(o, "Accepted") != "Unknown" || condition(o, "Programmed") != "Unknown" || status["addresses"] != nil || status["listeners"] != nil {
				return fmt.Errorf("the Gateway's is %v", status)
			}
			o = c.Get(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: app, namespace: default}}`)
			if parents, _, _ := unstructured.NestedSlice(o.Object, "status", "parents"); len(parents) > 0 {
				return fmt.Errorf("the route's is %v", parents)
			}
			return nil
		})
	}
	become("foreign")
	gone("edge-second")
	nobodys()

	become("weir")
	since(t, c)
	c.Until(t, "the route's status to be ours again", func(context.Context) error {
		o := c.Get(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: app, namespace: default}}`)
		if parents, _, _ := unstructured.NestedSlice(o.Object, "status", "parents"); len(parents) != 1 {
			return fmt.Errorf("it is %v", parents)
		}
		return nil
	})
	scale(t, c, 0)
	become("foreign")
	scale(t, c, 1)
	gone("edge-weir")
	nobodys()
}

// TestSystemNamespace has the proxies run in the namespace of the control plane: they serve, and go with their Gateway,
// which cannot own them there, even if it goes while the control plane is away.
func TestSystemNamespace(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	patch := []byte(`[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--proxy-namespace=weir-system"}]`)
	if _, err := c.Client.AppsV1().Deployments("weir-system").Patch(t.Context(), "weir-control", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, objects)
	c.Running(t, "default", "app")
	answers(t, c, "http://"+programmed(t, c)+"/app", 200)
	there := func(want bool) {
		t.Helper()
		c.Until(t, fmt.Sprintf("proxies of the Gateway: %v", want), func(ctx context.Context) error {
			o := metav1.ListOptions{LabelSelector: "gateway.networking.k8s.io/gateway-name=edge,weir.dev/gateway-namespace=default"}
			deployments, err1 := c.Client.AppsV1().Deployments("").List(ctx, o)
			services, err2 := c.Client.CoreV1().Services("").List(ctx, o)
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
			n := 0
			for _, d := range deployments.Items {
				if n++; d.Namespace != "weir-system" {
					return fmt.Errorf("Deployment %s/%s", d.Namespace, d.Name)
				}
			}
			if n += len(services.Items); (n == 2) != want || (n == 0) == want {
				return fmt.Errorf("there are %d Deployments and Services", n)
			}
			return nil
		})
	}
	const edge = `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`
	there(true)
	c.Delete(t, edge)
	there(false)
	c.Apply(t, objects)
	programmed(t, c)
	there(true)
	scale(t, c, 0)
	c.Delete(t, edge)
	scale(t, c, 1)
	there(false)
}
