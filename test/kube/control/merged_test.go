// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/test/kube/kubetest"
)

const sharedClass = `
apiVersion: weir.dev/v1alpha1
kind: GatewayParameters
metadata: {name: shared, namespace: default}
spec: {mergeGateways: true}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: shared}
spec:
  controllerName: weir.dev/gateway-controller
  parametersRef: {group: weir.dev, kind: GatewayParameters, name: shared, namespace: default}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: default}
spec:
  parentRefs: [{name: edge}, {name: other}]
  rules: [{matches: [{path: {value: /app}}], backendRefs: [{name: app, port: 80}]}]
`

// TestMergedGateways has two Gateways of a class share their proxies: there is one Deployment and one Service, in the control
// plane's namespace, whose address both have; each serves its own ports, and of one that both want the older. What
// they share goes with the last of them, even if the control plane is away then.
func TestMergedGateways(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	c.Apply(t, objects[strings.LastIndex(objects, "apiVersion: v1\n"):])
	c.Apply(t, sharedClass)
	gateway := func(name, listeners string) {
		t.Helper()
		c.Apply(t, fmt.Sprintf("{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: %s, namespace: default}, spec: {gatewayClassName: shared, listeners: [%s]}}", name, listeners))
	}
	gateway("edge", "{name: http, port: 80, protocol: HTTP}")
	address := programmed(t, c)
	gateway("other", "{name: http, port: 80, protocol: HTTP}, {name: more, port: 81, protocol: HTTP}")
	c.Until(t, "the younger Gateway's status", func(ctx context.Context) error {
		o, err := c.Cluster.Get(ctx, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: other, namespace: default}}`)
		if err != nil {
			return err
		}
		text := fmt.Sprint(o.Object["status"])
		if condition(o, "Programmed") != "True" || !strings.Contains(text, "HostnameConflict") || !strings.Contains(text, "value:"+address) {
			return errors.New(text)
		}
		return nil
	})
	answers(t, c, "http://"+address+"/app", 200)
	answers(t, c, "http://"+address+":81/app", 200)
	there := func(want ...string) {
		t.Helper()
		c.Until(t, fmt.Sprintf("%v to be there", want), func(ctx context.Context) error {
			o := metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=weir"}
			deployments, err1 := c.Client.AppsV1().Deployments("").List(ctx, o)
			services, err2 := c.Client.CoreV1().Services("").List(ctx, o)
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
			var got []string
			for _, d := range deployments.Items {
				got = append(got, d.Namespace+"/"+d.Name)
			}
			for _, s := range services.Items {
				got = append(got, s.Namespace+"/"+s.Name)
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("there are %v", got)
			}
			return nil
		})
	}
	const shared = "weir-system/class-shared"
	there(shared, shared)
	c.Delete(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`)
	answers(t, c, "http://"+address+"/app", 200) // The younger one has the place now.
	there(shared, shared)
	scale(t, c, 0)
	c.Delete(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: other, namespace: default}}`)
	scale(t, c, 1)
	there()
}
