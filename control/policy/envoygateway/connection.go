// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	healthcheckv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	connectionlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
)

// socket says how connections are taken.
func (x *Client) socket(spec *api.ClientTrafficPolicySpec, l *listenerv3.Listener) {
	if k := spec.TCPKeepalive; k != nil {
		l.TcpKeepalive = keepalive(&x.sheet, "tcpKeepalive", k)
	}
	if p := spec.ProxyProtocol; p != nil {
		x.Listener[build.ProxyProtocol] = &proxyprotocolv3.ProxyProtocol{AllowRequestsWithoutProxyProtocol: is(p.Optional)}
	} else if is(spec.EnableProxyProtocol) {
		x.Listener[build.ProxyProtocol] = &proxyprotocolv3.ProxyProtocol{}
	}
}

// keepalive has the kernel ask silent peers whether they are there.
func keepalive(s *sheet, at string, k *api.TCPKeepalive) *corev3.TcpKeepalive {
	out := &corev3.TcpKeepalive{}
	if k.Probes != nil {
		// Linux takes so many: tcp(7).
		if *k.Probes < 1 || *k.Probes > 127 {
			s.bad(at+".probes", "%d is not a number from 1 to 127", *k.Probes)
			return nil
		}
		out.KeepaliveProbes = wrapperspb.UInt32(*k.Probes)
	}
	if d := s.duration(at+".idleTime", k.IdleTime); d != nil {
		out.KeepaliveTime = wrapperspb.UInt32(uint32(d.GetSeconds()))
	}
	if d := s.duration(at+".interval", k.Interval); d != nil {
		out.KeepaliveInterval = wrapperspb.UInt32(uint32(d.GetSeconds()))
	}
	return out
}

// connection says how many there may be.
func (x *Client) connection(spec *api.ClientTrafficPolicySpec, tcp *tcpproxyv3.TcpProxy) {
	k := spec.Connection
	if k == nil {
		return
	}
	x.size("connection.bufferLimit", k.BufferLimit)
	x.unsupported("connection.bufferLimit", k.BufferLimit, "of a connection no more is read ahead than 32 KiB")
	x.unsupported("connection.socketBufferLimit", k.SocketBufferLimit, "buffers of sockets are the kernel's to choose")
	x.unsupported("connection.maxAcceptPerSocketEvent", k.MaxAcceptPerSocketEvent, "up to 64 connections are taken at a time")
	n := k.ConnectionLimit
	if n == nil {
		return
	}
	delay := x.duration("connection.connectionLimit.closeDelay", n.CloseDelay)
	switch {
	case n.Value != nil && *n.Value < 1:
		x.bad("connection.connectionLimit.value", "is %d: let in one connection at least", *n.Value)
	case n.Value != nil:
		x.Network[build.ConnectionLimit] = &connectionlimitv3.ConnectionLimit{
			StatPrefix: "listener", MaxConnections: wrapperspb.UInt64(uint64(*n.Value)), Delay: delay,
		}
	case n.CloseDelay != nil:
		x.bad("connection.connectionLimit.closeDelay", "is for connections beyond value, which is not given")
	}
	tcp.MaxDownstreamConnectionDuration = x.duration("connection.connectionLimit.maxConnectionDuration", n.MaxConnectionDuration)
}

// timeouts of connections; those of requests are the manager's.
func (x *Client) timeouts(t *api.ClientTimeout, l *listenerv3.Listener, ch *listenerv3.FilterChain, tcp *tcpproxyv3.TcpProxy) {
	if t == nil || t.TCP == nil {
		return
	}
	tcp.IdleTimeout = x.duration("timeout.tcp.idleTimeout", t.TCP.IdleTimeout)
	ch.TransportSocketConnectTimeout = x.duration("timeout.tcp.tlsHandshakeTimeout", t.TCP.TLSHandshakeTimeout)
	l.ListenerFiltersTimeout = x.duration("timeout.tcp.connectionInspectionTimeout", t.TCP.ConnectionInspectionTimeout)
}

// web are filters of HTTP.
func (x *Client) web(spec *api.ClientTrafficPolicySpec) {
	if h := spec.HealthCheck; h != nil {
		if !strings.HasPrefix(h.Path, "/") {
			x.bad("healthCheck.path", "%q is not a path: it begins with /", h.Path)
		}
		x.Filters[build.HealthCheck] = &healthcheckv3.HealthCheck{
			PassThroughMode: wrapperspb.Bool(false), Headers: []*routev3.HeaderMatcher{build.Header(":path", h.Path, false)},
		}
	}
	if g := spec.GRPC; g != nil && is(g.EnableWeb) {
		x.Filters[build.GRPCWeb] = &grpcwebv3.GrpcWeb{}
	}
}
