// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"

	"weir.dev/weir/control/peers"
)

// What replicas post is heard, when it comes, changes and goes.
func TestBoard(t *testing.T) {
	leases := schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	c := &Cluster{client: fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{leases: "LeaseList"})}
	b := c.Board("system", "weir-control", slog.New(slog.DiscardHandler))
	if err := b.Put(t.Context(), "Pod_A-1", "first"); err != nil {
		t.Fatal(err)
	}
	heard, all := make(chan peers.Post, 10), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { b.Watch(ctx, func(p peers.Post) { heard <- p }, func() { close(all) }) })
	defer wg.Wait()
	defer cancel()
	next := func() peers.Post {
		t.Helper()
		select {
		case p := <-heard:
			return p
		case <-time.After(time.Minute):
			t.Fatal("nothing is heard")
			return peers.Post{}
		}
	}
	if p := next(); p.Replica != "Pod_A-1" || p.Text != "first" {
		t.Errorf("at first there is %+v", p)
	}
	<-all
	if err := b.Put(t.Context(), "Pod_A-1", "second"); err != nil {
		t.Fatal(err)
	}
	if p := next(); p.Replica != "Pod_A-1" || p.Text != "second" {
		t.Errorf("then there is %+v", p)
	}
	if err := b.Remove(t.Context(), "Pod_A-1", ""); err != nil {
		t.Fatal(err)
	}
	if p := next(); p.Replica != "Pod_A-1" || p.Version != "" {
		t.Errorf("in the end there is %+v", p)
	}
	if err := b.Remove(t.Context(), "Pod_A-1", ""); err != nil {
		t.Errorf("of one that is gone: %v", err)
	}
	if err := b.Put(t.Context(), "a", strings.Repeat("x", largestPost+1)); err == nil || !strings.Contains(err.Error(), "Lease system/weir-control-a") {
		t.Errorf("of a text that is too long: %v", err)
	}
}
