// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// loads is a server of load reports. It adds up what it is told.
type loads struct {
	loadv3.UnimplementedLoadReportingServiceServer
	wanted *loadv3.LoadStatsResponse

	mu      sync.Mutex
	streams int
	first   *loadv3.LoadStatsRequest
	// Sums over all reports, by cluster and by host.
	issued, success, failed, hosts, dropped map[string]uint64
	places                                  map[string]bool
	// metrics are what hosts told, by place and name, and with all hosts by their address.
	metrics map[string]*endpointv3.EndpointLoadMetricStats
	bad     string
}

func (l *loads) StreamLoadStats(g loadv3.LoadReportingService_StreamLoadStatsServer) error {
	q, err := g.Recv()
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.streams++
	l.first = q
	n := l.streams
	l.mu.Unlock()
	if n == 1 { // The first is refused, and it comes again.
		return status.Error(codes.Unavailable, "not yet")
	}
	if err := g.Send(l.wanted); err != nil {
		return err
	}
	for {
		q, err := g.Recv()
		if err != nil {
			return err
		}
		l.take(q)
	}
}

func (l *loads) take(q *loadv3.LoadStatsRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range q.GetClusterStats() {
		if c.GetLoadReportInterval().AsDuration() <= 0 {
			l.bad = "no interval in " + prototext.Format(c)
		}
		l.dropped[c.GetClusterName()] += c.GetTotalDroppedRequests()
		for _, d := range c.GetDroppedRequests() {
			l.dropped[c.GetClusterName()+"/"+d.GetCategory()] += d.GetDroppedCount()
		}
		for _, p := range c.GetUpstreamLocalityStats() {
			l.places[fmt.Sprint(c.GetClusterName(), "/", c.GetClusterServiceName(), "/", p.GetLocality().GetRegion(), "/", p.GetLocality().GetZone(), "/", p.GetPriority())] = true
			l.issued[c.GetClusterName()] += p.GetTotalIssuedRequests()
			l.success[c.GetClusterName()] += p.GetTotalSuccessfulRequests()
			l.failed[c.GetClusterName()] += p.GetTotalErrorRequests()
			for _, e := range p.GetUpstreamEndpointStats() {
				a := e.GetAddress().GetSocketAddress()
				l.hosts[fmt.Sprint(a.GetAddress(), ":", a.GetPortValue())] += e.GetTotalIssuedRequests()
				l.measure(fmt.Sprint(a.GetAddress(), ":", a.GetPortValue()), e.GetLoadMetricStats())
			}
			l.measure(p.GetLocality().GetZone(), p.GetLoadMetricStats())
		}
	}
}

func (l *loads) measure(of string, metrics []*endpointv3.EndpointLoadMetricStats) {
	for _, m := range metrics {
		name := of + "/" + m.GetMetricName()
		if l.metrics[name] == nil {
			l.metrics[name] = &endpointv3.EndpointLoadMetricStats{}
		}
		l.metrics[name].NumRequestsFinishedWithMetric += m.GetNumRequestsFinishedWithMetric()
		l.metrics[name].TotalMetricValue += m.GetTotalMetricValue()
	}
}

func newLoads(t *testing.T, wanted *loadv3.LoadStatsResponse) (*loads, string) {
	t.Helper()
	l := &loads{wanted: wanted, issued: map[string]uint64{}, success: map[string]uint64{}, failed: map[string]uint64{}, hosts: map[string]uint64{}, dropped: map[string]uint64{}, metrics: map[string]*endpointv3.EndpointLoadMetricStats{}, places: map[string]bool{}}
	wanted.LoadReportingInterval = durationpb.New(20_000_000)
	g := grpc.NewServer()
	loadv3.RegisterLoadReportingServiceServer(g, l)
	return l, listen(t, g)
}

// sum waits until a sum is as wanted.
func (l *loads) sum(t *testing.T, what string, of map[string]uint64, name string, want uint64) {
	t.Helper()
	proxytest.Eventually(t, what+" of "+name, func() (uint64, bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return of[name], of[name] >= want
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if of[name] != want {
		t.Errorf("%s of %s is %d, want %d", what, name, of[name], want)
	}
}

// reporting is a bootstrap that reports its load to {{xds}}: a cluster of two hosts in two
// zones, and one that drops all.
func reporting(lrs, cluster string) string {
	host := func(zone, name string) string {
		return `{locality: {region: r, zone: ` + zone + `}, lb_endpoints: [{endpoint: {address: {{` + name + `}}}}]}`
	}
	return `{node: {id: edge-1, cluster: edges}, ` + lrs + `
static_resources: {listeners: [{name: edge, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [
    {name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: test, http_filters: [` + router + `], route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [
        {match: {prefix: /none}, route: {cluster: none}}, {match: {prefix: /}, route: {cluster: up}}]}]}}}]}]}],
  clusters: [{name: xds, type: STATIC, connect_timeout: 1s,
    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}},
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {{xds}}}}]}]}},
  {name: up, type: STATIC, ` + cluster + ` load_assignment: {cluster_name: up, endpoints: [` + host("a", "one") + `, ` + host("b", "two") + `]}},
  {name: none, type: STATIC, ` + cluster + ` load_assignment: {cluster_name: none, policy: {drop_overloads: [{category: spill, drop_percentage: {numerator: 100}}]}, endpoints: [` + host("a", "one") + `]}}]}}`
}

const grpcServices = "api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds, retry_policy: {retry_back_off: {base_interval: 0.01s}}}}]"

// Load is reported to a server that was built of Envoy's messages: each request once,
// by cluster, locality and host, what was dropped and why, over streams that end.
func TestLoadIsReported(t *testing.T) {
	bad := "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
	one := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("one")))
	two := proxytest.NewUpstream(t, proxytest.Answer(bad))
	for name, tt := range map[string]struct {
		lrs, cluster string
		wanted       *loadv3.LoadStatsResponse
		all          bool
	}{
		"the bootstrap's, all clusters":   {"cluster_manager: {load_stats_config: {" + grpcServices + "}},", "", &loadv3.LoadStatsResponse{SendAllClusters: true, ReportEndpointGranularity: true}, true},
		"the bootstrap's, named clusters": {"cluster_manager: {load_stats_config: {" + grpcServices + "}},", "", &loadv3.LoadStatsResponse{Clusters: []string{"up", "none", "nobody"}}, false},
		"a cluster's":                     {"dynamic_resources: {ads_config: {" + grpcServices + "}},", "lrs_server: {self: {}},", &loadv3.LoadStatsResponse{SendAllClusters: true, ReportEndpointGranularity: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l, addr := newLoads(t, tt.wanted)
			p := proxytest.Start(t, reporting(tt.lrs, tt.cluster), proxytest.Options{Extensions: all.Extensions(), Concurrency: 2,
				Backends: map[string]string{"xds": addr, "one": one.Addr(), "two": two.Addr()}})
			p.WaitCounter("load_reporter.requests", 1)
			proxytest.Eventually(t, "the reports", func() (uint64, bool) {
				n := p.Counter("load_reporter.responses")
				return n, n > 0
			})
			if n := p.Counter("load_reporter.errors"); n == 0 {
				t.Error("the stream that was refused is not counted")
			}
			const each, dropped = 100, 7
			answers := map[int]uint64{}
			for range each {
				answers[p.Do(plain).StatusCode]++
			}
			for range dropped {
				if r := p.Do("GET /none HTTP/1.1\r\nhost: a\r\n\r\n"); r.StatusCode != 503 {
					t.Errorf("got %v", r)
				}
			}
			l.sum(t, "what was issued", l.issued, "up", each)
			l.sum(t, "what succeeded", l.success, "up", answers[200])
			l.sum(t, "what failed", l.failed, "up", answers[503])
			l.sum(t, "what was dropped", l.dropped, "none", dropped)
			l.sum(t, "what was dropped", l.dropped, "none/spill", dropped)
			if tt.wanted.GetReportEndpointGranularity() {
				l.sum(t, "what was issued", l.hosts, one.Addr(), answers[200])
				l.sum(t, "what was issued", l.hosts, two.Addr(), answers[503])
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if !l.places["up//r/a/0"] || !l.places["up//r/b/0"] || l.bad != "" {
				t.Errorf("places are %v; %s", l.places, l.bad)
			}
			if n := l.first.GetNode(); n.GetId() != "edge-1" || !strings.Contains(fmt.Sprint(n.GetClientFeatures()), "envoy.lrs.supports_send_all_clusters") || len(l.first.GetClusterStats()) > 0 {
				t.Errorf("the first word is %v", l.first)
			}
			if _, told := l.dropped["xds"]; told != tt.all {
				t.Errorf("the load of the cluster xds is told: %v", told)
			}
		})
	}
}

// What hosts tell of their own load is told on, as far as the cluster says: by locality
// and by host, of heads and of trailers, each response once.
func TestMetricsOfHostsAreReported(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n%s\r\n2\r\nok\r\n0\r\n%s\r\n"
	const load = "endpoint-load-metrics: TEXT cpu_utilization=0.5,named_metrics.queue=3,named_metrics.%s=1,utilization.disk=0.25\r\n"
	one := proxytest.NewUpstream(t, proxytest.Answer(fmt.Sprintf(chunked, fmt.Sprintf(load, "one"), fmt.Sprintf(load, "again"))))
	two := proxytest.NewUpstream(t, proxytest.Answer(fmt.Sprintf(chunked, "trailer: endpoint-load-metrics\r\n", fmt.Sprintf(load, "two"))))
	const trailers = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {enable_trailers: true}}}}, `
	l, addr := newLoads(t, &loadv3.LoadStatsResponse{Clusters: []string{"up"}, ReportEndpointGranularity: true})
	p := proxytest.Start(t, reporting("cluster_manager: {load_stats_config: {"+grpcServices+"}},", trailers+`lrs_report_endpoint_metrics: [cpu_utilization, mem_utilization, "named_metrics.*", utilization.disk, utilization.none],`),
		proxytest.Options{Extensions: all.Extensions(), Concurrency: 2, Backends: map[string]string{"xds": addr, "one": one.Addr(), "two": two.Addr()}})
	p.WaitCounter("load_reporter.requests", 1)
	const each = 50
	for range each {
		if r := p.Do(plain); r.StatusCode != 200 {
			t.Fatalf("got %v", r)
		}
	}
	l.sum(t, "what was issued", l.issued, "up", each)
	l.mu.Lock()
	defer l.mu.Unlock()
	for place, host := range map[string]*proxytest.Upstream{"a": one, "b": two} {
		n := l.hosts[host.Addr()]
		other := map[string]string{"a": "one", "b": "two"}[place]
		for name, value := range map[string]float64{"cpu_utilization": 0.5, "mem_utilization": 0, "named_metrics.queue": 3, "named_metrics." + other: 1, "utilization.disk": 0.25} {
			for _, of := range []string{place, host.Addr()} {
				m := l.metrics[of+"/"+name]
				if m.GetNumRequestsFinishedWithMetric() != n || m.GetTotalMetricValue() != value*float64(n) {
					t.Errorf("of %s %s is told %v, want %d of %v", of, name, m, n, value)
				}
			}
		}
	}
	if len(l.metrics) != 2*2*5 {
		t.Errorf("there are metrics of %v", slices.Sorted(maps.Keys(l.metrics)))
	}
}

func TestBadLoadReports(t *testing.T) {
	for _, tt := range []struct{ lrs, cluster, want string }{
		{"", "lrs_server: {self: {}},", "lrs_server.self: there is no dynamic_resources.ads_config"},
		{"", "lrs_server: {path: /x},", "lrs_server: only self: {} is supported"},
		{"cluster_manager: {load_stats_config: {api_type: REST, transport_api_version: V3, cluster_names: [xds]}},", "", "load_stats_config.api_type: load is reported over gRPC alone"},
		{"cluster_manager: {load_stats_config: {api_type: GRPC, transport_api_version: V3}},", "", "load_stats_config: api_config_source.grpc_services: is empty"},
	} {
		_, err := proxytest.TryStart(t, reporting(tt.lrs, tt.cluster), proxytest.Options{Extensions: all.Extensions(), Concurrency: 1,
			Backends: map[string]string{"xds": "127.0.0.1:1", "one": "127.0.0.1:1", "two": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error is %v, want %q", err, tt.want)
		}
	}
}
