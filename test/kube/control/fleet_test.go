// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"weir.dev/weir/test/kube/kubetest"
)

const parameters = `
apiVersion: weir.dev/v1alpha1
kind: GatewayParameters
metadata: {name: two, namespace: default}
spec: {replicas: 2, drainSeconds: 5, disruptionBudget: {maxUnavailable: 1}, service: {annotations: {from: parameters}}}
`

// TestControl installs the control plane, which provisions proxies: they serve, they are what the Gateway asks for, they
// outlive the control plane, and they go with the Gateway.
func TestControl(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	c.Apply(t, objects)
	c.Running(t, "weir-system", "weir-control")
	c.Running(t, "default", "app")
	address := programmed(t, c)
	url := "http://" + address
	answers(t, c, url+"/app", 200)
	answers(t, c, url+"/nowhere", 404)

	// What it asks for: two proxies, labels, and what parameters say.
	c.Apply(t, parameters)
	c.Apply(t, strings.Replace(objects, "{gatewayClassName: weir, listeners",
		"{gatewayClassName: weir, infrastructure: {labels: {team: edge}, annotations: {from: gateway}, parametersRef: {group: weir.dev, kind: GatewayParameters, name: two}}, listeners", 1))
	c.Until(t, "two proxies", func(ctx context.Context) error {
		pods, err := c.Pods(ctx, "default", "gateway.networking.k8s.io/gateway-name=edge,team=edge")
		if err != nil || len(pods) != 2 {
			return fmt.Errorf("there are %d: %w", len(pods), err)
		}
		return nil
	})
	c.Running(t, "default", "edge-weir")
	service := c.Get(t, `{apiVersion: v1, kind: Service, metadata: {name: edge-weir, namespace: default}}`)
	if service.GetAnnotations()["from"] != "gateway" || service.GetLabels()["team"] != "edge" {
		t.Errorf("the Service has labels %v and annotations %v", service.GetLabels(), service.GetAnnotations())
	}
	c.Get(t, `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: edge-weir, namespace: default}}`)
	c.Apply(t, strings.ReplaceAll(parameters, ", disruptionBudget: {maxUnavailable: 1}", ""))
	absent(t, c, `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: edge-weir, namespace: default}}`)
	programmed(t, c)

	// Without the control plane traffic goes on; with it, changes do.
	scale(t, c, 0)
	answers(t, c, url+"/app", 200)
	c.Apply(t, `
apiVersion: v1
kind: Service
metadata: {name: none, namespace: default}
spec: {selector: {app: app}, ports: [{port: 80, targetPort: 3000}]}
`)
	answers(t, c, url+"/none", 500)
	scale(t, c, 1)
	answers(t, c, url+"/none", 200)
	c.Delete(t, `{apiVersion: v1, kind: Service, metadata: {name: none, namespace: default}}`)
	answers(t, c, url+"/none", 500)

	// A Service that somebody removes comes back, and everything goes with the Gateway.
	c.Delete(t, `{apiVersion: v1, kind: Service, metadata: {name: edge-weir, namespace: default}}`)
	c.Until(t, "the Gateway to have another address", func(context.Context) error {
		if now := programmed(t, c); now == address { // The status is still that of before.
			return fmt.Errorf("it is at %s", now)
		}
		return nil
	})
	answers(t, c, "http://"+programmed(t, c)+"/app", 200)
	c.Delete(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`)
	for _, kind := range []string{"apps/v1, kind: Deployment", "v1, kind: Service", "v1, kind: ConfigMap", "v1, kind: ServiceAccount"} {
		absent(t, c, fmt.Sprintf("{apiVersion: %s, metadata: {name: edge-weir, namespace: default}}", kind))
	}
}

// programmed waits until the Gateway is, and returns its address.
func programmed(t *testing.T, c kubetest.Cluster) (address string) {
	t.Helper()
	c.Until(t, "the Gateway to be programmed", func(context.Context) error {
		o := c.Get(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: default}}`)
		list, _, _ := unstructured.NestedSlice(o.Object, "status", "addresses")
		if len(list) != 1 || condition(o, "Programmed") != "True" {
			return fmt.Errorf("its status is %v", o.Object["status"])
		}
		address, _, _ = unstructured.NestedString(list[0].(map[string]any), "value")
		return nil
	})
	return address
}

// scale has so many control planes run.
func scale(t *testing.T, c kubetest.Cluster, replicas int) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, replicas)
	if err := c.Patch(t.Context(), `{apiVersion: apps/v1, kind: Deployment, metadata: {name: weir-control, namespace: weir-system}}`, patch); err != nil {
		t.Fatal(err)
	}
	c.Until(t, fmt.Sprint(replicas, " control planes"), func(ctx context.Context) error {
		pods, err := c.Pods(ctx, "weir-system", "app.kubernetes.io/name=weir-control")
		if err != nil || len(pods) != replicas {
			return fmt.Errorf("there are %d: %w", len(pods), err)
		}
		return nil
	})
}

// absent waits until an object is gone.
func absent(t *testing.T, c kubetest.Cluster, text string) {
	t.Helper()
	c.Until(t, text+" to be gone", func(ctx context.Context) error {
		if o, err := c.Cluster.Get(ctx, text); err == nil {
			return fmt.Errorf("it is there: %v", o.Object["metadata"])
		}
		return nil
	})
}
