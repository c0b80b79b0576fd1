// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestProblemError(t *testing.T) {
	for _, tt := range []struct {
		p    Problem
		want string
	}{
		{
			Problem{File: "edge.yaml", Line: 12, Path: "static_resources.listeners[0].filter_chains[0]", Reason: `unknown field "filterz"`, Remedy: `did you mean "filters"?`},
			`edge.yaml:12: static_resources.listeners[0].filter_chains[0]: unknown field "filterz" (did you mean "filters"?)`,
		},
		{
			Problem{Severity: Warning, Kind: KindCluster, Name: "a", Path: "name", Reason: "x\ny"},
			`warning: cluster "a": name: x y`,
		},
		{Problem{Line: 3, Reason: "no"}, "line 3: no"},
	} {
		if got := tt.p.Error(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	if Err([]Problem{{Severity: Warning, Reason: "x"}}) != nil {
		t.Error("a warning is not an error")
	}
	if !HasErrors([]Problem{{Severity: Warning}, {Reason: "x"}}) {
		t.Error("HasErrors missed one")
	}
}

func TestOriginRoundTrip(t *testing.T) {
	want := Origin{File: "a.yaml", Line: 7, Object: "HTTPRoute default/a", Field: "spec.rules[0]"}
	base := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb": {}}}
	md := WithOrigin(base, want)
	if got := OriginOf(md); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(base.GetFilterMetadata()) != 1 || len(md.GetFilterMetadata()) != 2 {
		t.Error("WithOrigin must copy, and keep what was there")
	}
	if want := "a.yaml:7 HTTPRoute default/a spec.rules[0]"; OriginOf(md).String() != want {
		t.Errorf("String = %q", OriginOf(md).String())
	}
	if !OriginOf(nil).IsZero() {
		t.Error("nil metadata has no origin")
	}
}

func TestSnapshotIsImmutable(t *testing.T) {
	b := &Builder{}
	b.Clusters().Put("b", &clusterv3.Cluster{Name: "b"}, Origin{Line: 2})
	b.Clusters().Put("a", &clusterv3.Cluster{Name: "a"}, Origin{Line: 1})
	one := b.Build("1")
	b.Clusters().Delete("a")
	b.Clusters().Put("c", &clusterv3.Cluster{Name: "c"}, Origin{})
	two := b.Build("2")
	three := one.Edit().Build("3")

	if got := one.Clusters().Names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("one = %v", got)
	}
	if got := two.Clusters().Names(); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("two = %v", got)
	}
	var walked []string
	for name, c := range three.Clusters().All() {
		walked = append(walked, name+"="+c.GetName())
	}
	if !slices.Equal(walked, []string{"a=a", "b=b"}) {
		t.Errorf("three = %v", walked)
	}
	if one.Clusters().Origin("b").Line != 2 || two.Version() != "2" {
		t.Error("origin or version lost")
	}
}

func TestFromBootstrap(t *testing.T) {
	s := FromBootstrap(&bootstrapv3.Bootstrap{StaticResources: &bootstrapv3.Bootstrap_StaticResources{
		Listeners: []*listenerv3.Listener{{}, {Name: "x", StatPrefix: "first"}, {Name: "x"}},
	}}, "v", nil)
	if got := s.Listeners().Names(); !slices.Equal(got, []string{"static_resources.listeners[0]", "x"}) {
		t.Errorf("names = %v", got)
	}
	if l, _ := s.Listeners().Get("x"); l.GetStatPrefix() != "first" {
		t.Error("the first of equal names must stay")
	}
}

func TestStoreWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store Store
		one, two := (&Builder{}).Build("1"), (&Builder{}).Build("2")
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for s := range store.Watch(ctx) {
				seen = append(seen, s.Version())
			}
		}()
		synctest.Wait()
		store.Publish(one)
		synctest.Wait()
		store.Publish(one)
		synctest.Wait()
		store.Publish(two)
		synctest.Wait()
		cancel()
		<-done
		if !slices.Equal(seen, []string{"1", "2"}) {
			t.Errorf("seen = %v", seen)
		}
		if store.Snapshot() != two {
			t.Error("the newest must stay after the watch ends")
		}
	})
}
