// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"weir.dev/weir/test/kube/kubetest"
)

// gatewayOf has a Gateway of three proxies, and listeners of some ports.
func gatewayOf(ports ...int) string {
	var listeners []string
	for _, p := range ports {
		listeners = append(listeners, fmt.Sprintf("{name: port-%d, port: %d, protocol: HTTP}", p, p))
	}
	return fmt.Sprintf(`
apiVersion: weir.dev/v1alpha1
kind: GatewayParameters
metadata: {name: three, namespace: default}
spec: {replicas: 3, drainSeconds: 5}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: weir
  infrastructure: {parametersRef: {group: weir.dev, kind: GatewayParameters, name: three}}
  listeners: [%s]
`, strings.Join(listeners, ", "))
}

// since waits until the Gateway is programmed as it is now.
func since(t *testing.T, c kubetest.Cluster) {
	t.Helper()
	c.Until(t, "the Gateway to be programmed as it is now", func(context.Context) error {
		o := c.Get(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`)
		list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		for _, each := range list {
			m := each.(map[string]any)
			if m["type"] == "Programmed" && m["status"] == "True" && m["observedGeneration"] == o.GetGeneration() {
				return nil
			}
		}
		return fmt.Errorf("its generation is %d, and its status %v", o.GetGeneration(), o.Object["status"])
	})
}

// told returns how many proxies each control plane tells the others of.
func told(ctx context.Context, c kubetest.Cluster) (map[string]int, error) {
	list, err := c.Client.CoordinationV1().Leases("weir-system").List(ctx, metav1.ListOptions{LabelSelector: "weir.dev/replica-of=weir-control"})
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, l := range list.Items {
		var p struct {
			Gateways map[string]struct{ Proxies, Late int }
		}
		if err := json.Unmarshal([]byte(l.Annotations["weir.dev/proxies"]), &p); err != nil {
			return nil, err
		}
		out[*l.Spec.HolderIdentity] = p.Gateways["default/edge"].Proxies
	}
	return out, nil
}

// leading returns who leads: its Pod and the number of its process.
func leading(t *testing.T, c kubetest.Cluster) string {
	t.Helper()
	l, err := c.Client.CoordinationV1().Leases("weir-system").Get(t.Context(), "weir-control", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return *l.Spec.HolderIdentity
}

// TestReplicas has three control planes serve three proxies. A Gateway is programmed when all proxies serve it, wherever
// they are connected. That the leader is killed costs no request, and changes and statuses go on.
func TestReplicas(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	c.Apply(t, objects)
	c.Apply(t, gatewayOf(80))
	scale(t, c, 3)
	c.Running(t, "weir-system", "weir-control")
	c.Running(t, "default", "app")
	c.Running(t, "default", "edge-weir")
	address := programmed(t, c)
	answers(t, c, "http://"+address+"/app", 200)
	all := func(replicas int) {
		t.Helper()
		c.Until(t, "three proxies to be told of", func(ctx context.Context) error {
			by, err := told(ctx, c)
			if err != nil {
				return err
			}
			n := 0
			for _, proxies := range by {
				n += proxies
			}
			if n != 3 || len(by) != replicas {
				return fmt.Errorf("%v", by)
			}
			return nil
		})
	}
	all(3)
	c.Apply(t, gatewayOf(80, 81))
	since(t, c)
	answers(t, c, "http://"+address+":81/app", 200)

	// The leader dies without a word; another Pod takes its place.
	l := begin(t, "http://"+address+"/app")
	dead := leading(t, c)
	pod, now := dead[:strings.LastIndex(dead, "-")], int64(0)
	if err := c.Client.CoreV1().Pods("weir-system").Delete(t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, `
apiVersion: v1
kind: Service
metadata: {name: none, namespace: default}
spec: {selector: {app: app}, ports: [{port: 80, targetPort: 3000}]}
`)
	answers(t, c, "http://"+address+"/none", 200)
	c.Apply(t, gatewayOf(80, 81, 82))
	since(t, c)
	if leader := leading(t, c); leader == dead || leader == "" {
		t.Errorf("%q leads, and %s was killed", leader, dead)
	}
	answers(t, c, "http://"+address+":82/app", 200)
	all(3)
	l.end(t)
}

// TestRollingRestart replaces all proxies while clients ask: no request fails.
func TestRollingRestart(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	c.Apply(t, objects)
	c.Apply(t, gatewayOf(80))
	c.Running(t, "default", "app")
	c.Running(t, "default", "edge-weir")
	address := programmed(t, c)
	answers(t, c, "http://"+address+"/app", 200)
	const selector = "gateway.networking.k8s.io/gateway-name=edge"
	before, err := c.Pods(t.Context(), "default", selector)
	if err != nil {
		t.Fatal(err)
	}
	old := map[string]bool{}
	for _, p := range before {
		old[p.Name] = true
	}
	l := begin(t, "http://"+address+"/app")
	restart := []byte(`{"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}}}}}`)
	if err := c.Patch(t.Context(), `{apiVersion: apps/v1, kind: Deployment, metadata: {name: edge-weir, namespace: default}}`, restart); err != nil {
		t.Fatal(err)
	}
	c.Until(t, "all proxies to be others", func(ctx context.Context) error {
		pods, err := c.Pods(ctx, "default", selector)
		if err != nil {
			return err
		}
		for _, p := range pods {
			if old[p.Name] {
				return fmt.Errorf("%s is still there", p.Name)
			}
		}
		if len(pods) != len(old) {
			return fmt.Errorf("there are %d", len(pods))
		}
		return nil
	})
	l.end(t)
	programmed(t, c)
}
