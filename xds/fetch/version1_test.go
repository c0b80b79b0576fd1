// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/legacy/v1"
	"weir.dev/weir/xds/load"
	"weir.dev/weir/xds/typedstruct"
)

// answers is a server of version 1 of discovery.
type answers struct {
	*server // for its log
	mu      sync.Mutex
	body    map[string]string // by path; what is not there is 404
	asked   []string
	times   []time.Time
}

func (a *answers) set(path, body string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.body[path] = body
}

func (a *answers) get(_ context.Context, cluster, path string, timeout time.Duration, limit int) (int, []byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, fmt.Sprint(cluster, " ", path, " ", timeout, " ", limit))
	a.times = append(a.times, time.Now())
	body, ok := a.body[path]
	if !ok {
		return 404, nil, nil
	}
	return 200, []byte(body), nil
}

// sofar is what was asked for up to now, and when.
func (a *answers) sofar() ([]string, []time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked), slices.Clone(a.times)
}

func (a *answers) client(tg *target, node *corev3.Node) *Client {
	c := New(Options{Target: tg, Node: node, Get: a.get, Log: slog.New(slog.NewTextHandler(a, nil))})
	a.t.Cleanup(c.Close)
	return c
}

func byVersion1(t *testing.T) *corev3.ConfigSource {
	s := typedstruct.New(v1.DiscoveryType)
	s.Value = &structpb.Struct{Fields: map[string]*structpb.Value{
		"sds_cluster": structpb.NewStringValue("sds"), "sds_refresh_delay": structpb.NewStringValue("1s"),
	}}
	a, err := anypb.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return own(&corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_REST, ClusterNames: []string{"discovery"}, RefreshDelay: durationpb.New(10 * time.Second),
		ConfigValidators: []*corev3.TypedExtensionConfig{{Name: v1.DiscoveryName, TypedConfig: a}},
	})
}

func v1Clusters(names ...string) string {
	var list []string
	for _, n := range names {
		list = append(list, `{"name": "`+n+`", "type": "sds", "service_name": "`+n+`", "connect_timeout_ms": 250, "lb_type": "round_robin"}`)
	}
	return `{"clusters": [` + strings.Join(list, ",") + `]}`
}

const v1Routes = `{"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"prefix": "/", "cluster": "%s"}]}]}`

// By version 1, clusters, listeners and routes are asked for again and again; what is
// wrong, or not there, takes nothing away.
func TestVersion1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{server: &server{t: t}, body: map[string]string{}}
		tg := newTarget()
		c := a.client(tg, &corev3.Node{Id: "edge/1", Cluster: "edges"})
		a.set("/v1/clusters/edges/edge%2F1", v1Clusters("a", "b"))
		a.set("/v1/listeners/edges/edge%2F1", `{"listeners": [{"address": "tcp://127.0.0.1:80", "filters": [{"type": "read", "name": "echo", "config": {}}]}]}`)
		a.set("/v1/routes/r/edges/edge%2F1", fmt.Sprintf(v1Routes, "a"))
		c.Subscribe("cds", byVersion1(t), xds.KindCluster, Wildcard)
		c.Subscribe("lds", byVersion1(t), xds.KindListener, Wildcard)
		c.Subscribe("rds", byVersion1(t), xds.KindRoutes, "r")
		c.Subscribe("rds", byVersion1(t), xds.KindRoutes, "s")
		after(time.Second)
		first := tg.has("a")
		for _, name := range []string{"a", "b", "127.0.0.1:80", "r"} {
			if tg.has(name) == "" {
				t.Errorf("there is no %s; the log is %s", name, a.logged())
			}
		}
		if !strings.Contains(a.logged(), "/v1/routes/s/edges/edge%2F1: the answer is 404") {
			t.Errorf("the log is %s", a.logged())
		}
		asked, _ := a.sofar()
		if want := "discovery /v1/clusters/edges/edge%2F1 1s 16777216"; !slices.Contains(asked, want) {
			t.Errorf("asked %q, want %q", asked, want)
		}
		n, _ := tg.seen()
		after(time.Minute)
		if again, _ := tg.seen(); again != n {
			t.Errorf("%d updates of what has not changed", again-n)
		}
		for _, bad := range []string{
			`<html>`, `{}`, `{"clusters": 1}`, `{"clusters": [{"name": "a"}]}`, `null`, ``,
			strings.Replace(v1Clusters("a"), "round_robin", "maglev", 1), strings.Replace(v1Clusters("a"), "connect_timeout_ms", "connect_timeout", 1),
		} {
			a.set("/v1/clusters/edges/edge%2F1", bad)
			_, fails := tg.seen()
			after(25 * time.Second)
			if _, now := tg.seen(); tg.has("a") != first || tg.has("b") != first || now == fails {
				t.Errorf("after %s there is a %q, b %q", bad, tg.has("a"), tg.has("b"))
			}
		}
		if !strings.Contains(a.logged(), `clusters[0].lb_type: unknown value \"maglev\"`) {
			t.Errorf("the log is %s", a.logged())
		}
		a.set("/v1/clusters/edges/edge%2F1", v1Clusters("a", "c"))
		a.set("/v1/routes/s/edges/edge%2F1", fmt.Sprintf(v1Routes, "c"))
		after(25 * time.Second)
		if tg.has("a") == first || tg.has("b") != "" || tg.has("c") == "" || tg.has("s") == "" {
			t.Errorf("at last there is a %q, b %q, c %q, s %q", tg.has("a"), tg.has("b"), tg.has("c"), tg.has("s"))
		}
		c.Close()
		asked, when := a.sofar()
		var times []time.Time
		for i, what := range asked {
			if strings.Contains(what, "/v1/clusters") {
				times = append(times, when[i])
			}
		}
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < 10*time.Second || gap > 20*time.Second {
				t.Errorf("asked again after %v", gap)
			}
		}
	})
}

// Without a name of its own, a proxy does not know what to ask for.
func TestVersion1NeedsANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{server: &server{t: t}}
		tg := newTarget()
		c := a.client(tg, &corev3.Node{Id: "edge-1"})
		c.Subscribe("cds", byVersion1(t), xds.KindCluster, Wildcard)
		c.Subscribe("cds", byVersion1(t), xds.KindEndpoints, "a")
		after(time.Second)
		if _, fails := tg.seen(); fails == 0 || !strings.Contains(a.logged(), "--service-cluster") {
			t.Errorf("%d failures; the log is %s", fails, a.logged())
		}
	})
}

// What a cluster of type sds asks stands in the bootstrap.
func TestVersion1Context(t *testing.T) {
	with, err := v1.ContextOf(byVersion1(t).GetApiConfigSource())
	if err != nil || with.SDSCluster != "sds" || with.SDSRefreshDelay != time.Second {
		t.Fatalf("%+v, %v", with, err)
	}
	got, problems := load.Discovered("cds", []byte(v1Clusters("a")), xds.KindCluster, *with)
	if len(problems) > 0 || len(got) != 1 || got[0].(*clusterv3.Cluster).GetClusterType().GetName() != v1.RegistrationName {
		t.Errorf("%v, %v", got, problems)
	}
	if _, problems := load.Discovered("cds", []byte(v1Clusters("a")), xds.KindCluster, v1.Context{}); len(problems) == 0 {
		t.Error("a cluster of type sds is taken although there is nobody to ask")
	}
	for want, a := range map[string]*corev3.ApiConfigSource{
		"is no config validator": {ApiType: corev3.ApiConfigSource_REST, ConfigValidators: []*corev3.TypedExtensionConfig{{Name: "x"}}},
		"is asked by REST":       {ApiType: corev3.ApiConfigSource_GRPC, ConfigValidators: byVersion1(t).GetApiConfigSource().GetConfigValidators()},
	} {
		if _, err := v1.ContextOf(a); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", a, err)
		}
	}
}

// FuzzDiscovered proves that no answer of version 1 panics.
func FuzzDiscovered(f *testing.F) {
	f.Add(v1Clusters("a", "b"))
	f.Add(fmt.Sprintf(v1Routes, "a"))
	f.Add(`{"listeners": [{"address": "tcp://127.0.0.1:80", "filters": []}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		for _, kind := range []xds.Kind{xds.KindCluster, xds.KindListener, xds.KindRoutes} {
			got, problems := load.Discovered("body", []byte(body), kind, v1.Context{SDSCluster: "sds", SDSRefreshDelay: time.Second})
			if len(problems) > 0 && got != nil {
				t.Errorf("%v with %v", got, problems)
			}
		}
	})
}
