// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata/fake"
	kubetesting "k8s.io/client-go/testing"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/source"
)

// newLazy returns a cluster with a Pod, whose routes need Pods if they have the host
// name "needs".
func newLazy(objects ...runtime.Object) (*Cluster, *fake.FakeMetadataClient) {
	c, _ := newCluster(objects...)
	t := c.types[source.HTTPRoute]
	t.Needs = func(o source.Object) []source.Kind {
		if o.(*gwapiv1.HTTPRoute).Spec.Hostnames[0] == "needs" {
			return []source.Kind{source.Pod}
		}
		return nil
	}
	c.types[source.HTTPRoute] = t
	c.types[source.Pod] = source.Type{Kind: source.Pod, Lazy: true}
	c.served[source.Pod] = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	scheme := fake.NewTestScheme()
	_ = metav1.AddMetaToScheme(scheme)
	pod := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Labels: map[string]string{"version": "v1"}, Annotations: map[string]string{"x": "y"}},
	}
	client := fake.NewSimpleMetadataClient(scheme, pod)
	c.metadata = client
	return c, client
}

// run runs a Source until the test ends.
func run(t *testing.T, c *Cluster) *source.Queue {
	t.Helper()
	q := &source.Queue{}
	s := NewSource(c, q, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return q
}

func podIn(changes []source.Change) source.Object {
	for _, c := range changes {
		if c.Key.Kind == source.Pod {
			return c.Object
		}
	}
	return nil
}

func TestLazy(t *testing.T) {
	t.Run("at first", func(t *testing.T) {
		c, _ := newLazy(routeObject("needs"))
		first := take(t, run(t, c))
		pod := podIn(first)
		if len(first) != 2 || pod == nil {
			t.Fatalf("changes: %v", first)
		}
		if pod.GetLabels()["version"] != "v1" || len(pod.GetAnnotations()) > 0 {
			t.Errorf("the Pod is %+v", pod)
		}
	})
	t.Run("once somebody needs it", func(t *testing.T) {
		c, _ := newLazy(routeObject("plain"))
		q := run(t, c)
		if first := take(t, q); len(first) != 1 {
			t.Fatalf("changes: %v", first)
		}
		r := c.client.Resource(c.served[source.HTTPRoute]).Namespace("default")
		if _, err := r.Update(t.Context(), routeObject("needs"), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		// Both come together.
		if next := take(t, q); len(next) != 2 || podIn(next) == nil {
			t.Errorf("changes: %v", next)
		}
	})
	t.Run("for what is beside the cluster", func(t *testing.T) {
		c, _ := newLazy(routeObject("plain"))
		c.Beside([]source.Change{{Key: source.Key{Kind: source.HTTPRoute}, Object: &gwapiv1.HTTPRoute{Spec: gwapiv1.HTTPRouteSpec{Hostnames: []gwapiv1.Hostname{"needs"}}}}})
		if first := take(t, run(t, c)); len(first) != 2 || podIn(first) == nil {
			t.Errorf("changes: %v", first)
		}
		if all, err := c.List(t.Context()); err != nil || len(all) != 2 || podIn(all) == nil {
			t.Errorf("listed: %v, %v", all, err)
		}
	})
	t.Run("forbidden", func(t *testing.T) {
		c, client := newLazy(routeObject("needs"))
		client.PrependReactor("list", "pods", func(kubetesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
		})
		if first := take(t, run(t, c)); len(first) != 1 || podIn(first) != nil {
			t.Errorf("changes: %v", first)
		}
	})
	t.Run("listed", func(t *testing.T) {
		for host, want := range map[string]int{"needs": 2, "plain": 1} {
			c, _ := newLazy(routeObject(host))
			if all, err := c.List(t.Context()); err != nil || len(all) != want {
				t.Errorf("%s: %v, %v", host, all, err)
			}
		}
	})
}
