// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"encoding/json"
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/internal/memo"
)

// settings are how a service is spoken to. Times are in milliseconds.
type settings struct {
	Tag       string                      `json:",omitempty"`
	StatsName string                      `json:",omitempty"`
	Policy    string                      `json:",omitempty"`
	GRPC      bool                        `json:",omitempty"`
	Bytes     bool                        `json:",omitempty"`
	Named     bool                        `json:",omitempty"` // looked up by name
	Address   bool                        `json:",omitempty"` // an address, and no name
	Logical   bool                        `json:",omitempty"`
	FixedTTL  bool                        `json:",omitempty"`
	Family    string                      `json:",omitempty"`
	Connect   int64                       `json:",omitempty"`
	Idle      *int64                      `json:",omitempty"`
	MaxAge    *int64                      `json:",omitempty"`
	Breakers  []emissaryv3.CircuitBreaker `json:",omitempty"`
	KeepAlive *emissaryv3.KeepAlive       `json:",omitempty"`
	Checks    []emissaryv3.HealthCheck    `json:",omitempty"`
	TLS       *origination                `json:",omitempty"`
}

// A variant is settings in a form that can be compared. It is a graph.Variant.
type variant struct{ text string }

func variantOf(s *settings) (variant, error) {
	data, err := json.Marshal(s)
	return variant{string(data)}, err
}

// Name is a short digest: those that differ share no cluster.
func (v variant) Name() string {
	return "emissary-" + graph.Digest(4, v.text)
}

// Overlay is what the settings make of a Cluster.
func (v variant) Overlay(*memo.Ctx, *clusterv3.Cluster) graph.Overlay {
	s := &settings{}
	if err := json.Unmarshal([]byte(v.text), s); err != nil {
		panic("BUG: settings that were encoded here cannot be decoded: " + err.Error())
	}
	m := &clusterv3.Cluster{ConnectTimeout: ms(s.Connect), AltStatName: s.StatsName}
	o := graph.Overlay{Message: m, Also: []string{"lb_policy"}} // ROUND_ROBIN is no value.
	m.LbPolicy = policies()[s.Policy]
	if s.Named {
		s.dns(m, &o)
	}
	if len(s.Breakers) > 0 {
		m.CircuitBreakers = breakersOf(s.Breakers)
	}
	if k := s.KeepAlive; k != nil {
		m.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes: number(k.Probes), KeepaliveInterval: number(k.Interval), KeepaliveTime: number(first(k.IdleTime, k.Time)),
		}}
	}
	for _, h := range s.Checks {
		m.HealthChecks = append(m.HealthChecks, healthCheck(h))
	}
	if s.TLS != nil {
		m.TransportSocket = s.TLS.socket(s.GRPC)
	}
	if !s.Bytes {
		m.TypedExtensionProtocolOptions = map[string]*anypb.Any{build.HTTPOptions: build.Any(s.protocol())}
	}
	return o
}

// policies are load balancers by Emissary's words. The first is that of who does not
// say.
func policies() map[string]clusterv3.Cluster_LbPolicy {
	return map[string]clusterv3.Cluster_LbPolicy{
		"":              clusterv3.Cluster_ROUND_ROBIN,
		"round_robin":   clusterv3.Cluster_ROUND_ROBIN,
		"least_request": clusterv3.Cluster_LEAST_REQUEST,
		"ring_hash":     clusterv3.Cluster_RING_HASH,
		"maglev":        clusterv3.Cluster_MAGLEV,
	}
}

// dns says how the hosts of a cluster are looked up.
func (s *settings) dns(m *clusterv3.Cluster, o *graph.Overlay) {
	if s.Logical {
		m.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_LOGICAL_DNS}
	}
	if s.FixedTTL {
		o.Also = append(o.Also, "respect_dns_ttl")
	}
	m.DnsLookupFamily = map[string]clusterv3.Cluster_DnsLookupFamily{
		"4": clusterv3.Cluster_V4_ONLY, "6": clusterv3.Cluster_V6_ONLY, "46": clusterv3.Cluster_AUTO,
	}[s.Family]
}

// protocol says which version of HTTP is spoken: in Emissary that is the Mapping's
// matter alone.
func (s *settings) protocol() *httpv3.HttpProtocolOptions {
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
	}
	if s.GRPC {
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}}
	}
	out := &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
	}
	if s.Idle != nil || s.MaxAge != nil {
		out.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{IdleTimeout: msOf(s.Idle), MaxConnectionDuration: msOf(s.MaxAge)}
	}
	return out
}

// breakersOf makes the thresholds of each priority. What a breaker leaves open is
// Envoy's default; a priority without a breaker has those, too.
func breakersOf(list []emissaryv3.CircuitBreaker) *clusterv3.CircuitBreakers {
	out := &clusterv3.CircuitBreakers{}
	for _, b := range list {
		t := &clusterv3.CircuitBreakers_Thresholds{
			MaxConnections: number(b.MaxConnections), MaxPendingRequests: number(b.MaxPendingRequests),
			MaxRequests: number(b.MaxRequests), MaxRetries: number(b.MaxRetries),
		}
		if b.Priority == "high" {
			t.Priority = corev3.RoutingPriority_HIGH
		}
		out.Thresholds = append(out.Thresholds, t)
	}
	return out
}

// The defaults of health checks.
const (
	checkTimeout   = 3 * time.Second
	checkInterval  = 5 * time.Second
	checkUnhealthy = 2
	checkHealthy   = 1
)

func healthCheck(h emissaryv3.HealthCheck) *corev3.HealthCheck {
	out := &corev3.HealthCheck{
		Timeout: durationpb.New(checkTimeout), Interval: durationpb.New(checkInterval),
		UnhealthyThreshold: wrapperspb.UInt32(checkUnhealthy), HealthyThreshold: wrapperspb.UInt32(checkHealthy),
	}
	if h.Timeout != nil {
		out.Timeout = durationpb.New(h.Timeout.Duration)
	}
	if h.Interval != nil {
		out.Interval = durationpb.New(h.Interval.Duration)
	}
	if h.UnhealthyThreshold != nil {
		out.UnhealthyThreshold = number(h.UnhealthyThreshold)
	}
	if h.HealthyThreshold != nil {
		out.HealthyThreshold = number(h.HealthyThreshold)
	}
	if g := h.HealthCheck.GRPC; g != nil {
		out.HealthChecker = &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{
			ServiceName: g.UpstreamName, Authority: g.Authority,
		}}
		return out
	}
	w := h.HealthCheck.HTTP
	check := &corev3.HealthCheck_HttpHealthCheck{
		Path: w.Path, Host: w.Hostname, RequestHeadersToAdd: addedHeaders(w.AddRequestHeaders), RequestHeadersToRemove: w.RemoveRequestHeaders,
	}
	for _, r := range w.ExpectedStatuses {
		check.ExpectedStatuses = append(check.ExpectedStatuses, &typev3.Int64Range{Start: r.Min, End: r.Max + 1})
	}
	out.HealthChecker = &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: check}
	return out
}

func ms(n int64) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Millisecond) }

func msOf(n *int64) *durationpb.Duration {
	if n == nil {
		return nil
	}
	return ms(*n)
}

func number(n *uint32) *wrapperspb.UInt32Value {
	if n == nil {
		return nil
	}
	return wrapperspb.UInt32(*n)
}

// first returns the first that is not nil.
func first[T any](list ...*T) *T {
	for _, p := range list {
		if p != nil {
			return p
		}
	}
	return nil
}

func is(b *bool) bool { return b != nil && *b }

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
