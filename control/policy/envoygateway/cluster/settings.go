// SPDX-License-Identifier: Apache-2.0

// Package cluster says how clusters are spoken to: those that requests go to, as the
// ClusterSettings of a policy have it, and those of whom filters and logs call.
package cluster

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/sheet"
)

// settings makes the Cluster of ClusterSettings.
type settings struct {
	*sheet.Sheet
	at   string // the path of the settings, with a dot, or empty
	from *api.ClusterSettings
	base *clusterv3.Cluster // nil if only what is wrong is asked for
	to   *clusterv3.Cluster
	http *httpv3.HttpProtocolOptions
}

// Overlay returns what settings are on a Cluster, and puts what is wrong into a
// sheet. useClient has backends spoken to in the client's version of HTTP.
func Overlay(s *sheet.Sheet, at string, from *api.ClusterSettings, useClient bool, base *clusterv3.Cluster) graph.Overlay {
	x := &settings{Sheet: s, at: at, from: from, base: base, to: &clusterv3.Cluster{}, http: &httpv3.HttpProtocolOptions{}}
	x.balancer()
	x.breakers()
	x.health()
	x.timeouts()
	x.connection()
	x.dns()
	x.protocol(useClient)
	if proto.Size(x.to) == 0 {
		return graph.Overlay{}
	}
	return graph.Overlay{Message: x.to}
}

func (x *settings) connection() {
	if k := x.from.TCPKeepalive; k != nil {
		x.to.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: Keepalive(x.Sheet, x.at+"tcpKeepalive", k)}
	}
	if c := x.from.Connection; c != nil {
		x.to.PerConnectionBufferLimitBytes = x.Size(x.at+"connection.bufferLimit", c.BufferLimit)
		x.Unsupported(x.at+"connection.socketBufferLimit", c.SocketBufferLimit, "buffers of sockets are the kernel's to choose")
		if p := c.Preconnect; p != nil {
			x.to.PreconnectPolicy = &clusterv3.Cluster_PreconnectPolicy{
				PerUpstreamPreconnectRatio: ratio(p.PerEndpointPercent), PredictivePreconnectRatio: ratio(p.PredictivePercent),
			}
		}
	}
	if p := x.from.ProxyProtocol; p != nil {
		x.proxyProtocol(p.Version)
	}
}

func ratio(percent *uint32) *wrapperspb.DoubleValue {
	if percent == nil {
		return nil
	}
	return wrapperspb.Double(float64(*percent) / 100)
}

// proxyProtocol tells the backend who the client is before anything else is sent, TLS or
// not.
func (x *settings) proxyProtocol(version string) {
	config := &corev3.ProxyProtocolConfig{}
	switch version {
	case "V1":
	case "V2":
		config.Version = corev3.ProxyProtocolConfig_V2
	default:
		x.Bad(x.at+"proxyProtocol.version", "is %q: there are V1 and V2", version)
		return
	}
	inner := x.base.GetTransportSocket()
	if inner == nil {
		inner = &corev3.TransportSocket{
			Name:       "envoy.transport_sockets.raw_buffer",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: build.Any(&rawbufferv3.RawBuffer{})},
		}
	}
	x.to.TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.upstream_proxy_protocol",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: build.Any(&proxyprotocolv3.ProxyProtocolUpstreamTransport{
			Config: config, TransportSocket: inner,
		})},
	}
}

func (x *settings) dns() {
	d := x.from.DNS
	if d == nil {
		return
	}
	x.to.DnsRefreshRate = x.Positive(x.at+"dns.dnsRefreshRate", d.DNSRefreshRate, time.Millisecond)
	if d.RespectDNSTTL != nil {
		x.to.RespectDnsTtl = *d.RespectDNSTTL
		if !*d.RespectDNSTTL && x.base.GetRespectDnsTtl() {
			x.Note(x.at+"dns.respectDnsTtl", "names are looked up when their answers end, whatever is said here")
		}
	}
	families := map[string]clusterv3.Cluster_DnsLookupFamily{
		"IPv4": clusterv3.Cluster_V4_ONLY, "IPv6": clusterv3.Cluster_V6_ONLY, "IPv4Preferred": clusterv3.Cluster_V4_PREFERRED,
		"IPv6Preferred": clusterv3.Cluster_AUTO, "IPv4AndIPv6": clusterv3.Cluster_ALL,
	}
	if d.LookupFamily != nil {
		family, ok := families[*d.LookupFamily]
		if !ok {
			x.Bad(x.at+"dns.lookupFamily", "is %q: there are IPv4, IPv6, IPv4Preferred, IPv6Preferred and IPv4AndIPv6", *d.LookupFamily)
		}
		x.to.DnsLookupFamily = family
	}
}

func (x *settings) timeouts() {
	t := x.from.Timeout
	if t == nil {
		return
	}
	if t.TCP != nil {
		x.to.ConnectTimeout = x.Positive(x.at+"timeout.tcp.connectTimeout", t.TCP.ConnectTimeout, time.Millisecond)
	}
	if h := t.HTTP; h != nil {
		common := &corev3.HttpProtocolOptions{
			IdleTimeout:           x.Duration(x.at+"timeout.http.connectionIdleTimeout", h.ConnectionIdleTimeout),
			MaxConnectionDuration: x.Duration(x.at+"timeout.http.maxConnectionDuration", h.MaxConnectionDuration),
		}
		if proto.Size(common) > 0 {
			x.http.CommonHttpProtocolOptions = common
		}
	}
}

// The limits of a breaker that says some and leaves others open.
const breakerDefault = 1024

func (x *settings) breakers() {
	b := x.from.CircuitBreaker
	if b == nil {
		return
	}
	number := func(name string, v *int64, otherwise uint32) *wrapperspb.UInt32Value {
		n := ptr.Deref(v, int64(otherwise))
		if n < 0 || n > math.MaxUint32 {
			x.Bad(x.at+"circuitBreaker."+name, "%d is not a number from 0 to %d", n, uint32(math.MaxUint32))
			return nil
		}
		return wrapperspb.UInt32(uint32(n))
	}
	t := &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections:     number("maxConnections", b.MaxConnections, breakerDefault),
		MaxPendingRequests: number("maxPendingRequests", b.MaxPendingRequests, breakerDefault),
		MaxRequests:        number("maxParallelRequests", b.MaxParallelRequests, breakerDefault),
		MaxRetries:         number("maxParallelRetries", b.MaxParallelRetries, breakerDefault),
	}
	if r := b.RetryBudget; r != nil {
		t.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
			BudgetPercent: &typev3.Percent{Value: 100 * float64(r.Percent.Numerator) / float64(max(1, ptr.Deref(r.Percent.Denominator, 100)))},
		}
		if r.MinRetryConcurrency != nil {
			t.RetryBudget.MinRetryConcurrency = wrapperspb.UInt32(*r.MinRetryConcurrency)
		}
	}
	x.to.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{t}}
	if e := b.PerEndpoint; e != nil && e.MaxConnections != nil {
		x.to.CircuitBreakers.PerHostThresholds = []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: number("perEndpoint.maxConnections", e.MaxConnections, 0),
		}}
	}
	if b.MaxRequestsPerConnection != nil {
		if x.http.CommonHttpProtocolOptions == nil {
			x.http.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{}
		}
		x.http.CommonHttpProtocolOptions.MaxRequestsPerConnection = number("maxRequestsPerConnection", b.MaxRequestsPerConnection, 0)
	}
}

// protocol says how HTTP is spoken: as the backend says, with what the settings add.
func (x *settings) protocol(useClient bool) {
	two := x.http2()
	was := &httpv3.HttpProtocolOptions{}
	if a := x.base.GetTypedExtensionProtocolOptions()[build.HTTPOptions]; a != nil {
		if err := a.UnmarshalTo(was); err != nil {
			panic("BUG: options that were made here cannot be read: " + err.Error())
		}
	}
	explicit := was.GetExplicitHttpConfig()
	x.http.UpstreamHttpProtocolOptions = was.GetUpstreamHttpProtocolOptions()
	switch {
	case useClient:
		client := &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: two}
		if two == nil {
			client.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{}
		}
		x.http.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{UseDownstreamProtocolConfig: client}
	case was.GetAutoConfig() != nil:
		x.http.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{Http2ProtocolOptions: two}}
	case two != nil && explicit.GetHttp2ProtocolOptions() != nil:
		x.http.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: two},
			},
		}
	case x.http.CommonHttpProtocolOptions != nil && explicit.GetHttp2ProtocolOptions() == nil:
		x.http.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
			},
		}
	case x.http.CommonHttpProtocolOptions == nil && (two == nil || x.base != nil):
		return
	}
	x.to.TypedExtensionProtocolOptions = map[string]*anypb.Any{build.HTTPOptions: build.Any(x.http)}
}

// http2 returns the options of HTTP/2, which count if the backend speaks it; nil for none.
func (x *settings) http2() *corev3.Http2ProtocolOptions {
	return HTTP2(x.Sheet, x.at+"http2", x.from.HTTP2)
}

func HTTP2(s *sheet.Sheet, at string, h *api.HTTP2) *corev3.Http2ProtocolOptions {
	if h == nil {
		return nil
	}
	out := &corev3.Http2ProtocolOptions{}
	out.InitialStreamWindowSize = s.Size(at+".initialStreamWindowSize", h.InitialStreamWindowSize)
	out.InitialConnectionWindowSize = s.Size(at+".initialConnectionWindowSize", h.InitialConnectionWindowSize)
	if h.MaxConcurrentStreams != nil {
		out.MaxConcurrentStreams = wrapperspb.UInt32(*h.MaxConcurrentStreams)
	}
	switch v := ptr.Deref(h.OnInvalidMessage, ""); v {
	case "":
	case "TerminateStream":
		out.OverrideStreamErrorOnInvalidHttpMessage = wrapperspb.Bool(true)
	case "TerminateConnection":
		out.OverrideStreamErrorOnInvalidHttpMessage = wrapperspb.Bool(false)
	default:
		s.Bad(at+".onInvalidMessage", "is %q: there are TerminateConnection and TerminateStream", v)
	}
	if k := h.ConnectionKeepalive; k != nil {
		out.ConnectionKeepalive = &corev3.KeepaliveSettings{
			Interval: s.Duration(at+".connectionKeepalive.interval", k.Interval), Timeout: s.Duration(at+".connectionKeepalive.timeout", k.Timeout),
			ConnectionIdleInterval: s.Duration(at+".connectionKeepalive.idleInterval", k.IdleInterval),
		}
		if k.IntervalJitter != nil {
			out.ConnectionKeepalive.IntervalJitter = &typev3.Percent{Value: float64(*k.IntervalJitter)}
		}
	}
	return out
}

// Keepalive reads probes of idle connections; nil for wrong ones.
func Keepalive(s *sheet.Sheet, at string, k *api.TCPKeepalive) *corev3.TcpKeepalive {
	out := &corev3.TcpKeepalive{}
	if k.Probes != nil {
		// Linux takes so many: tcp(7).
		if *k.Probes < 1 || *k.Probes > 127 {
			s.Bad(at+".probes", "%d is not a number from 1 to 127", *k.Probes)
			return nil
		}
		out.KeepaliveProbes = wrapperspb.UInt32(*k.Probes)
	}
	if d := s.Duration(at+".idleTime", k.IdleTime); d != nil {
		out.KeepaliveTime = wrapperspb.UInt32(uint32(d.GetSeconds()))
	}
	if d := s.Duration(at+".interval", k.Interval); d != nil {
		out.KeepaliveInterval = wrapperspb.UInt32(uint32(d.GetSeconds()))
	}
	return out
}
