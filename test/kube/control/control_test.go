// SPDX-License-Identifier: Apache-2.0

// Package control tests that Weir serves what a real cluster says.
package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"weir.dev/weir/test/kube/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

const objects = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: default}
spec:
  parentRefs: [{name: edge}]
  rules:
  - {matches: [{path: {value: /app}}], backendRefs: [{name: app, port: 80}]}
  - {matches: [{path: {value: /none}}], backendRefs: [{name: none, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {selector: {app: app}, ports: [{port: 80, targetPort: 3000}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - name: app
        image: echo-basic
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
`

// TestRun has weir run serve a cluster in its own process: it routes to pods, says so
// in statuses, and takes up what changes.
func TestRun(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Apply(t, objects)
	c.Running(t, "default", "app")
	c.Run(t, "weir", kubetest.Programs()["weir"], "run", "--kubeconfig", c.Kubeconfig(), "--addresses", "10.246.9.0/24", "--admin", "")

	address := programmed(t, c)
	answers(t, c, "http://"+address+"/app", 200)
	answers(t, c, "http://"+address+"/none", 500)
	answers(t, c, "http://"+address+"/nowhere", 404)
	c.Until(t, "the route's status", func(context.Context) error {
		o := c.Get(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: app, namespace: default}}`)
		if text := fmt.Sprint(o.Object["status"]); !strings.Contains(text, "there is no Service default/none") {
			return errors.New(text)
		}
		return nil
	})
	c.Apply(t, `
apiVersion: v1
kind: Service
metadata: {name: none, namespace: default}
spec: {selector: {app: app}, ports: [{port: 80, targetPort: 3000}]}
`)
	answers(t, c, "http://"+address+"/none", 200)
}

// condition returns the status of a condition of an object.
func condition(o *unstructured.Unstructured, kind string) string {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == kind {
			return fmt.Sprint(m["status"])
		}
	}
	return ""
}

// answers asks until the status is the one wanted.
func answers(t *testing.T, c kubetest.Cluster, url string, want int) {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		// Where an address is nobody's by now, nobody refuses.
		DialContext: (&net.Dialer{Timeout: time.Second}).DialContext,
	}}
	c.Until(t, fmt.Sprintf("%d from %s", want, url), func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			return fmt.Errorf("%s %s %w", resp.Status, body, err)
		}
		return nil
	})
}
