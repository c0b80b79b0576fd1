// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/test/kube/kubetest"
)

// fourReady waits until the Gateway has four proxies that are ready, and no others.
func fourReady(c kubetest.Cluster) func(context.Context) error {
	return func(ctx context.Context) error {
		d, err := c.Client.AppsV1().Deployments("default").Get(ctx, "eg-eg", metav1.GetOptions{})
		if err == nil && (d.Status.ObservedGeneration != d.Generation || d.Status.Replicas != 4 || d.Status.ReadyReplicas != 4) {
			err = fmt.Errorf("of %d proxies %d are ready", d.Status.Replicas, d.Status.ReadyReplicas)
		}
		return err
	}
}

// envoyGatewayAccuracy has four proxies count in one Redis: of three times as many requests as a limit lets pass, that come
// at once and on connections to any of them, no more than one in a hundred passes above it. Where Redis has not answered
// within its time, as on a machine that is busy with others, requests pass uncounted, as they should: then it is tried
// again with another user.
func envoyGatewayAccuracy(t *testing.T, c kubetest.Cluster, url string) {
	const limit = 500
	const proxies = "{apiVersion: config.gateway.envoyproxy.io/v1alpha1, kind: EnvoyProxy, metadata: {name: custom-proxy-config, namespace: envoy-gateway-system}}"
	if err := c.Patch(t.Context(), proxies, []byte(`{"spec": {"provider": {"kubernetes": {"envoyDeployment": {"replicas": 4}}}}}`)); err != nil {
		t.Fatal(err)
	}
	c.Until(t, "four proxies", fourReady(c))
	// Until the proxies are connected to Redis they count nobody.
	for i := range 8 {
		for range 8 {
			if _, err := ask(t.Context(), "GET", url+"/get", "", "Host", "old.ratelimit.example", "x-user-id", fmt.Sprint("four", i)); err != nil {
				t.Error(err)
			}
		}
	}
	const policy = "{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: BackendTrafficPolicy, metadata: {name: policy-httproute, namespace: default}}"
	rules := fmt.Appendf(nil, `{"spec": {"rateLimit": {"global": {"rules": [{"clientSelectors": [{"headers": [{"name": "x-user-id", "type": "Distinct"}]}], "limit": {"requests": %d, "unit": "Day"}}]}}}}`, limit)
	if err := c.Patch(t.Context(), policy, rules); err != nil {
		t.Fatal(err)
	}
	// The rule that holds for all, until this one takes its place, has let nobody pass for long.
	status(t, c, 200, url+"/get", "Host", "ratelimit.example", "x-user-id", "another")
	for try := 1; ; try++ {
		passed, all := burst(t, url, fmt.Sprint("many", try), limit)
		t.Logf("RESULT of %d requests %d passed, of a limit of %d", all, passed, limit)
		switch {
		case passed <= limit+limit/100 && passed >= limit-limit/100:
			return
		case try == 3:
			t.Fatalf("%d requests passed, and %d may", passed, limit)
		}
	}
}

// burst has a user ask three times as often as a limit lets pass.
func burst(t *testing.T, url, user string, limit int) (passed, all int64) {
	t.Helper()
	var let, refused atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 3 * limit / 8 {
				a, err := ask(t.Context(), "GET", url+"/get", "", "Host", "ratelimit.example", "x-user-id", user)
				switch {
				case err != nil:
					t.Error(err)
				case a.status == 200:
					let.Add(1)
				case a.status == 429:
					refused.Add(1)
				default:
					t.Errorf("got %v", a)
				}
			}
		})
	}
	wg.Wait()
	return let.Load(), let.Load() + refused.Load()
}
