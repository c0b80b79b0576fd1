// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

// app makes a Service, its endpoints and a route to it.
func (s *system) app(ctx context.Context, namespace, name string) error {
	port := map[string]any{"name": "a", "port": int64(80)}
	for gvr, o := range map[schema.GroupVersionResource]*unstructured.Unstructured{
		services:       object("v1", "Service", namespace, name, map[string]any{"spec": map[string]any{"ports": []any{port}}}),
		endpointSlices: slice(namespace, name, backendAddress),
		httpRoutes:     appRoute(namespace, name, 0),
	} {
		if _, err := s.Dynamic.Resource(gvr).Namespace(namespace).Create(ctx, o, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func appHost(namespace, name string) string { return name + "." + namespace + ".example.com" }

// appRoute returns the route of an app; revision makes it another.
func appRoute(namespace, name string, revision int) *unstructured.Unstructured {
	return object("gateway.networking.k8s.io/v1", "HTTPRoute", namespace, name, map[string]any{"spec": map[string]any{
		"parentRefs": []any{map[string]any{"name": "edge", "namespace": "default"}},
		"hostnames":  []any{appHost(namespace, name)},
		"rules": []any{map[string]any{
			"matches":     []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/"}}},
			"backendRefs": []any{map[string]any{"name": name, "port": int64(80)}},
			"filters": []any{map[string]any{"type": "RequestHeaderModifier", "requestHeaderModifier": map[string]any{
				"set": []any{map[string]any{"name": "revision", "value": fmt.Sprint("r", revision)}},
			}}},
		}},
	}})
}

// slice returns the endpoints of an app.
func slice(namespace, name string, addresses ...string) *unstructured.Unstructured {
	var endpoints []any
	for _, a := range addresses {
		endpoints = append(endpoints, map[string]any{"addresses": []any{a}})
	}
	o := object("discovery.k8s.io/v1", "EndpointSlice", namespace, name, map[string]any{
		"addressType": "IPv4", "endpoints": endpoints,
		"ports": []any{map[string]any{"name": "a", "port": int64(backendPorts[0]), "protocol": "TCP"}},
	})
	o.SetLabels(map[string]string{"kubernetes.io/service-name": name})
	return o
}

// served waits until a host is answered.
func (s *system) served(host string) {
	s.t.Helper()
	s.Until(s.t, host+" to be served", func(context.Context) error {
		if code, err := s.ask(host, "/"); err != nil || code != http.StatusOK {
			return fmt.Errorf("%d %w", code, err)
		}
		return nil
	})
}

// TestRouteScale is the scenario "route scale": apps in namespaces, of which one changes its endpoints every two seconds
// and its route every second; and "propagation under load", routes that are made meanwhile.
func TestRouteScale(t *testing.T) {
	s := start(t)
	spaces, apps := size(50, 4), size(100, 10)
	bare := s.used()
	begun := time.Now()
	for i := range spaces {
		s.create(namespaces, object("v1", "Namespace", "", space(i), nil))
	}
	if err := s.all(spaces*apps, func(ctx context.Context, i int) error { return s.app(ctx, space(i/apps), fmt.Sprint("app-", i%apps)) }); err != nil {
		t.Fatal(err)
	}
	for i := range spaces {
		s.served(appHost(space(i), fmt.Sprint("app-", apps-1)))
	}
	loaded := s.used()
	t.Logf("RESULT route scale, %d routes: made in %v; without any: %s; with all: %s",
		spaces*apps, time.Since(begun).Round(time.Millisecond), bare.since(bare, 1), loaded.since(bare, 1))

	churn := time.Duration(size(60, 4)) * time.Second
	before, since := s.used(), time.Now()
	changes := s.churn(churn, spaces, apps)
	after, passed := s.used(), time.Since(since)
	part := func(u, b share) float64 { return 100 * float64(u.cpu-b.cpu) / float64(passed) }
	t.Logf("RESULT route scale, %d changes in %v: control plane %.2f %% of a core, proxy %.2f %%; for a change: %s",
		changes, passed.Round(time.Millisecond), part(after.control, before.control), part(after.proxy, before.proxy), after.since(before, changes))

	took, wrong := s.propagate("late", size(100, 5))
	t.Logf("RESULT propagation under load: %s; wrong answers %d", spread(took), wrong)
	if wrong > 0 {
		t.Errorf("%d answers were neither 404 nor 200", wrong)
	}
}

func space(i int) string { return fmt.Sprint("space-", i) }

// churn changes a route every second, and endpoints every two, and returns how many changes that were.
func (s *system) churn(period time.Duration, spaces, apps int) int {
	s.t.Helper()
	changes := 0
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	update := func(gvr schema.GroupVersionResource, o *unstructured.Unstructured) {
		client := s.Dynamic.Resource(gvr).Namespace(o.GetNamespace())
		old, err := client.Get(s.t.Context(), o.GetName(), metav1.GetOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		o.SetResourceVersion(old.GetResourceVersion())
		if _, err := client.Update(s.t.Context(), o, metav1.UpdateOptions{}); err != nil {
			s.t.Fatal(err)
		}
		changes++
	}
	for begun, i := time.Now(), 0; time.Since(begun) < period; i++ {
		<-tick.C
		namespace, name := space(i%spaces), fmt.Sprint("app-", i%apps)
		update(httpRoutes, appRoute(namespace, name, i+1))
		if i%2 == 0 {
			update(endpointSlices, slice(namespace, name, backendAddress, fmt.Sprintf("10.246.1.%d", 1+i%200)))
		}
	}
	return changes
}

var listenerSets = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "listenersets"}

// TestListenerSets is the scenario "listener sets": many sets of one listener, with routes each.
func TestListenerSets(t *testing.T) {
	s := start(t)
	sets, routes := size(2500, 10), size(16, 4)
	begun, bare := time.Now(), s.used()
	err := s.all(sets, func(ctx context.Context, i int) error {
		name, host := fmt.Sprint("set-", i), fmt.Sprintf("*.set-%d.example.com", i)
		set := object("gateway.networking.k8s.io/v1", "ListenerSet", "default", name, map[string]any{"spec": map[string]any{
			"parentRef": map[string]any{"name": "edge"},
			"listeners": []any{map[string]any{"name": "http", "port": int64(80), "protocol": "HTTP", "hostname": host}},
		}})
		_, err := s.Dynamic.Resource(listenerSets).Namespace("default").Create(ctx, set, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.all(sets*routes, func(ctx context.Context, i int) error {
		set, n := i/routes, i%routes
		o := route("default", fmt.Sprintf("set-%d-%d", set, n), fmt.Sprintf("r%d.set-%d.example.com", n, set), rule("/", "backend", 80, false))
		parent := map[string]any{"kind": "ListenerSet", "group": "gateway.networking.k8s.io", "name": fmt.Sprint("set-", set)}
		if err := unstructured.SetNestedSlice(o.Object, []any{parent}, "spec", "parentRefs"); err != nil {
			return err
		}
		_, err := s.Dynamic.Resource(httpRoutes).Namespace("default").Create(ctx, o, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		s.served(fmt.Sprintf("r%d.set-%d.example.com", routes-1, i*sets/10))
	}
	s.served(fmt.Sprintf("r%d.set-%d.example.com", routes-1, sets-1))
	after := s.used()
	t.Logf("RESULT listener sets, %d of %d routes: served in %v; %s", sets, routes,
		time.Since(begun).Round(time.Millisecond), after.since(bare, 1))
}
