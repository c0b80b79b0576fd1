// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/proxy/orca"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/health"
	"weir.dev/weir/xds/fetch"
)

// loadStats are Envoy's load_reporter.*.
type loadStats struct {
	Requests  stats.Counter `stat:"requests"`
	Responses stats.Counter `stat:"responses"`
	Errors    stats.Counter `stat:"errors"`
}

// reportLoad has the server of the aggregated stream told of the load of a cluster that
// asks for it (lrs_server), and of all others that do.
func (p *Proxy) reportLoad(cfg *upstream.Config) {
	ads := p.opts.Bootstrap.GetDynamicResources().GetAdsConfig()
	if !cfg.ReportsLoad || ads == nil {
		return
	}
	p.fetching.toADS.Do(func() {
		p.fetching.client.ReportLoad(ads, p.newMeter(func(c *upstream.Cluster) bool { return c.ReportsLoad }))
	})
}

// meter measures the load of clusters for one server. It belongs to one goroutine.
type meter struct {
	p       *Proxy
	told    func(*upstream.Cluster) bool
	counts  *stats.Sharded[loadStats]
	tracked map[string]*measured
}

var _ fetch.Meter = (*meter)(nil)

// measured is a cluster and what had come to it by the last report.
type measured struct {
	since              time.Time
	cluster            *upstream.Cluster
	overload, overflow uint64
	hosts              map[*upstream.HostState]hostLoad
}

// hostLoad is what has come to a host, and what it has told of its load.
type hostLoad struct {
	upstream.HostCounts
	metrics map[string]orca.Sum
}

func (p *Proxy) newMeter(told func(*upstream.Cluster) bool) *meter {
	return &meter{p: p, told: told, counts: stats.Register[loadStats](p.store.Scope("load_reporter."), 1), tracked: map[string]*measured{}}
}

// Counted implements fetch.Meter.
func (m *meter) Counted(e fetch.LoadEvent) {
	c := m.counts.At(0)
	switch e {
	case fetch.LoadAsked:
		c.Requests.Inc()
	case fetch.LoadReported:
		c.Responses.Inc()
	case fetch.LoadFailed:
		c.Errors.Inc()
	}
}

// Track implements fetch.Meter.
func (m *meter) Track(names []string, all bool) {
	clusters := m.p.clusters.All()
	if all {
		names = slices.Collect(maps.Keys(clusters))
	}
	next := map[string]*measured{}
	for _, name := range names {
		c := clusters[name]
		switch {
		case c == nil || !m.told(c):
		case m.tracked[name] != nil:
			next[name] = m.tracked[name]
		default:
			t := &measured{since: time.Now(), cluster: c}
			t.note()
			next[name] = t
		}
	}
	m.tracked = next
}

// note notes what has come to a cluster and its hosts by now.
func (t *measured) note() {
	t.overload, t.overflow = t.cluster.Dropped()
	hosts := make(map[*upstream.HostState]hostLoad)
	for _, h := range t.cluster.Set().Hosts {
		hosts[h.HostState] = hostLoad{h.Counts(), h.LoadMetrics()}
	}
	t.hosts = hosts
}

// Measure implements fetch.Meter.
func (m *meter) Measure(endpoints bool) []*endpointv3.ClusterStats {
	var out []*endpointv3.ClusterStats
	for _, name := range slices.Sorted(maps.Keys(m.tracked)) {
		t := m.tracked[name]
		c := m.p.clusters.Get(name)
		if c == nil {
			continue // It is gone.
		}
		if c != t.cluster { // It was replaced: all that came to this one is new.
			t.cluster, t.overload, t.overflow, t.hosts = c, 0, 0, nil
		}
		out = append(out, t.report(name, endpoints))
	}
	return out
}

// placement is where hosts stand that are told of together.
type placement struct {
	priority int
	locality streaminfo.Locality
}

// report tells what has come to a cluster since the last report.
func (t *measured) report(name string, endpoints bool) *endpointv3.ClusterStats {
	now := time.Now()
	c := t.cluster
	r := &endpointv3.ClusterStats{ClusterName: name, ClusterServiceName: c.ServiceName, LoadReportInterval: durationpb.New(now.Sub(t.since))}
	before := *t
	t.since = now
	t.note()
	places := map[placement]*endpointv3.UpstreamLocalityStats{}
	for _, h := range c.Set().Hosts {
		n, ok := t.hosts[h.HostState]
		if !ok {
			continue // It came just now.
		}
		was := before.hosts[h.HostState]
		e := &endpointv3.UpstreamEndpointStats{
			Address: health.AddressOf(h.Address), TotalSuccessfulRequests: n.RqSuccess - was.RqSuccess, TotalErrorRequests: n.RqError - was.RqError,
			TotalIssuedRequests: n.RqTotal - was.RqTotal, TotalRequestsInProgress: uint64(max(0, n.RqActive)),
			LoadMetricStats: metricsSince(was.metrics, n.metrics),
		}
		if e.TotalSuccessfulRequests+e.TotalErrorRequests+e.TotalIssuedRequests+e.TotalRequestsInProgress == 0 && len(e.LoadMetricStats) == 0 {
			continue
		}
		at := placement{h.Priority, h.Locality}
		l := places[at]
		if l == nil {
			l = &endpointv3.UpstreamLocalityStats{
				Priority: uint32(h.Priority), Locality: &corev3.Locality{Region: h.Locality.Region, Zone: h.Locality.Zone, SubZone: h.Locality.SubZone},
			}
			places[at] = l
			r.UpstreamLocalityStats = append(r.UpstreamLocalityStats, l)
		}
		l.TotalSuccessfulRequests += e.TotalSuccessfulRequests
		l.TotalErrorRequests += e.TotalErrorRequests
		l.TotalIssuedRequests += e.TotalIssuedRequests
		l.TotalRequestsInProgress += e.TotalRequestsInProgress
		l.LoadMetricStats = addMetrics(l.LoadMetricStats, e.LoadMetricStats)
		if endpoints {
			l.UpstreamEndpointStats = append(l.UpstreamEndpointStats, e)
		}
	}
	overload, overflow := t.overload-before.overload, t.overflow-before.overflow
	r.TotalDroppedRequests = overload + overflow
	if drops := c.Set().Drops; overload > 0 && len(drops) > 0 {
		r.DroppedRequests = []*endpointv3.ClusterStats_DroppedRequests{{Category: drops[0].Category, DroppedCount: overload}}
	}
	return r
}

// metricsSince are what hosts have told beyond what was told before, by name.
func metricsSince(before, now map[string]orca.Sum) (out []*endpointv3.EndpointLoadMetricStats) {
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if n, was := now[name], before[name]; n.Reports > was.Reports {
			out = append(out, &endpointv3.EndpointLoadMetricStats{
				MetricName: name, NumRequestsFinishedWithMetric: n.Reports - was.Reports, TotalMetricValue: n.Total - was.Total,
			})
		}
	}
	return out
}

// addMetrics adds the metrics of one host to those of a locality.
func addMetrics(sums, host []*endpointv3.EndpointLoadMetricStats) []*endpointv3.EndpointLoadMetricStats {
	for _, m := range host {
		i, is := slices.BinarySearchFunc(sums, m.GetMetricName(), func(s *endpointv3.EndpointLoadMetricStats, name string) int {
			return strings.Compare(s.GetMetricName(), name)
		})
		if !is {
			sums = slices.Insert(sums, i, &endpointv3.EndpointLoadMetricStats{MetricName: m.GetMetricName()})
		}
		sums[i].NumRequestsFinishedWithMetric += m.GetNumRequestsFinishedWithMetric()
		sums[i].TotalMetricValue += m.GetTotalMetricValue()
	}
	return sums
}
