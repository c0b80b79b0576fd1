// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds"
)

func TestMain(m *testing.M) { leak.Main(m) }

var ads = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}

func routes(name, host string) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: name, VhostHeader: host}
}

// listener notes what a watch is told; a vhost_header of "bad" is refused.
type listener struct {
	got     []string
	decoded int
}

func (l *listener) options(share any) Options {
	return Options{
		Decode: func(m proto.Message) (any, error) {
			l.decoded++
			h := m.(*routev3.RouteConfiguration).GetVhostHeader()
			if h == "bad" {
				return nil, errors.New("vhost_header: is bad")
			}
			return h, nil
		},
		Share:   share,
		Changed: func(v any) { l.got = append(l.got, v.(string)) },
		Refused: func(err error) { l.got = append(l.got, "refused") },
		Gone:    func() { l.got = append(l.got, "gone") },
		Stats:   NewStats(stats.NewStore().Scope("x.")),
	}
}

func ready(w *Watch) bool {
	select {
	case <-w.Ready():
		return true
	default:
		return false
	}
}

func TestWatchesAreToldAndTheLastGoodStays(t *testing.T) {
	d := NewDirectory(nil)
	id := ID{Snapshot, xds.KindRoutes, "r"}
	var one, two listener
	set := func(host string) error { return d.Set(id, routes("r", host), host) }
	w, err := d.Watch(ads, xds.KindRoutes, "r", one.options("s"))
	if err != nil || ready(w) {
		t.Fatalf("watch: %v, ready %v", err, ready(w))
	}
	for _, host := range []string{"a", "a", "bad", "b"} {
		if err := set(host); (err != nil) != (host == "bad") {
			t.Errorf("set %s: %v", host, err)
		}
	}
	if !ready(w) {
		t.Error("not ready")
	}
	w2, err := d.Watch(nil, xds.KindRoutes, "r", two.options("s"))
	if err != nil || !ready(w2) {
		t.Fatalf("watch: %v, ready %v", err, ready(w2))
	}
	if two.decoded != 0 {
		t.Error("the second watch decoded what it could share")
	}
	if err := set("c"); err != nil || one.decoded+two.decoded != 4 {
		t.Errorf("%v; %d decoded", err, one.decoded+two.decoded)
	}
	w.Close()
	w.Close()
	if err := set("d"); err != nil {
		t.Error(err)
	}
	d.Remove(id)
	if want := []string{"a", "refused", "b", "c"}; !slices.Equal(one.got, want) {
		t.Errorf("the first was told %v, want %v", one.got, want)
	}
	if want := []string{"b", "c", "d", "gone"}; !slices.Equal(two.got, want) {
		t.Errorf("the second was told %v, want %v", two.got, want)
	}
	w2.Close()
	if len(d.topics) != 0 {
		t.Errorf("topics stay: %v", d.topics)
	}
}

func TestWhatIsWrongAlreadyIsReported(t *testing.T) {
	d := NewDirectory(nil)
	if err := d.Set(ID{Snapshot, xds.KindRoutes, "r"}, routes("r", "bad"), "1"); err != nil {
		t.Fatal(err)
	}
	var l listener
	w, err := d.Watch(ads, xds.KindRoutes, "r", l.options(nil))
	if err != nil || !ready(w) {
		t.Fatal(err)
	}
	if p := d.Problems(); len(p) != 1 || p[0].Name != "r" || p[0].Kind != xds.KindRoutes || len(d.Problems()) != 0 {
		t.Errorf("problems: %v", p)
	}
}

func TestWanted(t *testing.T) {
	d := NewDirectory(nil)
	d.Aggregated = true
	var told []string
	var l listener
	first, err := d.Watch(ads, xds.KindRoutes, "r", l.options(nil))
	if err != nil {
		t.Fatal(err)
	}
	d.OnWanted(func(id ID, _ *corev3.ConfigSource, on bool) {
		told = append(told, fmt.Sprintf("%s %s %v", id.Source, id.Name, on))
	})
	second, err := d.Watch(ads, xds.KindRoutes, "r", l.options(nil))
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	second.Close()
	if want := []string{"ads r true", "ads r false"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestInitialFetchTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDirectory(nil)
		var l listener
		o := l.options(nil)
		cs := proto.CloneOf(ads)
		never := proto.CloneOf(ads)
		never.InitialFetchTimeout = durationpb.New(0)
		w, err := d.Watch(cs, xds.KindRoutes, "r", o)
		if err != nil {
			t.Fatal(err)
		}
		forever, err := d.Watch(never, xds.KindRoutes, "r", l.options(nil))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(15*time.Second - time.Millisecond)
		synctest.Wait()
		if ready(w) {
			t.Error("ready before the time is over")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !ready(w) || o.Stats.counts.InitTimeout.Value() != 1 {
			t.Error("not ready after the time is over")
		}
		time.Sleep(time.Hour)
		if ready(forever) {
			t.Error("a time limit of 0 is none")
		}
	})
}

func asking(a *corev3.ApiConfigSource) *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: a}}
}

// What nobody asks for any more is dropped, unless it is watched again.
func TestForget(t *testing.T) {
	d := NewDirectory(nil)
	d.Aggregated = true
	id := ID{ADS, xds.KindRoutes, "r"}
	var l listener
	w, err := d.Watch(ads, xds.KindRoutes, "r", l.options(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Set(id, routes("r", "a"), "1"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	again, err := d.Watch(ads, xds.KindRoutes, "r", l.options(nil))
	if err != nil || !ready(again) {
		t.Fatalf("watch: %v, ready %v", err, ready(again))
	}
	d.Forget(id)
	again.Close()
	if len(d.topics) != 0 || !slices.Equal(l.got, []string{"a", "a"}) {
		t.Errorf("topics %v, told %v", d.topics, l.got)
	}
	if err := d.Set(id, routes("r", "a"), "1"); err != nil {
		t.Fatal(err)
	}
	d.Forget(id)
	d.Forget(id)
	if len(d.topics) != 0 {
		t.Errorf("topics stay: %v", d.topics)
	}
}

func TestKeys(t *testing.T) {
	api := func(v corev3.ApiVersion, cluster string) *corev3.ConfigSource {
		return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_REST, TransportApiVersion: v, ClusterNames: []string{cluster},
		}}}
	}
	d := NewDirectory(nil)
	a, err := d.Key(api(corev3.ApiVersion_V3, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := d.Key(api(corev3.ApiVersion_V3, "a")); err != nil || again != a {
		t.Errorf("the same source has the keys %q and %q (%v)", a, again, err)
	}
	if b, err := d.Key(api(corev3.ApiVersion_V3, "b")); err != nil || b == a {
		t.Errorf("different sources have the key %q (%v)", b, err)
	}
	for _, tt := range []struct {
		cs   *corev3.ConfigSource
		want string
	}{
		{api(corev3.ApiVersion_V2, "a"), "v2"}, //nolint:staticcheck // That is the point.
		{&corev3.ConfigSource{}, "says nothing"},
		{asking(&corev3.ApiConfigSource{ClusterNames: []string{"a"}}), "api_type: is missing"},
		{asking(&corev3.ApiConfigSource{ApiType: corev3.ApiConfigSource_REST}), "api_config_source.cluster_names: is empty"},
		{asking(&corev3.ApiConfigSource{ApiType: corev3.ApiConfigSource_DELTA_GRPC}), "api_config_source.grpc_services: is empty"},
	} {
		if _, err := d.Key(tt.cs); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v", tt.cs, err)
		}
	}
}
