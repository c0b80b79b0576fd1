// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"syscall"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

// idleLoop runs nothing: the benchmark is the loop.
type idleLoop struct{}

func (idleLoop) ID() int { return 0 }

func (idleLoop) Post(func()) {}

// many is the number of hosts that choices are measured with.
const many = 10_000

// crowd is a cluster of n hosts, with fields on lines of their own; weigh makes the
// weight of a host.
func crowd(b testing.TB, n int, fields string, weigh func(i int) int) *upstream.Worker {
	b.Helper()
	c := &clusterv3.Cluster{}
	if _, problems := load.Message("cluster.yaml", []byte("name: c\n"+fields), c, load.Options{}); xds.HasErrors(problems) {
		b.Fatal(xds.Err(problems))
	}
	hosts := make([]*endpointv3.LbEndpoint, n)
	for i := range hosts {
		at := &corev3.SocketAddress{Address: fmt.Sprintf("10.0.%d.%d", i/256, i%256), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80}}
		version := structpb.NewStringValue(fmt.Sprintf("v%d", i%10))
		hosts[i] = &endpointv3.LbEndpoint{
			LoadBalancingWeight: wrapperspb.UInt32(uint32(weigh(i))),
			Metadata:            &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb": {Fields: map[string]*structpb.Value{"version": version}}}},
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: at}},
			}},
		}
	}
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: "c", Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: hosts}}}
	known := all.Extensions()
	cfg, problems := upstream.Compile(c, &upstream.Context{Policies: known.Policies, Discoveries: known.Discoveries})
	if xds.HasErrors(problems) {
		b.Fatal(xds.Err(problems))
	}
	m := upstream.NewManager(upstream.Options{Loops: []upstream.Loop{idleLoop{}}, Stats: stats.NewStore().Scope("")})
	b.Cleanup(m.Close)
	warm, err := m.Update(cfg)
	if err != nil {
		b.Fatal(err)
	}
	<-warm
	return m.Get("c").Worker(0)
}

func alike(int) int { return 1 }

// uneven gives every host a weight of its own.
func uneven(i int) int { return 1 + i }

// costs are the policies. With evenness 1 all hosts get the same, for their weights; it
// bounds the most that one of a hundred gets of 100,000 requests.
var costs = []struct {
	name, fields string
	weigh        func(int) int
	evenness     float64
}{
	{"round_robin", "lb_policy: ROUND_ROBIN", alike, 1.01},
	{"round_robin, 10,000 weights", "lb_policy: ROUND_ROBIN", uneven, 1.1},
	{"round_robin, slow start", "lb_policy: ROUND_ROBIN\nround_robin_lb_config: {slow_start_config: {slow_start_window: 3600s}}", alike, 1.01},
	{"least_request", "lb_policy: LEAST_REQUEST", alike, 1.2},
	{"least_request, 10,000 weights", "lb_policy: LEAST_REQUEST", uneven, 1.2},
	{"random", "lb_policy: RANDOM", alike, 1.2},
	{"ring_hash", "lb_policy: RING_HASH\nring_hash_lb_config: {minimum_ring_size: 20000}", alike, 1.5},
	{"maglev", "lb_policy: MAGLEV", alike, 1.2},
	{"maglev, bounded load", typed("maglev.v3.Maglev", "consistent_hashing_lb_config: {hash_balance_factor: 150}"), alike, 1.2},
	{"client_side_weighted_round_robin", typed("client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", ""), alike, 1.01},
	{"wrr_locality", typed("wrr_locality.v3.WrrLocality", "endpoint_picking_policy: "+policy("round_robin.v3.RoundRobin", "")), alike, 1.01},
	{"subset", "lb_subset_config: {fallback_policy: ANY_ENDPOINT, subset_selectors: [{keys: [version]}]}", alike, 1.01},
}

// request makes one request after the other, which differ in hash and version.
func request(i uint64, c *upstream.PickContext) {
	c.Hash, c.HasHash = i*0x9e3779b97f4a7c15, true
	c.Metadata = versions[i%10][:]
}

var versions = func() (out [10][1]upstream.MetadataCriterion) {
	for i := range out {
		out[i][0] = upstream.MetadataCriterion{Key: "version", Value: fmt.Sprintf("v%d", i)}
	}
	return out
}()

// cpuTime reports the processor's time for each turn from now to the call of what it returns:
// other than what the clock shows, it does not grow with what else the machine does.
func cpuTime(b *testing.B) func() {
	used := func() int64 {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return r.Utime.Nano() + r.Stime.Nano()
	}
	begun := used()
	return func() { b.ReportMetric(float64(used()-begun)/float64(b.N), "cpu-ns/op") }
}

// BenchmarkPick is what it costs to choose among 10,000 hosts, beside a scan of all of them
// for the least busy.
func BenchmarkPick(b *testing.B) {
	for _, c := range costs {
		b.Run(c.name, func(b *testing.B) {
			w, p := crowd(b, many, c.fields, c.weigh), &upstream.PickContext{}
			i := uint64(0)
			b.ReportAllocs()
			defer cpuTime(b)()
			for b.Loop() {
				i++
				request(i, p)
				if h, _ := w.Pick(p); h == nil {
					b.Fatal("no host")
				}
			}
		})
	}
	b.Run("scan", func(b *testing.B) {
		hosts := crowd(b, many, "lb_policy: RANDOM", alike).Set().Hosts
		for b.Loop() {
			var best *upstream.Host
			for _, h := range hosts {
				if h.Health() == upstream.Healthy && (best == nil || h.ActiveRequests() < best.ActiveRequests()) {
					best = h
				}
			}
			if best == nil {
				b.Fatal("no host")
			}
		}
	})
}

// TestEvenness tells how evenly each policy spreads requests over hosts that are alike,
// and over such with weights in proportion to these.
func TestEvenness(t *testing.T) {
	const hosts, requests = 100, 100_000
	for _, c := range costs {
		w, p := crowd(t, hosts, c.fields, c.weigh), &upstream.PickContext{}
		got, sum := map[*upstream.Host]float64{}, 0.0
		for i := range uint64(requests) {
			request(i, p)
			h, _ := w.Pick(p)
			if h == nil {
				t.Fatalf("%s: no host", c.name)
			}
			got[h]++
		}
		for _, h := range w.Set().Hosts {
			sum += float64(h.Weight)
		}
		most := 0.0
		for h, n := range got {
			most = max(most, n/(requests*float64(h.Weight)/sum))
		}
		t.Logf("%-34s max/mean %.3f", c.name, most)
		if len(got) < hosts*99/100 || most > c.evenness {
			t.Errorf("%s: the busiest of %d hosts has %.3f times its share, want at most %.2f", c.name, len(got), most, c.evenness)
		}
	}
}

// TestPickAllocatesNothing: no policy allocates for a choice among 10,000 hosts.
func TestPickAllocatesNothing(t *testing.T) {
	for _, c := range costs {
		w, p := crowd(t, many, c.fields, c.weigh), &upstream.PickContext{}
		i := uint64(0)
		if n := testing.AllocsPerRun(1000, func() {
			i++
			request(i, p)
			w.Pick(p)
		}); n != 0 {
			t.Errorf("%s: a choice allocates %v times", c.name, n)
		}
	}
}
