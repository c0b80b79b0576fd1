// SPDX-License-Identifier: Apache-2.0

package aggregate

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	robinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

func TestMain(m *testing.M) { leak.Main(m) }

// loop runs nothing: the test is the loop, and a pick takes over what is new.
type loop struct{}

func (loop) ID() int { return 0 }

func (loop) Post(func()) {}

type first struct{}

func (first) BuildList(hosts []*upstream.Host) upstream.Table { return table1(hosts) }

type table1 []*upstream.Host

func (t table1) Balancer(*upstream.Env) upstream.Balancer { return t }

func (t table1) Pick(*upstream.PickContext) *upstream.Host { return t[0] }

// fixed tells a cluster's endpoints once.
type fixed struct{ endpoints []upstream.Endpoint }

func (f fixed) Start(update func([]upstream.Endpoint, error)) error {
	update(f.endpoints, nil)
	return nil
}

func (fixed) Close() {}

func static() upstream.DiscoveryFactory {
	return upstream.DiscoveryFactory{Name: "STATIC", New: func(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
		var list []upstream.Endpoint
		for _, t := range in.Targets {
			list = append(list, t.Endpoint)
		}
		return func() (upstream.Discovery, error) { return fixed{list}, nil }, nil
	}}
}

func update(t *testing.T, m *upstream.Manager, json string) {
	t.Helper()
	c := &clusterv3.Cluster{}
	if err := protojson.Unmarshal([]byte(json), c); err != nil {
		t.Fatal(err)
	}
	robin := upstream.PolicyFactory{
		Name: "r", Config: &robinv3.RoundRobin{}, New: func(proto.Message) (upstream.Policy, error) {
			return upstream.Layered(first{}, upstream.LayerOptions{}), nil
		},
		Fields: ledger.MustParse("message envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin\nslow_start_config yes\nlocality_lb_config yes\n"),
	}
	cfg, problems := upstream.Compile(c, &upstream.Context{Policies: []upstream.PolicyFactory{robin}, Discoveries: []upstream.DiscoveryFactory{static(), Factory()}})
	if xds.HasErrors(problems) {
		t.Fatal(problems)
	}
	done, err := m.Update(cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-done
}

func plain(name, port string) string {
	return `{"name":"` + name + `","load_assignment":{"cluster_name":"` + name + `","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"127.0.0.1","port_value":` + port + `}}}}]}]}}`
}

func aggregate(name, members string) string {
	return `{"name":"` + name + `","lb_policy":"CLUSTER_PROVIDED","cluster_type":{"name":"a","typed_config":{"@type":"type.googleapis.com/` + Name + `","clusters":` + members + `}}}`
}

func TestMembersAreFollowed(t *testing.T) {
	m := upstream.NewManager(upstream.Options{Loops: []upstream.Loop{loop{}}, Stats: stats.NewStore().Scope("")})
	defer m.Close()
	update(t, m, plain("one", "1"))
	update(t, m, plain("two", "2"))
	update(t, m, aggregate("inner", `["two","outer"]`)) // They name each other.
	update(t, m, aggregate("outer", `["missing","one","inner"]`))
	w := m.Get("outer").Worker(0)
	pick := func(want uint16) {
		t.Helper()
		// The goroutine that follows members is not ours to wait for.
		for range 10_000_000 {
			if h, _ := w.Pick(&upstream.PickContext{}); h != nil && h.Address.Port() == want || h == nil && want == 0 {
				return
			}
		}
		t.Fatalf("port %d is never picked", want)
	}
	pick(1)
	one := m.Get("one")
	one.SetHealth(one.Set().Hosts[0], upstream.FailedActiveHC, 0)
	pick(2)
	one.SetHealth(one.Set().Hosts[0], 0, upstream.FailedActiveHC)
	m.Remove("one")
	pick(2)
	update(t, m, plain("missing", "3"))
	pick(3)
	m.Remove("missing")
	m.Remove("two")
	pick(0)
}

func TestRefused(t *testing.T) {
	for name, json := range map[string]string{
		"no members": aggregate("a", `[]`),
		"itself":     aggregate("a", `["a"]`),
		"endpoints":  `{"load_assignment":{"cluster_name":"a","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"pipe":{"path":"/x"}}}}]}]},` + aggregate("a", `["b"]`)[1:],
	} {
		c := &clusterv3.Cluster{}
		if err := protojson.Unmarshal([]byte(json), c); err != nil {
			t.Fatal(err)
		}
		if _, problems := upstream.Compile(c, &upstream.Context{Discoveries: []upstream.DiscoveryFactory{Factory()}}); !xds.HasErrors(problems) {
			t.Errorf("%s: compiled", name)
		}
	}
}
