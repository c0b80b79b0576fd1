// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"weir.dev/weir/test/kube/kubetest"
)

// TestScaling asks for an autoscaler and a disruption budget, as the apiserver takes them, and for other ones, and for
// none; and for a DaemonSet and patches. The number of proxies that an autoscaler has chosen is left alone.
func TestScaling(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	parameters := func(spec string) {
		t.Helper()
		c.Apply(t, fmt.Sprintf("{apiVersion: weir.dev/v1alpha1, kind: GatewayParameters, metadata: {name: three, namespace: default}, spec: %s}", spec))
	}
	c.Apply(t, objects)
	c.Apply(t, gatewayOf(80))
	const (
		deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: edge-weir, namespace: default}}`
		scaler     = `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: edge-weir, namespace: default}}`
		budget     = `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: edge-weir, namespace: default}}`
	)
	number := func(object string, want int64, path ...string) {
		t.Helper()
		c.Until(t, fmt.Sprint(path, " to be ", want), func(ctx context.Context) error {
			o, err := c.Cluster.Get(ctx, object)
			if err != nil {
				return err
			}
			if got, _, _ := unstructured.NestedInt64(o.Object, path...); got != want {
				return fmt.Errorf("it is %d", got)
			}
			return nil
		})
	}
	number(deployment, 3, "spec", "replicas")
	parameters(`{autoscaling: {minReplicas: 2, maxReplicas: 4}, disruptionBudget: {maxUnavailable: 1}}`)
	number(scaler, 2, "spec", "minReplicas")
	number(scaler, 4, "spec", "maxReplicas")
	number(budget, 1, "spec", "maxUnavailable")
	// The autoscaler, which there is none of here, would go on from what there was.
	if o, err := c.Cluster.Get(t.Context(), deployment); err != nil {
		t.Fatal(err)
	} else if got, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); got != 3 {
		t.Errorf("with an autoscaler there are to be %d proxies before it says anything, want the 3 there were", got)
	}
	if err := c.Patch(t.Context(), deployment, []byte(`{"spec": {"replicas": 2}}`)); err != nil { // As an autoscaler does.
		t.Fatal(err)
	}
	parameters(`{autoscaling: {minReplicas: 1, maxReplicas: 5}, disruptionBudget: {maxUnavailable: 2}}`)
	number(scaler, 5, "spec", "maxReplicas")
	number(budget, 2, "spec", "maxUnavailable")
	number(deployment, 2, "spec", "replicas")
	parameters(`{replicas: 1}`)
	absent(t, c, scaler)
	absent(t, c, budget)
	number(deployment, 1, "spec", "replicas")

	// Objects of another kind and name take the place of those before them, with what patches add.
	parameters(`{workload: DaemonSet, names: {Service: front}, args: [--concurrency, "1"], patches: [
		{kind: DaemonSet, value: {spec: {minReadySeconds: 3, template: {spec: {tolerations: [{operator: Exists}]}}}}},
		{kind: Service, type: JSONMerge, value: {spec: {sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}, sessionAffinity: ClientIP}}}]}`)
	number(`{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: edge-weir, namespace: default}}`, 3, "spec", "minReadySeconds")
	number(`{apiVersion: v1, kind: Service, metadata: {name: front, namespace: default}}`, 60, "spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds")
	absent(t, c, deployment)
	absent(t, c, `{apiVersion: v1, kind: Service, metadata: {name: edge-weir, namespace: default}}`)
}
