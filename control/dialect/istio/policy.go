// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"encoding/json"
	"math"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	commonmatcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/internal/memo"
)

// settings are how a destination is spoken to, beyond what its Service says.
type settings struct {
	Balancer *istiov1.LoadBalancer     `json:",omitempty"`
	Pool     *istiov1.ConnectionPool   `json:",omitempty"`
	Outliers *istiov1.OutlierDetection `json:",omitempty"`
	Budget   *istiov1.RetryBudget      `json:",omitempty"`
	TLS      *origination              `json:",omitempty"`
	Proxy    string                    `json:",omitempty"` // version of the PROXY protocol
	Two      bool                      `json:",omitempty"` // HTTP/2 is spoken anyway
	Bytes    bool                      `json:",omitempty"`
	Weighs   bool                      `json:",omitempty"` // the weights of localities count
	Entry    *entryRef                 `json:",omitempty"`
}

// settingsOf makes settings of a policy, whose Secrets are looked for in namespaces.
func settingsOf(c *memo.Ctx, p *istiov1.TrafficPolicy, id targetID, what of, port int32, namespaces ...string) (*settings, *graph.Problem) {
	s := &settings{Balancer: p.LoadBalancer, Pool: p.ConnectionPool, Outliers: p.OutlierDetection, Budget: p.RetryBudget, Bytes: id.bytes}
	if p.ProxyProtocol != nil {
		s.Proxy = p.ProxyProtocol.Version
		if s.Proxy == "" {
			s.Proxy = "V1"
		}
	}
	if t := p.TLS; t != nil && t.Mode != "DISABLE" && t.Mode != "" {
		tls, bad := originate(c, t, what, id, port, namespaces)
		if bad != nil {
			return nil, bad
		}
		s.TLS = tls
	}
	if s.Pool != nil || s.TLS != nil || s.Outliers != nil && len(s.Outliers.OutlierDetectionHTTPErrorCodes) > 0 {
		s.Two = what.two
	}
	return s, nil
}

// A variant is settings in a form that can be compared. It is a graph.Variant.
type variant struct{ text string }

// variantOf returns nil for settings that say nothing.
func variantOf(s *settings) graph.Variant {
	if *s == (settings{}) || *s == (settings{Bytes: true}) {
		return nil
	}
	data, err := json.Marshal(s)
	if err != nil {
		panic("BUG: settings cannot be encoded: " + err.Error())
	}
	return variant{string(data)}
}

// Name is a short digest: those that differ share no cluster.
func (v variant) Name() string {
	return "istio-" + graph.Digest(4, v.text)
}

// Overlay is what the settings make of a Cluster.
func (v variant) Overlay(c *memo.Ctx, _ *clusterv3.Cluster) graph.Overlay {
	s := &settings{}
	if err := json.Unmarshal([]byte(v.text), s); err != nil {
		panic("BUG: settings that were encoded here cannot be decoded: " + err.Error())
	}
	m := &clusterv3.Cluster{}
	o := graph.Overlay{Message: m}
	if s.Entry != nil {
		s.Entry.hosts(c, m, &o)
	}
	s.balance(m, &o)
	s.limits(m)
	if s.Outliers != nil {
		outliers(s.Outliers, m)
	}
	if s.Weighs {
		build.ByWeight(m)
	}
	if s.TLS != nil {
		m.TransportSocket = s.TLS.socket(s.Two, s.Bytes)
	}
	if s.Proxy != "" {
		m.TransportSocket = build.ProxySocket(s.Proxy == "V2", m.TransportSocket)
	}
	if h := s.protocol(); h != nil && !s.Bytes {
		m.TypedExtensionProtocolOptions = map[string]*anypb.Any{build.HTTPOptions: build.Any(h)}
	}
	return o
}

// balance chooses the balancer.
func (s *settings) balance(m *clusterv3.Cluster, o *graph.Overlay) {
	l := s.Balancer
	if l == nil {
		return
	}
	switch h := l.ConsistentHash; {
	case h != nil && h.Maglev != nil:
		m.LbPolicy = clusterv3.Cluster_MAGLEV
		if n := tableSize(h); n != nil {
			m.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(*n)}}
		}
	case h != nil:
		m.LbPolicy = clusterv3.Cluster_RING_HASH
		n := h.MinimumRingSize
		if own := ringSize(h); own != nil {
			n = own
		}
		if n != nil {
			m.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{MinimumRingSize: wrapperspb.UInt64(*n)}}
		}
	case l.Simple == "ROUND_ROBIN":
		o.Also = append(o.Also, "lb_policy") // ROUND_ROBIN is no value.
		if w := warmup(l); w != nil {
			m.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: w}}
		}
	case l.Simple == "RANDOM":
		m.LbPolicy = clusterv3.Cluster_RANDOM
	default:
		if w := warmup(l); w != nil {
			m.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: w}}
		}
	}
}

// warmup gives new hosts fewer requests at first.
func warmup(l *istiov1.LoadBalancer) *clusterv3.Cluster_SlowStartConfig {
	w := l.Warmup
	if w == nil && l.WarmupDurationSecs == "" {
		return nil
	}
	if w == nil {
		w = &istiov1.Warmup{Duration: l.WarmupDurationSecs}
	}
	out := &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: durationpb.New(duration(w.Duration))}
	if w.MinimumPercent != nil {
		out.MinWeightPercent = &typev3.Percent{Value: *w.MinimumPercent}
	}
	if w.Aggression != nil {
		out.Aggression = &corev3.RuntimeDouble{DefaultValue: *w.Aggression, RuntimeKey: "istio.warmup.aggression"}
	}
	return out
}

// limits sets breakers and what else concerns connections.
func (s *settings) limits(m *clusterv3.Cluster) {
	most := wrapperspb.UInt32(math.MaxUint32)
	t := &clusterv3.CircuitBreakers_Thresholds{MaxConnections: most, MaxPendingRequests: most, MaxRequests: most, MaxRetries: most}
	limit := func(to **wrapperspb.UInt32Value, n int32) {
		if n > 0 {
			*to = wrapperspb.UInt32(uint32(n))
		}
	}
	if s.Pool != nil && s.Pool.TCP != nil {
		tcp := s.Pool.TCP
		limit(&t.MaxConnections, tcp.MaxConnections)
		if d := duration(tcp.ConnectTimeout); d > 0 {
			m.ConnectTimeout = durationpb.New(d)
		}
		if k := tcp.TCPKeepalive; k != nil {
			m.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: keepalive(k)}
		}
	}
	if s.Pool != nil && s.Pool.HTTP != nil {
		limit(&t.MaxPendingRequests, s.Pool.HTTP.HTTP1MaxPendingRequests)
		limit(&t.MaxRequests, s.Pool.HTTP.HTTP2MaxRequests)
		limit(&t.MaxRetries, s.Pool.HTTP.MaxRetries)
	}
	if b := s.Budget; b != nil {
		t.MaxRetries = nil
		t.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{}
		if b.Percent != nil {
			t.RetryBudget.BudgetPercent = &typev3.Percent{Value: *b.Percent}
		}
		if b.MinRetryConcurrency != nil {
			t.RetryBudget.MinRetryConcurrency = wrapperspb.UInt32(*b.MinRetryConcurrency)
		}
	}
	if s.Pool != nil || s.Budget != nil {
		m.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{t}}
	}
}

func keepalive(k *istiov1.TCPKeepalive) *corev3.TcpKeepalive {
	out := &corev3.TcpKeepalive{}
	if k.Probes > 0 {
		out.KeepaliveProbes = wrapperspb.UInt32(k.Probes)
	}
	if d := duration(k.Time); d > 0 {
		out.KeepaliveTime = wrapperspb.UInt32(uint32(d.Seconds()))
	}
	if d := duration(k.Interval); d > 0 {
		out.KeepaliveInterval = wrapperspb.UInt32(uint32(d.Seconds()))
	}
	return out
}

// outliers leaves hosts out that fail.
func outliers(in *istiov1.OutlierDetection, m *clusterv3.Cluster) {
	const always, never = 100, 0
	out := &clusterv3.OutlierDetection{
		EnforcingSuccessRate:           wrapperspb.UInt32(never),
		SplitExternalLocalOriginErrors: in.SplitExternalLocalOriginErrors,
	}
	count := func(n *uint32, to, enforced **wrapperspb.UInt32Value) {
		switch {
		case n == nil:
		case *n == 0:
			*enforced = wrapperspb.UInt32(never)
		default:
			*to, *enforced = wrapperspb.UInt32(*n), wrapperspb.UInt32(always)
		}
	}
	count(in.Consecutive5xxErrors, &out.Consecutive_5Xx, &out.EnforcingConsecutive_5Xx)
	count(in.ConsecutiveGatewayErrors, &out.ConsecutiveGatewayFailure, &out.EnforcingConsecutiveGatewayFailure)
	if in.ConsecutiveErrors > 0 {
		// The older field meant errors of gateways, too, and nothing else.
		n := uint32(in.ConsecutiveErrors)
		zero := uint32(0)
		count(&n, &out.ConsecutiveGatewayFailure, &out.EnforcingConsecutiveGatewayFailure)
		count(&zero, &out.Consecutive_5Xx, &out.EnforcingConsecutive_5Xx)
	}
	if in.SplitExternalLocalOriginErrors {
		count(in.ConsecutiveLocalOriginFailures, &out.ConsecutiveLocalOriginFailure, &out.EnforcingConsecutiveLocalOriginFailure)
		out.EnforcingLocalOriginSuccessRate = wrapperspb.UInt32(never)
	}
	if d := duration(in.Interval); d > 0 {
		out.Interval = durationpb.New(d)
	}
	if d := duration(in.BaseEjectionTime); d > 0 {
		out.BaseEjectionTime = durationpb.New(d)
		out.MaxEjectionTime = durationpb.New(max(d, maxEjection))
	}
	if in.MaxEjectionPercent > 0 {
		out.MaxEjectionPercent = wrapperspb.UInt32(uint32(in.MaxEjectionPercent))
	}
	m.OutlierDetection = out
	// With outliers left out, the rest goes on being asked, however few they are.
	m.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: float64(in.MinHealthPercent)}}
}

// maxEjection is the longest that a host is left out, in Envoy.
const maxEjection = 300e9

// protocol says how HTTP is spoken; nil leaves that to the Service.
func (s *settings) protocol() *httpv3.HttpProtocolOptions {
	out := &httpv3.HttpProtocolOptions{}
	one, two := &corev3.Http1ProtocolOptions{}, &corev3.Http2ProtocolOptions{}
	client, speaksTwo := false, s.Two
	common := &corev3.HttpProtocolOptions{}
	if s.Pool != nil && s.Pool.TCP != nil {
		if d := duration(s.Pool.TCP.MaxConnectionDuration); d > 0 {
			common.MaxConnectionDuration = durationpb.New(d)
		}
	}
	if s.Pool != nil && s.Pool.HTTP != nil {
		h := s.Pool.HTTP
		client, speaksTwo = h.UseClientProtocol, s.Two || h.H2UpgradePolicy == "UPGRADE"
		if h.MaxRequestsPerConnection > 0 {
			common.MaxRequestsPerConnection = wrapperspb.UInt32(uint32(h.MaxRequestsPerConnection))
		}
		if d := duration(h.IdleTimeout); d > 0 {
			common.IdleTimeout = durationpb.New(d)
		}
		if h.MaxConcurrentStreams > 0 {
			two.MaxConcurrentStreams = wrapperspb.UInt32(uint32(h.MaxConcurrentStreams))
		}
		if k := h.HTTP2KeepAlive; k != nil {
			two.ConnectionKeepalive = &corev3.KeepaliveSettings{Interval: durationOf(k.Interval), Timeout: durationOf(k.Timeout)}
		}
	}
	if proto.Size(common) > 0 {
		out.CommonHttpProtocolOptions = common
	}
	if s.Outliers != nil && len(s.Outliers.OutlierDetectionHTTPErrorCodes) > 0 {
		out.OutlierDetection = &httpv3.HttpProtocolOptions_OutlierDetection{ErrorMatcher: failures(s.Outliers.OutlierDetectionHTTPErrorCodes)}
	}
	if s.TLS != nil && s.TLS.ServerName == "" {
		// Who is asked for is who the request is for.
		out.UpstreamHttpProtocolOptions = &corev3.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: !s.TLS.Trusting && len(s.TLS.Names) == 0}
	}
	if proto.Size(out) == 0 && proto.Size(two) == 0 && !client && speaksTwo == s.Two {
		return nil
	}
	switch {
	case client:
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{HttpProtocolOptions: one, Http2ProtocolOptions: two},
		}
	case speaksTwo:
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: two},
		}}
	default:
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: one},
		}}
	}
	return out
}

func durationOf(text string) *durationpb.Duration {
	if d := duration(text); d > 0 {
		return durationpb.New(d)
	}
	return nil
}

// failures matches the responses that tell of a failure: those with one of these statuses, and no others.
func failures(statuses []uint32) *commonmatcherv3.MatchPredicate {
	var rules []*commonmatcherv3.MatchPredicate
	for _, n := range statuses {
		rules = append(rules, &commonmatcherv3.MatchPredicate{Rule: &commonmatcherv3.MatchPredicate_HttpResponseHeadersMatch{
			HttpResponseHeadersMatch: &commonmatcherv3.HttpHeadersMatch{Headers: []*routev3.HeaderMatcher{{
				Name: ":status", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
					MatchPattern: &matcherv3.StringMatcher_Exact{Exact: strconv.FormatUint(uint64(n), 10)},
				}},
			}}},
		}})
	}
	if len(rules) == 1 {
		return rules[0]
	}
	return &commonmatcherv3.MatchPredicate{Rule: &commonmatcherv3.MatchPredicate_OrMatch{OrMatch: &commonmatcherv3.MatchPredicate_MatchSet{Rules: rules}}}
}
