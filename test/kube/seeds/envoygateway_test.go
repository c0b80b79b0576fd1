// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"weir.dev/weir/test/kube/kubetest"
)

// testEnvoyGateway applies what the document about Envoy Gateway does, of whose two proxies both count in its Redis. The
// requests are the document's own.
func testEnvoyGateway(t *testing.T, c kubetest.Cluster) {
	const example = "examples/seeds/002-envoy-gateway/"
	for _, name := range []string{"envoy-gateway-system", "redis-system"} {
		c.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", name))
	}
	c.Run(t, "redis", "redis-server", "--bind", redisAddress, "--port", "6379", "--save", "", "--appendonly", "no", "--protected-mode", "no", "--dir", t.TempDir())
	beside(t, c, "redis-system", "redis", redisAddress, 6379)
	c.ApplyFiles(t, "deploy/crds/envoy-gateway/*.yaml", example+"gateway.yaml", example+"routes.yaml", example+"ratelimit.yaml", example+"jwt.yaml")
	for _, name := range []string{"example-svc", "foo-svc", "bar-svc", "bar-canary-svc"} {
		backend(t, c, "default", name, 8080)
	}
	backend(t, c, "default", "backend", 3000)
	backend(t, c, "default", "backend-2", 3000)

	// What the EnvoyProxy of the document asks for: two proxies, at an address within the cluster.
	c.Running(t, "default", "eg-eg")
	pods, err := c.Pods(t.Context(), "default", "gateway.networking.k8s.io/gateway-name=eg")
	if err != nil || len(pods) != 2 {
		t.Errorf("there are %d proxies: %v", len(pods), err)
	}
	host := ""
	c.Until(t, "the Gateway to be programmed", func(ctx context.Context) error {
		o, err := c.Cluster.Get(ctx, "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: eg, namespace: default}}")
		if err != nil {
			return err
		}
		list, _, _ := unstructured.NestedSlice(o.Object, "status", "addresses")
		text := fmt.Sprint(o.Object["status"])
		if len(list) != 1 || !strings.Contains(text, "status:True type:Programmed") {
			return fmt.Errorf("its status is %s", text)
		}
		host, _, _ = unstructured.NestedString(list[0].(map[string]any), "value")
		return nil
	})
	url := "http://" + host + ":8080"

	t.Run("routing", func(t *testing.T) { envoyGatewayRouting(t, c, url) })
	t.Run("limits", func(t *testing.T) { envoyGatewayLimits(t, c, url) })
	t.Run("canary", func(t *testing.T) { envoyGatewayCanary(t, c, url) })
	t.Run("tokens", func(t *testing.T) {
		status(t, c, 401, url+"/foo", "Host", "www.example.com")
		status(t, c, 200, url+"/bar", "Host", "www.example.com")
	})
	t.Run("metrics", func(t *testing.T) {
		for _, p := range pods {
			if a := p.Annotations; a["prometheus.io/scrape"] != "true" || a["prometheus.io/port"] != "19001" || a["prometheus.io/path"] != "/stats/prometheus" {
				t.Errorf("%s is annotated %v", p.Name, a)
			}
			at := "http://" + p.Status.PodIP + ":19001"
			if a := status(t, c, 200, at+"/stats/prometheus"); !strings.Contains(a.body, "envoy_cluster_upstream_rq_total{") || !strings.Contains(a.body, "envoy_http_downstream_rq_total{") {
				t.Errorf("%s tells %.2000s", p.Name, a.body)
			}
			status(t, c, 404, at+"/config_dump")
		}
	})
	t.Run("accuracy", func(t *testing.T) { envoyGatewayAccuracy(t, c, url) })
	c.Until(t, "the access log", func(ctx context.Context) error {
		var all strings.Builder
		for _, p := range pods {
			out, err := c.Output(ctx, "default", p.Name, "proxy")
			if err != nil {
				return err
			}
			all.WriteString(out)
		}
		if text := all.String(); !strings.Contains(text, `"authority":"example.com"`) {
			return fmt.Errorf("it has %s", text[max(0, len(text)-2000):])
		}
		return nil
	})
}

// status waits for a status, and returns the answer.
func status(t *testing.T, c kubetest.Cluster, want int, url string, header ...string) (a answer) {
	t.Helper()
	c.Until(t, fmt.Sprintf("%d from %s", want, url), func(ctx context.Context) (err error) {
		if a, err = ask(ctx, "GET", url, "", header...); err == nil && a.status != want {
			err = fmt.Errorf("got %v", a)
		}
		return err
	})
	return a
}

func envoyGatewayRouting(t *testing.T, c kubetest.Cluster, url string) {
	for _, tt := range []struct {
		path, want string
		header     []string
	}{
		{"/", "example-svc", []string{"Host", "example.com"}},
		{"/login", "foo-svc", []string{"Host", "foo.example.com"}},
		{"/", "bar-canary-svc", []string{"Host", "bar.example.com", "env", "canary"}},
		{"/", "bar-svc", []string{"Host", "bar.example.com"}},
		{"/httpbin/get", "backend", []string{"Host", "httpbin.example"}},
	} {
		a := status(t, c, 200, url+tt.path, tt.header...)
		if answered(a) != tt.want || tt.path == "/httpbin/get" && !strings.Contains(a.body, `"path":"/get"`) {
			t.Errorf("%s %v: %v", tt.path, tt.header, a)
		}
	}
}

// envoyGatewayLimits asks as the document does: the limit is that of both proxies together, whichever is asked.
func envoyGatewayLimits(t *testing.T, c kubetest.Cluster, url string) {
	ofUser := func(user string) []string { return []string{"Host", "ratelimit.example", "x-user-id", user} }
	told(t, c, "{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: BackendTrafficPolicy, metadata: {name: policy-httproute, namespace: default}}", "status:True type:Accepted")
	// The form of old, which limits each user by itself. Until the proxies are connected to Redis they count nobody.
	for i := range 20 {
		status(t, c, 429, url+"/get", "Host", "old.ratelimit.example", "x-user-id", fmt.Sprint(i))
	}
	passed := 0
	for range 12 {
		a, err := ask(t.Context(), "GET", url+"/get", "", ofUser("one")...)
		switch {
		case err != nil:
			t.Error(err)
		case a.status == 200:
			passed++
		case a.status != 429:
			t.Errorf("got %v", a)
		}
		if limit := a.header.Get("X-Ratelimit-Limit"); limit != "3, 3;w=3600" {
			t.Errorf("x-ratelimit-limit: %q of %v", limit, a)
		}
	}
	if passed != 3 {
		t.Errorf("%d requests of 12 have passed, and 3 may", passed)
	}
	for range 4 {
		if a, err := ask(t.Context(), "GET", url+"/get", "", ofUser("two")...); err != nil || a.status != 200 {
			t.Errorf("of another user: %v %v", a, err)
		}
	}

	// The document's second case, each user by itself, takes effect while the proxies serve; and its third, all together.
	const policy = "{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: BackendTrafficPolicy, metadata: {name: policy-httproute, namespace: default}}"
	for _, rules := range []string{
		`[{"clientSelectors": [{"headers": [{"type": "Distinct", "name": "x-user-id"}]}], "limit": {"requests": 3, "unit": "Hour"}}]`,
		`[{"limit": {"requests": 3, "unit": "Hour"}}]`,
	} {
		if err := c.Patch(t.Context(), policy, fmt.Appendf(nil, `{"spec": {"rateLimit": {"global": {"rules": %s}}}}`, rules)); err != nil {
			t.Fatal(err)
		}
		status(t, c, 429, url+"/get", ofUser("three")...)
	}
	status(t, c, 429, url+"/get", "Host", "ratelimit.example")
}

func envoyGatewayCanary(t *testing.T, c kubetest.Cluster, url string) {
	clients := begin(t, url+"/bar", "Host", "backends.example")
	clients.splits(t, c, map[string]int{"backend": 50, "backend-2": 50})
	const route = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: http-headers, namespace: default}}"
	patch := `{"spec": {"rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [
		{"group": "", "kind": "Service", "name": "backend", "port": 3000, "weight": 1}, {"group": "", "kind": "Service", "name": "backend-2", "port": 3000, "weight": 2}]}]}}`
	if err := c.Patch(t.Context(), route, []byte(patch)); err != nil {
		t.Fatal(err)
	}
	clients.splits(t, c, map[string]int{"backend": 33, "backend-2": 67})
	clients.end(t)
}
