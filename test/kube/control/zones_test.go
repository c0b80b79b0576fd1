// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"weir.dev/weir/test/kube/kubetest"
)

// near is the Service app without a selector, whose endpoints are given by hand.
const near = `
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {ports: [{port: 80, targetPort: 3000}], trafficDistribution: PreferClose}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app-by-hand, namespace: default, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: 3000, protocol: TCP}]
endpoints:
- {addresses: [%s], zone: a, hints: {forZones: [{name: a}]}}
- {addresses: [%s], zone: b, hints: {forZones: [{name: b}]}}
`

// TestTrafficStaysNear has proxies go to the endpoints that are meant for the zone of their node: one that it gets
// while they run, as the control plane says then, and one that it had before, which their Pods say themselves.
func TestTrafficStaysNear(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	service, deployment := strings.LastIndex(objects, "apiVersion: v1\n"), strings.LastIndex(objects, "apiVersion: apps/v1\n")
	c.Apply(t, objects[:service])
	two := strings.Replace(objects[deployment:], "replicas: 1", "replicas: 2", 1)
	c.Apply(t, two)
	c.Running(t, "default", "app")
	pods, err := c.Pods(t.Context(), "default", "app=app")
	if err != nil || len(pods) != 2 {
		t.Fatalf("there are %d Pods: %v", len(pods), err)
	}
	c.Apply(t, fmt.Sprintf(near, pods[0].Status.PodIP, pods[1].Status.PodIP))
	a, b := pods[0].Name, pods[1].Name

	c.Running(t, "default", "edge-weir")
	url := "http://" + programmed(t, c) + "/app"
	answerers(t, c, url, a, b)
	zone(t, c, `"a"`)
	answerers(t, c, url, a)
	zone(t, c, `"b"`)
	answerers(t, c, url, b)
	zone(t, c, "null")
	answerers(t, c, url, a, b)

	// Proxies that start now have the label, as far as Kubernetes gives it to them.
	zone(t, c, `"a"`)
	answerers(t, c, url, a)
	old := c.Get(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: edge-weir, namespace: default}}`)
	c.Delete(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: edge-weir, namespace: default}}`)
	scale(t, c, 0)
	scale(t, c, 1)
	c.Until(t, "other proxies that say their zone", func(ctx context.Context) error {
		now, err := c.Cluster.Get(ctx, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: edge-weir, namespace: default}}`)
		if err != nil || now.GetUID() == old.GetUID() {
			return fmt.Errorf("it is still that of before: %w", err)
		}
		all, err := c.Pods(ctx, "default", "gateway.networking.k8s.io/gateway-name=edge")
		if err != nil || len(all) != 1 || all[0].Labels["topology.kubernetes.io/zone"] != "a" {
			return fmt.Errorf("there are %d Pods: %w", len(all), err)
		}
		return nil
	})
	c.Running(t, "default", "edge-weir")
	url = "http://" + programmed(t, c) + "/app"
	answers(t, c, url, 200)
	answerers(t, c, url, a)
	c.Apply(t, fmt.Sprintf(near, pods[1].Status.PodIP, pods[0].Status.PodIP))
	answerers(t, c, url, b)
}

// zone gives the node a zone, or null.
func zone(t *testing.T, c kubetest.Cluster, name string) {
	t.Helper()
	nodes, err := c.Client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("there are %d nodes: %v", len(nodes.Items), err)
	}
	patch := fmt.Appendf(nil, `{"metadata": {"labels": {"topology.kubernetes.io/zone": %s}}}`, name)
	if _, err := c.Client.CoreV1().Nodes().Patch(t.Context(), nodes.Items[0].Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// answerers waits until requests go to all of the Pods, and to no others.
func answerers(t *testing.T, c kubetest.Cluster, url string, pods ...string) {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	c.Until(t, fmt.Sprintf("%v to answer", pods), func(ctx context.Context) error {
		got := map[string]int{}
		for range 40 {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			var answer struct {
				Pod string `json:"pod"`
			}
			err = json.NewDecoder(resp.Body).Decode(&answer)
			if resp.Body.Close(); err != nil {
				return fmt.Errorf("%s: %w", resp.Status, err)
			}
			got[answer.Pod]++
		}
		for _, p := range pods {
			if got[p] == 0 {
				return fmt.Errorf("these do: %v", got)
			}
		}
		if len(got) != len(pods) {
			return fmt.Errorf("these do: %v", got)
		}
		return nil
	})
}
