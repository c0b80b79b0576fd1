// SPDX-License-Identifier: Apache-2.0

package eds

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

func TestMain(m *testing.M) { leak.Main(m) }

const config = `{eds_config: {ads: {}}, service_name: shop}`

// tellings are what a discovery has told.
type tellings struct {
	mu   sync.Mutex
	list []string
}

func (l *tellings) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, s)
}

func (l *tellings) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

func start(t *testing.T, d *resource.Directory) (told *tellings, discovery upstream.Discovery) {
	t.Helper()
	discovery = discoveryOf(t, d)
	return started(t, discovery), discovery
}

func discoveryOf(t *testing.T, d *resource.Directory) upstream.Discovery {
	t.Helper()
	c := &clusterv3.Cluster_EdsClusterConfig{}
	if _, problems := load.Message("eds.yaml", []byte(config), c, load.Options{}); xds.HasErrors(problems) {
		t.Fatal(problems)
	}
	made, err := Factory().New(&upstream.DiscoveryConfig{Cluster: "c", EDS: c, Resources: d})
	if err != nil {
		t.Fatal(err)
	}
	discovery, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return discovery
}

func started(t *testing.T, discovery upstream.Discovery) *tellings {
	t.Helper()
	told := new(tellings)
	if err := discovery.Start(func(list []upstream.Endpoint, err error) {
		var b strings.Builder
		for _, e := range list {
			fmt.Fprint(&b, e.Address, "*", e.Weight, " ")
		}
		fmt.Fprint(&b, discovery.(upstream.Assigner).Policy().OverprovisioningFactor)
		if err != nil {
			fmt.Fprint(&b, " ", err)
		}
		told.add(b.String())
	}); err != nil {
		t.Fatal(err)
	}
	return told
}

func set(t *testing.T, d *resource.Directory, yaml string) error {
	t.Helper()
	a := &endpointv3.ClusterLoadAssignment{}
	if _, problems := load.Message("endpoints.yaml", []byte(yaml), a, load.Options{SkipValidation: true}); xds.HasErrors(problems) {
		t.Fatal(problems)
	}
	return d.Set(resource.ID{Kind: xds.KindEndpoints, Name: "shop"}, a, "1")
}

func endpoints(port int, policy string) string {
	return fmt.Sprintf(`{cluster_name: shop, policy: {%s}, endpoints: [{lb_endpoints: [{load_balancing_weight: 3, endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: %d}}}}]}]}`, policy, port)
}

func TestFollowsTheAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := resource.NewDirectory(nil)
		told, discovery := start(t, d)
		for _, yaml := range []string{endpoints(80, ""), endpoints(81, "overprovisioning_factor: 200"), "{cluster_name: shop}"} {
			if err := set(t, d, yaml); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		discovery.Close()
		if err := set(t, d, endpoints(82, "")); err != nil {
			t.Error(err)
		}
		want := []string{"10.0.0.1:80*3 140", "10.0.0.1:81*3 200", "140"}
		if fmt.Sprint(told.all()) != fmt.Sprint(want) {
			t.Errorf("told %q, want %q", told.all(), want)
		}
	})
}

func TestWarmsWithoutAnAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told, discovery := start(t, resource.NewDirectory(nil))
		defer discovery.Close()
		synctest.Wait()
		if len(told.all()) > 0 {
			t.Fatalf("told %q", told.all())
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if fmt.Sprint(told.all()) != "[0]" {
			t.Errorf("told %q", told.all())
		}
	})
}

func TestEndpointsGrowStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := resource.NewDirectory(nil)
		told, discovery := start(t, d)
		defer discovery.Close()
		for _, port := range []int{80, 81} {
			if err := set(t, d, endpoints(port, "endpoint_stale_after: 10s")); err != nil {
				t.Error(err)
			}
			time.Sleep(9 * time.Second)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := fmt.Sprint(told.all()), "[10.0.0.1:80*3 140 10.0.0.1:81*3 140 140]"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	})
}

// A cluster that is deferred refuses what cannot be used, and begins with the newest.
func TestRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := resource.NewDirectory(nil)
		discovery := discoveryOf(t, d).(upstream.Sleeper)
		defer discovery.Close()
		ready := make(chan struct{})
		if err := discovery.Rest(func() { close(ready) }); err != nil {
			t.Fatal(err)
		}
		if err := set(t, d, endpoints(80, "")); err != nil {
			t.Error(err)
		}
		<-ready
		if err := set(t, d, endpoints(81, "endpoint_stale_after: 10s")); err != nil {
			t.Error(err)
		}
		if err := set(t, d, `{cluster_name: other}`); err == nil {
			t.Error("an assignment of another cluster was taken")
		}
		time.Sleep(9 * time.Second)
		told := started(t, discovery)
		if got, want := fmt.Sprint(told.all()), "[10.0.0.1:81*3 140]"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := fmt.Sprint(told.all()), "[10.0.0.1:81*3 140 140]"; got != want {
			t.Errorf("told %s, want %s: what came before the start is as old as it is", got, want)
		}
	})
}

func TestRestEnds(t *testing.T) {
	d := resource.NewDirectory(nil)
	discovery := discoveryOf(t, d).(upstream.Sleeper)
	if err := discovery.Rest(func() { t.Error("ready") }); err != nil {
		t.Fatal(err)
	}
	discovery.Close()
	discovery.Close()
	if w := d.Watched(); len(w) > 0 {
		t.Errorf("watched is %v", w)
	}
}

func TestRefused(t *testing.T) {
	d := resource.NewDirectory(nil)
	told, discovery := start(t, d)
	defer discovery.Close()
	for _, tt := range []struct{ yaml, want string }{
		{`{cluster_name: other}`, `cluster_name: is "other": want "shop"`},
		{strings.Replace(endpoints(80, ""), "10.0.0.1", "shop.example", 1), `endpoints[0].lb_endpoints[0].endpoint.address: "shop.example" is not an IP address`},
		{endpoints(80, "overprovisioning_factor: 0"), "policy.overprovisioning_factor: "},
	} {
		if err := set(t, d, tt.yaml); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.yaml, err)
		}
	}
	if len(told.all()) != 3 || !strings.Contains(told.all()[0], "cluster_name") {
		t.Errorf("told %q", told.all())
	}
}

func TestBadConfig(t *testing.T) {
	for _, in := range []*upstream.DiscoveryConfig{
		{Cluster: "c", Resources: resource.NewDirectory(nil)},
		{Cluster: "c", Resources: resource.NewDirectory(nil), EDS: &clusterv3.Cluster_EdsClusterConfig{}},
	} {
		if _, err := Factory().New(in); err == nil || !strings.Contains(err.Error(), "eds_cluster_config.eds_config: is missing") {
			t.Errorf("error is %v", err)
		}
	}
}
