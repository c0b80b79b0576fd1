// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds"
)

// Each subscription counts the stream that it is asked for on, also one that was up
// before; those of the aggregated server do not.
func TestStreamsAreCounted(t *testing.T) {
	store := stats.NewStore()
	own := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_GRPC, ClusterNames: []string{"xds"},
	}}}
	d := NewDirectory(nil)
	d.Aggregated = true
	key, err := d.Key(own)
	if err != nil {
		t.Fatal(err)
	}
	empty := 0
	watch := func(cs *corev3.ConfigSource, kind xds.Kind, name string) *Stats {
		t.Helper()
		s := NewStats(store.Scope(name))
		w, err := d.Watch(cs, kind, name, Options{Decode: func(proto.Message) (any, error) { return nil, nil }, Changed: func(any) {}, Empty: func() { empty++ }, Stats: s})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close(); s.Close() })
		return s
	}
	early, other := watch(own, xds.KindRoutes, "early"), watch(own, xds.KindEndpoints, "other")
	d.Connected(key, xds.KindRoutes, true, "server-1")
	late, ads := watch(own, xds.KindRoutes, "late"), watch(forever, xds.KindRoutes, "ads")
	for name, want := range map[*Stats]int64{early: 1, late: 1, other: 0} {
		if got := name.Server().counts.Connected.Value(); got != want {
			t.Errorf("connected_state is %d, want %d", got, want)
		}
	}
	if ads.Server() != nil {
		t.Error("what comes by the aggregated stream counts a stream of its own")
	}
	if got := late.Server().text.Value(); got != "server-1" {
		t.Errorf("identifier is %q", got)
	}
	d.Throttled(key, xds.KindRoutes, true)
	if c := &early.Server().counts; c.Pending.Value() != 1 || c.Limited.Value() != 1 {
		t.Errorf("pending_requests is %d, rate_limit_enforced %d", c.Pending.Value(), c.Limited.Value())
	}
	d.Throttled(key, xds.KindRoutes, false)
	d.Connected(key, "", false, "")
	d.Connected(key, xds.KindRoutes, false, "")
	if c := &early.Server().counts; c.Pending.Value() != 0 || c.Connected.Value() != 0 {
		t.Errorf("pending_requests is %d, connected_state %d", c.Pending.Value(), c.Connected.Value())
	}
	if err := d.Set(ID{key, xds.KindRoutes, "late"}, &routev3.RouteConfiguration{}, "1"); err != nil {
		t.Fatal(err)
	}
	if d.Empty(key, xds.KindRoutes); empty != 2 {
		t.Errorf("%d watches were told of an empty answer, want 2", empty)
	}
}
