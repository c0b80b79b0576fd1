// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// newCluster returns a cluster that has HTTPRoutes and Secrets, and these objects.
func newCluster(objects ...runtime.Object) (*Cluster, *fake.FakeDynamicClient) {
	c := &Cluster{host: "fake", served: map[source.Kind]schema.GroupVersionResource{}, types: map[source.Kind]source.Type{}}
	lists := map[schema.GroupVersionResource]string{}
	for _, t := range source.Types() {
		if t.Kind == source.HTTPRoute || t.Kind == source.Secret {
			gvr := schema.GroupVersionResource{Group: t.Group, Version: "v1", Resource: t.Resource}
			c.served[t.Kind], c.types[t.Kind], lists[gvr] = gvr, t, t.Kind.Kind+"List"
		}
	}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, objects...)
	c.client = client
	return c, client
}

func object(group, kind, name string, fields map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetAPIVersion(strings.TrimPrefix(group+"/v1", "/"))
	u.SetKind(kind)
	u.SetNamespace("default")
	u.SetName(name)
	u.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "x"}})
	for k, v := range fields {
		u.Object[k] = v
	}
	return u
}

func routeObject(hostname string) *unstructured.Unstructured {
	parent := func(controller string) any {
		return map[string]any{
			"controllerName": controller, "parentRef": map[string]any{"name": "edge"},
			"conditions": []any{map[string]any{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2024-01-01T00:00:00Z"}},
		}
	}
	return object(gwapiv1.GroupName, "HTTPRoute", "shop", map[string]any{
		"spec":   map[string]any{"hostnames": []any{hostname}},
		"status": map[string]any{"parents": []any{parent("others.example/controller"), parent("weir.dev/gateway-controller")}},
	})
}

// take returns the next changes that are not empty.
func take(t *testing.T, q *source.Queue) []source.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		changes, err := q.Take(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) > 0 {
			return changes
		}
	}
}

func TestReadAndWrite(t *testing.T) {
	cluster, client := newCluster(routeObject("a.example.com"), object("", "Secret", "cert", map[string]any{
		"data": map[string]any{"tls.crt": "YQ==", "other": "Yg=="},
	}))
	q := &source.Queue{}
	s := NewSource(cluster, q, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	}()
	first := take(t, q)
	if len(first) != 2 {
		t.Fatalf("%d objects at first", len(first))
	}
	key := source.Key{Kind: source.HTTPRoute, Name: source.Name{Namespace: "default", Name: "shop"}}
	for _, c := range first {
		if len(c.Object.GetManagedFields()) > 0 || c.Object.GetResourceVersion() != "" {
			t.Errorf("%v has what nobody reads", c.Key)
		}
		if r, ok := c.Object.(*gwapiv1.HTTPRoute); ok && len(r.Status.Parents) > 0 {
			t.Error("the object in the View has a status")
		}
	}

	w := NewStatusWriter(s, "weir.dev/gateway-controller", slog.New(slog.DiscardHandler))
	ours := &status.Update{Key: key, Status: &gwapiv1.RouteStatus{Parents: []gwapiv1.RouteParentStatus{{
		ControllerName: "weir.dev/gateway-controller", ParentRef: gwapiv1.ParentReference{Name: "edge"},
		Conditions: []metav1.Condition{status.Condition(gwapiv1.RouteConditionAccepted, false, gwapiv1.RouteReasonNoMatchingParent, "no", 1)},
	}}}}
	if err := w.write(ctx, ours); err != nil {
		t.Fatal(err)
	}
	gvr := cluster.served[source.HTTPRoute]
	read := func() []any {
		u, err := client.Resource(gvr).Namespace("default").Get(ctx, "shop", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		list, _, _ := unstructured.NestedSlice(u.Object, "status", "parents")
		return list
	}
	parents := read()
	if len(parents) != 2 || parents[0].(map[string]any)["controllerName"] != "others.example/controller" {
		t.Fatalf("parents: %v", parents)
	}
	condition := parents[1].(map[string]any)["conditions"].([]any)[0].(map[string]any)
	if condition["status"] != "False" || condition["lastTransitionTime"] == "2024-01-01T00:00:00Z" {
		t.Errorf("ours: %v", condition)
	}

	// Another spec is a change; the status that was written is none.
	changed := routeObject("b.example.com")
	if _, err := client.Resource(gvr).Namespace("default").Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	next := take(t, q)
	if len(next) != 1 || next[0].Object.(*gwapiv1.HTTPRoute).Spec.Hostnames[0] != "b.example.com" {
		t.Errorf("changes: %v", next)
	}

	// Without parents of ours, those of others stay; and what stands is not written again.
	none := &status.Update{Key: key, Status: &gwapiv1.RouteStatus{}}
	if err := w.write(ctx, none); err != nil {
		t.Fatal(err)
	}
	if parents := read(); len(parents) != 1 {
		t.Errorf("parents: %v", parents)
	}
	if err := client.Resource(gvr).Namespace("default").Delete(ctx, "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if gone := take(t, q); len(gone) != 1 || gone[0].Object != nil || gone[0].Key != key {
		t.Errorf("changes: %v", gone)
	}
	if err := w.write(ctx, ours); err != nil {
		t.Errorf("a status of what is gone: %v", err)
	}
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	down := write("down", `{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a}}], clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}]}`)
	for _, tt := range []struct{ name, path, context, want string }{
		{"no file", filepath.Join(dir, "none"), "", "no such file"},
		{"no YAML", write("bad", "\x00"), "", "kubeconfig " + filepath.Join(dir, "bad")},
		{"no context", down, "nope", `context "nope" does not exist`},
		{"nobody there", down, "", "the cluster at http://127.0.0.1:1 does not answer: dial tcp 127.0.0.1:1: connect: connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Connect(t.Context(), tt.path, tt.context)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestList reads all objects once, with their statuses.
func TestList(t *testing.T) {
	c, _ := newCluster(routeObject("a.example.com"), object("", "Secret", "s", map[string]any{"type": "kubernetes.io/tls", "data": map[string]any{"tls.crt": "eA==", "other": "eA=="}}))
	objects, err := c.List(t.Context())
	if err != nil || len(objects) != 2 {
		t.Fatal(objects, err)
	}
	for _, o := range objects {
		switch o := o.Object.(type) {
		case *gwapiv1.HTTPRoute:
			if len(o.Status.Parents) == 0 || o.ManagedFields != nil {
				t.Errorf("the route is %+v", o)
			}
		case *corev1.Secret:
			if len(o.Data) != 1 {
				t.Errorf("the secret has %d keys", len(o.Data))
			}
		}
	}
}
