// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/source"
)

func envoyProxy(group, level string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"logging": map[string]any{"level": map[string]any{"default": level}}}}}
	u.SetAPIVersion(group + "/" + envoygateway.Version)
	u.SetKind("EnvoyProxy")
	u.SetNamespace("default")
	u.SetName("p")
	return u
}

// TestLate has a kind come to a cluster under its earlier name, and under its own: it is read from then on, and of two
// objects with one name the newer counts, until it goes.
func TestLate(t *testing.T) {
	resource := func(group string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: group, Version: envoygateway.Version, Resource: "envoyproxies"}
	}
	now, before := resource(envoygateway.Group), resource(envoygateway.OldGroup)
	c, _ := newCluster()
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		now: "EnvoyProxyList", before: "EnvoyProxyList", {Version: "v1", Resource: "secrets"}: "SecretList",
		c.served[source.HTTPRoute]: "HTTPRouteList",
	}, object("", "Secret", "s", nil), envoyProxy(envoygateway.Group, "warn"), envoyProxy(envoygateway.OldGroup, "error"))
	// The client tells watches nothing of what has happened since the list before them, so the test waits for them.
	watched := make(chan schema.GroupVersionResource, 100)
	client.PrependWatchReactor("*", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := client.Tracker().Watch(a.GetResource(), a.GetNamespace())
		watched <- a.GetResource()
		return true, w, err
	})
	until := func(r schema.GroupVersionResource) {
		for r != <-watched { // The test's time limit is the check.
		}
	}
	c.client = client
	for _, k := range source.Types() {
		c.types[k.Kind] = k
	}
	groups := ""
	c.listing = func(_ context.Context, gv schema.GroupVersion) ([]string, error) {
		if strings.Contains(groups, " "+gv.Group+" ") {
			return []string{"envoyproxies"}, nil
		}
		return nil, nil
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
	if first := take(t, q); len(first) != 1 {
		t.Fatalf("at first: %v", first)
	}
	level := func(want string) {
		t.Helper()
		changes := take(t, q)
		p, ok := changes[0].Object.(*envoygateway.EnvoyProxy)
		if !ok || len(changes) != 1 || p.Spec.Logging == nil || p.Spec.Logging.Level["default"] != want {
			t.Fatalf("changes: %+v, want level %s", changes, want)
		}
	}
	for _, tt := range []struct {
		groups, want string
		from         schema.GroupVersionResource
	}{
		{" " + envoygateway.OldGroup + " ", "error", before}, {" " + envoygateway.OldGroup + " " + envoygateway.Group + " ", "warn", now},
	} {
		groups = tt.groups
		s.look(ctx)
		level(tt.want)
		until(tt.from)
	}
	if err := c.client.Resource(now).Namespace("default").Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	level("error")
	if err := c.client.Resource(before).Namespace("default").Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if gone := take(t, q); len(gone) != 1 || gone[0].Object != nil {
		t.Errorf("changes: %v", gone)
	}
}

// What may be referred to is kept of Secrets: all of what is small, nothing of what is others'.
func TestMeant(t *testing.T) {
	data := map[string][]byte{".htpasswd": []byte("a"), "ca.crt": make([]byte, largest+1), "large": make([]byte, largest+1), "tls.crt": []byte("b")}
	for _, kind := range []string{"CERTIFICATE", "X509 CRL"} {
		data[kind] = append(make([]byte, largest), "-----BEGIN "+kind+"-----\n"...)
	}
	for kind, want := range map[corev1.SecretType]string{
		corev1.SecretTypeOpaque: ".htpasswd,ca.crt,tls.crt,CERTIFICATE,X509 CRL", "": ".htpasswd,ca.crt,tls.crt,CERTIFICATE,X509 CRL", corev1.SecretTypeTLS: "ca.crt,tls.crt",
		"helm.sh/release.v1": "", corev1.SecretTypeServiceAccountToken: "",
	} {
		s := &corev1.Secret{Type: kind, Data: map[string][]byte{}}
		for k, v := range data {
			s.Data[k] = v
		}
		got, keys := meant(s), strings.FieldsFunc(want, func(r rune) bool { return r == ',' })
		for _, k := range keys {
			if _, ok := got[k]; !ok {
				t.Errorf("%q has no %s", kind, k)
			}
		}
		if len(got) != len(keys) {
			t.Errorf("%q has %d values", kind, len(got))
		}
	}
}
