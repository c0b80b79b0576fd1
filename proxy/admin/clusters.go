// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// serveClusters is /clusters, as text or ?format=json.
func (a *Admin) serveClusters(w *answer, r *http.Request) {
	list := a.server.Clusters()
	if r.URL.Query().Get("format") == "json" {
		out := &adminv3.Clusters{}
		for i := range list {
			out.ClusterStatuses = append(out.ClusterStatuses, list[i].message())
		}
		w.message(out, false)
		return
	}
	for i := range list {
		list[i].text(w)
	}
}

// String is the form of /clusters: "healthy", or each flag after a slash.
func (f HealthFlags) String() string {
	names := []string{
		"failed_active_hc", "failed_outlier_check", "failed_eds_health", "degraded_active_hc", "degraded_eds_health",
		"pending_dynamic_removal", "pending_active_hc", "excluded_via_immediate_hc_fail", "active_hc_timeout",
		"eds_status_draining", "degraded_outlier_detection",
	}
	var b strings.Builder
	for i, n := range names {
		if f&(1<<i) != 0 {
			b.WriteString("/" + n)
		}
	}
	if b.Len() == 0 {
		return "healthy"
	}
	return b.String()
}

func (c *ClusterStatus) text(w *answer) {
	line := func(what string, value any) { w.text("%s::%s::%v\n", c.Name, what, value) }
	if c.Deferred {
		line("deferred", true)
		line("added_via_api", c.AddedViaAPI)
		return
	}
	line("observability_name", cmp.Or(c.ObservabilityName, c.Name))
	if o := c.Outlier; o != nil {
		short := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
		line("outlier::success_rate_average", short(o.SuccessRateAverage))
		line("outlier::success_rate_ejection_threshold", short(o.SuccessRateEjectionThreshold))
		line("outlier::local_origin_success_rate_average", short(o.LocalOriginSuccessRateAverage))
		line("outlier::local_origin_success_rate_ejection_threshold", short(o.LocalOriginSuccessRateEjectionThreshold))
	}
	for _, p := range []struct {
		name string
		t    Thresholds
	}{{"default", c.Default}, {"high", c.High}} {
		line(p.name+"_priority::max_connections", p.t.MaxConnections)
		line(p.name+"_priority::max_pending_requests", p.t.MaxPendingRequests)
		line(p.name+"_priority::max_requests", p.t.MaxRequests)
		line(p.name+"_priority::max_retries", p.t.MaxRetries)
	}
	line("added_via_api", c.AddedViaAPI)
	if c.EDSServiceName != "" {
		line("eds_service_name", c.EDSServiceName)
	}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		line := func(what string, value any) { line(h.Address+"::"+what, value) }
		for _, s := range slices.SortedFunc(slices.Values(h.Stats), func(x, y HostStat) int { return cmp.Compare(x.Name, y.Name) }) {
			line(s.Name, s.Value)
		}
		line("hostname", h.Hostname)
		line("health_flags", h.Health)
		line("weight", h.Weight)
		line("region", h.Region)
		line("zone", h.Zone)
		line("sub_zone", h.SubZone)
		line("canary", h.Canary)
		line("priority", h.Priority)
		line("success_rate", strconv.FormatFloat(h.SuccessRate, 'f', -1, 64))
		line("local_origin_success_rate", strconv.FormatFloat(h.LocalOriginSuccessRate, 'f', -1, 64))
	}
}

func (c *ClusterStatus) message() *adminv3.ClusterStatus {
	out := &adminv3.ClusterStatus{
		Name: c.Name, AddedViaApi: c.AddedViaAPI, EdsServiceName: c.EDSServiceName,
		ObservabilityName: cmp.Or(c.ObservabilityName, c.Name),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
			c.Default.message(corev3.RoutingPriority_DEFAULT), c.High.message(corev3.RoutingPriority_HIGH),
		}},
	}
	if o := c.Outlier; o != nil {
		if o.SuccessRateEjectionThreshold > 0 {
			out.SuccessRateEjectionThreshold = &typev3.Percent{Value: o.SuccessRateEjectionThreshold}
		}
		if o.LocalOriginSuccessRateEjectionThreshold > 0 {
			out.LocalOriginSuccessRateEjectionThreshold = &typev3.Percent{Value: o.LocalOriginSuccessRateEjectionThreshold}
		}
	}
	for i := range c.Hosts {
		out.HostStatuses = append(out.HostStatuses, c.Hosts[i].message())
	}
	return out
}

func (t Thresholds) message(p corev3.RoutingPriority) *clusterv3.CircuitBreakers_Thresholds {
	return &clusterv3.CircuitBreakers_Thresholds{
		Priority: p, MaxConnections: wrapperspb.UInt32(t.MaxConnections), MaxPendingRequests: wrapperspb.UInt32(t.MaxPendingRequests),
		MaxRequests: wrapperspb.UInt32(t.MaxRequests), MaxRetries: wrapperspb.UInt32(t.MaxRetries),
	}
}

func (h *HostStatus) message() *adminv3.HostStatus {
	has := func(f HealthFlags) bool { return h.Health&f != 0 }
	eds := corev3.HealthStatus_HEALTHY
	switch {
	case has(FailedEDSHealth):
		eds = corev3.HealthStatus_UNHEALTHY
	case has(DegradedEDSHealth):
		eds = corev3.HealthStatus_DEGRADED
	case has(EDSStatusDraining):
		eds = corev3.HealthStatus_DRAINING
	}
	out := &adminv3.HostStatus{
		Address: address(h.Address), Hostname: h.Hostname, Weight: h.Weight, Priority: h.Priority,
		Locality: &corev3.Locality{Region: h.Region, Zone: h.Zone, SubZone: h.SubZone},
		HealthStatus: &adminv3.HostHealthStatus{
			FailedActiveHealthCheck: has(FailedActiveHC), FailedOutlierCheck: has(FailedOutlierCheck),
			FailedActiveDegradedCheck: has(DegradedActiveHC), PendingDynamicRemoval: has(PendingDynamicRemoval),
			PendingActiveHc: has(PendingActiveHC), ExcludedViaImmediateHcFail: has(ExcludedViaImmediateHCFail),
			ActiveHcTimeout: has(ActiveHCTimeout), FailedDegradedOutlierDetection: has(DegradedOutlierDetection),
			EdsHealthStatus: eds,
		},
	}
	if h.SuccessRate >= 0 {
		out.SuccessRate = &typev3.Percent{Value: h.SuccessRate}
	}
	if h.LocalOriginSuccessRate >= 0 {
		out.LocalOriginSuccessRate = &typev3.Percent{Value: h.LocalOriginSuccessRate}
	}
	// Envoy lists all counters before all gauges.
	for _, gauge := range []bool{false, true} {
		for _, s := range h.Stats {
			if s.Gauge != gauge {
				continue
			}
			kind := adminv3.SimpleMetric_COUNTER
			if gauge {
				kind = adminv3.SimpleMetric_GAUGE
			}
			out.Stats = append(out.Stats, &adminv3.SimpleMetric{Name: s.Name, Value: s.Value, Type: kind})
		}
	}
	return out
}

// address makes a message of ip:port or a unix socket's path.
func address(s string) *corev3.Address {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: s}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       ap.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(ap.Port())},
	}}}
}
