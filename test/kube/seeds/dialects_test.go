// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"weir.dev/weir/test/kube/kubelet"
	"weir.dev/weir/test/kube/kubetest"
)

// Where Redis and Fn are, which Services of the cluster lead to.
const (
	redisAddress = "10.246.20.3"
	fnAddress    = "10.246.20.4"
)

// TestDialects runs what the documents about Istio, Envoy Gateway and Emissary-ingress apply, each with its own objects,
// with Weir's control plane in the place of the project's, all of them at once. Their CRDs are installed once it runs.
func TestDialects(t *testing.T) {
	const proxy = "/usr/local/bin/simple-proxy"
	c := kubetest.Start(t, kubetest.Options{
		Channel: "standard",
		Images: map[string]kubelet.Image{"example/simple-proxy": {
			Files: map[string]string{proxy: kubetest.Programs()["simple-proxy"]}, Entrypoint: []string{proxy},
		}},
	})
	c.Install(t)
	envoyGatewayConfig(t, c)
	configure(t, c, "--dialects", "gateway-api,emissary,istio,ingress", "--envoy-gateway-config", "/etc/envoy-gateway/envoy-gateway.yaml")
	c.Running(t, "weir-system", "weir-control")
	t.Run("emissary", func(t *testing.T) { testEmissary(t, c) })
	t.Run("istio and fn", func(t *testing.T) { testIstio(t, c) })
	t.Run("envoy gateway", func(t *testing.T) { testEnvoyGateway(t, c) })
}

// configure gives the control plane arguments, of which the dialects are the last of those that it has, and the
// configuration of Envoy Gateway.
func configure(t *testing.T, c kubetest.Cluster, args ...string) {
	t.Helper()
	deployments := c.Client.AppsV1().Deployments("weir-system")
	d, err := deployments.Get(t.Context(), "weir-control", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k := &d.Spec.Template.Spec.Containers[0]
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": append(k.Args[:len(k.Args)-2], args...)},
		{"op": "add", "path": "/spec/template/spec/volumes", "value": []any{map[string]any{"name": "envoy-gateway", "configMap": map[string]any{"name": "envoy-gateway-config"}}}},
		{"op": "add", "path": "/spec/template/spec/containers/0/volumeMounts", "value": []any{map[string]any{"name": "envoy-gateway", "mountPath": "/etc/envoy-gateway"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deployments.Patch(t.Context(), "weir-control", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// envoyGatewayConfig is the document's ConfigMap, with its Redis, in the namespace of the control plane.
func envoyGatewayConfig(t *testing.T, c kubetest.Cluster) {
	t.Helper()
	text, err := os.ReadFile(kubetest.Path("examples/seeds/002-envoy-gateway/envoy-gateway-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	const redis = `rateLimit:
  backend:
    type: Redis
    redis:
      url: redis.redis-system.svc.cluster.local:6379
`
	data, err := json.Marshal(m.Data["envoy-gateway.yaml"] + redis)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: envoy-gateway-config, namespace: weir-system}, data: {envoy-gateway.yaml: %s}}", data))
}

// beside makes a Service that leads to a program on the node.
func beside(t *testing.T, c kubetest.Cluster, namespace, name, address string, port int) {
	t.Helper()
	c.Apply(t, strings.NewReplacer("NAMESPACE", namespace, "NAME", name, "ADDRESS", address, "PORT", fmt.Sprint(port)).Replace(`
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NAMESPACE}
spec: {ports: [{name: main, port: PORT}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME-1, namespace: NAMESPACE, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
ports: [{name: main, port: PORT}]
endpoints: [{addresses: [ADDRESS]}]
`))
}

// backend makes a Deployment of a demo backend, and its Service.
func backend(t *testing.T, c kubetest.Cluster, namespace, name string, port int) {
	t.Helper()
	c.Apply(t, strings.NewReplacer("NAMESPACE", namespace, "NAME", name, "PORT", fmt.Sprint(port)).Replace(`
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NAMESPACE}
spec: {selector: {app: NAME}, ports: [{name: http, port: PORT, targetPort: 9001}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - {name: NAME, image: weir, args: [echo, --name, NAME, --address, ":9001"], readinessProbe: {tcpSocket: {port: 9001}, periodSeconds: 1}}
`))
	c.Running(t, namespace, name)
}

// address waits until a load balancer has one, and returns it.
func address(t *testing.T, c kubetest.Cluster, namespace, service string) (ip string) {
	t.Helper()
	c.Until(t, "the address of Service "+service, func(ctx context.Context) error {
		s, err := c.Client.CoreV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(s.Status.LoadBalancer.Ingress) == 0 {
			return errors.New("it has none")
		}
		ip = s.Status.LoadBalancer.Ingress[0].IP
		return nil
	})
	return ip
}

// told waits until an object's status says something.
func told(t *testing.T, c kubetest.Cluster, object string, wants ...string) {
	t.Helper()
	c.Until(t, fmt.Sprintf("%s to say %q", object, wants), func(ctx context.Context) error {
		o, err := c.Cluster.Get(ctx, object)
		if err != nil {
			return err
		}
		status, _, _ := unstructured.NestedMap(o.Object, "status")
		text := fmt.Sprint(status)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				return errors.New(text)
			}
		}
		return nil
	})
}
