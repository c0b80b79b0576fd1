// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
)

// TestFormerName reads an object of a kind under its earlier name, whose resource has another, and writes its status there.
func TestFormerName(t *testing.T) {
	const group = "gateway.networking.x-k8s.io"
	old := schema.GroupVersionResource{Group: group, Version: "v1alpha1", Resource: "xlistenersets"}
	set := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"parentRef": map[string]any{"name": "edge"}}}}
	set.SetAPIVersion(group + "/v1alpha1")
	set.SetKind("XListenerSet")
	set.SetNamespace("default")
	set.SetName("more")
	c, _ := newCluster()
	for _, k := range source.Types() {
		c.types[k.Kind] = k
	}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		old: "XListenerSetList", {Version: "v1", Resource: "secrets"}: "SecretList", c.served[source.HTTPRoute]: "HTTPRouteList",
	}, set)
	c.client = client
	c.listing = func(_ context.Context, gv schema.GroupVersion) ([]string, error) {
		if gv.Group == group {
			return []string{old.Resource}, nil
		}
		return nil, nil
	}
	if _, err := c.discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	q := &source.Queue{}
	s := NewSource(c, q, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	}()
	key := source.Key{Kind: source.ListenerSet, Name: source.Name{Namespace: "default", Name: "more"}}
	if first := take(t, q); len(first) != 1 || first[0].Key != key {
		t.Fatalf("at first: %v", first)
	}
	w := NewStatusWriter(s, "weir.dev/gateway-controller", slog.New(slog.DiscardHandler))
	if err := w.write(ctx, &status.Update{Key: key, Status: &gwapiv1.ListenerSetStatus{Conditions: []metav1.Condition{
		status.Condition(gwapiv1.ListenerSetConditionAccepted, false, gwapiv1.ListenerSetReasonNotAllowed, "no", 1),
	}}}); err != nil {
		t.Fatal(err)
	}
	u, err := client.Resource(old).Namespace("default").Get(ctx, "more", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions"); len(list) != 1 {
		t.Errorf("status: %v", u.Object["status"])
	}
}
