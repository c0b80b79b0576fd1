// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
)

// assignments are what discoveries that sleep find, by their clusters' names, and what becomes of the discoveries.
type assignments struct {
	mu      sync.Mutex
	found   map[string][]upstream.Endpoint
	waiting map[string]func()
	log     []string
}

func (a *assignments) note(what, cluster string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log = append(a.log, what+" "+cluster)
}

func (a *assignments) noted() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := strings.Join(a.log, ", ")
	a.log = nil
	return out
}

// bring has an assignment come.
func (a *assignments) bring(cluster string, endpoints ...upstream.Endpoint) {
	a.mu.Lock()
	a.found[cluster] = endpoints
	ready := a.waiting[cluster]
	delete(a.waiting, cluster)
	a.mu.Unlock()
	if ready != nil {
		ready()
	}
}

type sleepyDiscovery struct {
	*assignments
	cluster string
}

func (d *sleepyDiscovery) Rest(ready func()) error {
	d.note("rests", d.cluster)
	d.mu.Lock()
	_, there := d.found[d.cluster]
	if !there {
		d.waiting[d.cluster] = ready
	}
	d.mu.Unlock()
	if there {
		ready()
	}
	return nil
}

func (d *sleepyDiscovery) Start(update func([]upstream.Endpoint, error)) error {
	d.note("starts", d.cluster)
	d.mu.Lock()
	endpoints := d.found[d.cluster]
	d.mu.Unlock()
	update(endpoints, nil)
	return nil
}

func (d *sleepyDiscovery) Close() { d.note("ends", d.cluster) }

// noChecks never comes to an end.
type noChecks struct{}

func (noChecks) Update([]*upstream.Host) {}
func (noChecks) Fail(*upstream.Host)     {}
func (noChecks) Close()                  {}

// deferring is a manager that defers, and a function that compiles a cluster for it.
func deferring(t *testing.T, local string) (*rig, *assignments, func(name, fields string) *upstream.Config) {
	t.Helper()
	a := &assignments{found: map[string][]upstream.Endpoint{}, waiting: map[string]func(){}}
	cx := testContext()
	cx.HealthChecks = func([]*corev3.HealthCheck, *upstream.Settings) (upstream.NewHealthChecks, []xds.Problem) {
		return func(*upstream.Cluster, *stats.Scope, func()) upstream.HealthChecks { return noChecks{} }, nil
	}
	cx.Discoveries = append(cx.Discoveries, upstream.DiscoveryFactory{Name: "EDS", Sleeps: true, New: func(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
		return func() (upstream.Discovery, error) { return &sleepyDiscovery{a, in.Cluster}, nil }, nil
	}})
	r := &rig{store: stats.NewStore(), loops: []*fakeLoop{{}}}
	r.Manager = upstream.NewManager(upstream.Options{
		Loops: []upstream.Loop{r.loops[0]}, Stats: r.store.Scope(""), Seed: func() uint64 { return 1 }, Deferred: true, LocalCluster: local,
	})
	t.Cleanup(r.Manager.Close)
	return r, a, func(name, fields string) *upstream.Config {
		t.Helper()
		c := parse(t, fmt.Sprintf(`{"name":%q,"type":"EDS","eds_cluster_config":{"eds_config":{"ads":{}}}%s}`, name, fields))
		cfg, problems := upstream.Compile(c, cx)
		if cfg == nil {
			t.Fatal(problems)
		}
		cfg.Again = func() *upstream.Config {
			again, _ := upstream.Compile(c, cx)
			return again
		}
		return cfg
	}
}

func (r *rig) counted(t *testing.T, names ...string) string {
	t.Helper()
	out := make([]string, len(names))
	r.store.Visit(func(m stats.Metric) {
		if i := slices.Index(names, strings.TrimPrefix(m.Name, "cluster_manager.")); i >= 0 {
			out[i] = fmt.Sprint(names[i], " ", m.Level)
		}
	})
	return strings.Join(out, ", ")
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestDeferredUntilAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, cluster := deferring(t, "")
		active := update(t, r, cluster("c", ""))
		if closed(active) || r.Get("c") != nil {
			t.Error("it is active and nothing is known of its endpoints")
		}
		a.bring("c", at(1))
		<-active
		if got := r.counted(t, "active_clusters", "deferred_clusters", "warming_clusters"); got != "active_clusters 1, deferred_clusters 1, warming_clusters 0" {
			t.Error(got)
		}
		if got := a.noted(); got != "rests c" || len(r.All()) > 0 || fmt.Sprint(r.Deferred()) != "[c]" {
			t.Errorf("it %s; made are %v, deferred %v", got, r.All(), r.Deferred())
		}
		if same := update(t, r, cluster("c", "")); !closed(same) || a.noted() != "" {
			t.Error("the same again is not the same")
		}
		a.bring("c", at(2))
		c := r.Get("c")
		if c == nil || r.Get("c") != c || a.noted() != "starts c" {
			t.Fatalf("it is not made when it is asked for")
		}
		if h, f := c.Worker(0).Pick(&upstream.PickContext{}); f != upstream.NoFailure || h.Address != at(2).Address {
			t.Errorf("picked %v, %v: want the newest", h, f)
		}
		if got := r.counted(t, "active_clusters", "deferred_clusters"); got != "active_clusters 1, deferred_clusters 0" {
			t.Error(got)
		}
		// One that is used is replaced by one that is made.
		<-update(t, r, cluster("c", `,"connect_timeout":"3s"`))
		if next := r.All()["c"]; next == nil || next == c {
			t.Error("what is used was deferred again")
		}
		if !r.Remove("c") || r.Get("c") != nil {
			t.Error("it is still there")
		}
	})
}

func TestDeferredReplacedAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, cluster := deferring(t, "")
		a.bring("c", at(1))
		<-update(t, r, cluster("c", ""))
		<-update(t, r, cluster("c", `,"connect_timeout":"3s"`))
		synctest.Wait()
		if got := a.noted(); got != "rests c, rests c, ends c" {
			t.Error(got)
		}
		if c := r.Get("c"); c.ConnectTimeout.Seconds() != 3 {
			t.Errorf("the older was made: %v", c.ConnectTimeout)
		}
		<-update(t, r, cluster("d", `,"wait_for_warm_on_init":false`))
		if !r.Remove("d") || r.Remove("d") || r.Get("d") != nil {
			t.Error("what was deferred is not removed once")
		}
		waits := update(t, r, cluster("e", ""))
		if !r.Remove("e") || !closed(waits) {
			t.Error("what waits for endpoints is not removed")
		}
		a.bring("e", at(1))
		synctest.Wait()
		if r.Get("e") != nil {
			t.Error("what was removed came back with its endpoints")
		}
	})
}

// Whoever asks between the coming of a new cluster and that of its endpoints has the old one made, which the new replaces.
func TestDeferredAskedForWhileTheNextWarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, cluster := deferring(t, "")
		a.bring("c", at(1))
		<-update(t, r, cluster("c", ""))
		a.mu.Lock()
		clear(a.found)
		a.mu.Unlock()
		next := update(t, r, cluster("c", `,"connect_timeout":"3s"`))
		old := r.Get("c")
		if old == nil || old.ConnectTimeout.Seconds() != 5 {
			t.Fatal("there is no old one")
		}
		a.bring("c", at(2))
		<-next
		if c := r.Get("c"); c == old || c.ConnectTimeout.Seconds() != 3 || len(r.Deferred()) > 0 {
			t.Errorf("%v serves, deferred are %v", c.ConnectTimeout, r.Deferred())
		}
	})
}

func TestNotDeferred(t *testing.T) {
	r, a, cluster := deferring(t, "local")
	once := cluster("once", "")
	once.Again = nil
	for _, cfg := range []*upstream.Config{
		cluster("local", ""), // The cluster of the proxies like this one.
		cluster("checked", `,"health_checks":[{"timeout":"1s","interval":"1s","unhealthy_threshold":1,"healthy_threshold":1,"tcp_health_check":{}}]`),
		once,
	} {
		a.bring(cfg.Name, at(1))
		update(t, r, cfg)
		if r.All()[cfg.Name] == nil && r.Warming(cfg.Name) == nil {
			t.Errorf("%s is deferred", cfg.Name)
		}
	}
}

// All who ask at the same time get the same cluster.
func TestDeferredAskedForByMany(t *testing.T) {
	r, a, cluster := deferring(t, "")
	a.bring("c", at(1))
	<-update(t, r, cluster("c", ""))
	var all sync.WaitGroup
	got := make([]*upstream.Cluster, 8)
	for i := range got {
		all.Go(func() { got[i] = r.Get("c") })
	}
	all.Wait()
	for _, c := range got {
		if c == nil || c != got[0] {
			t.Errorf("got %v", got)
		}
	}
	if n := strings.Count(a.noted(), "starts"); n != 1 {
		t.Errorf("it was made %d times", n)
	}
}
