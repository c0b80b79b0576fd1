// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	healthcheckv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	connectionlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/policy/envoygateway/cluster"
)

// socket says how connections are taken.
func (x *clientReader) socket(spec *api.ClientTrafficPolicySpec, l *listenerv3.Listener) {
	if k := spec.TCPKeepalive; k != nil {
		l.TcpKeepalive = cluster.Keepalive(&x.Sheet, "tcpKeepalive", k)
	}
	if p := spec.ProxyProtocol; p != nil {
		x.Listener[build.ProxyProtocol] = &proxyprotocolv3.ProxyProtocol{AllowRequestsWithoutProxyProtocol: ptr.Deref(p.Optional, false)}
	} else if ptr.Deref(spec.EnableProxyProtocol, false) {
		x.Listener[build.ProxyProtocol] = &proxyprotocolv3.ProxyProtocol{}
	}
}

// connection says how many there may be.
func (x *clientReader) connection(spec *api.ClientTrafficPolicySpec, tcp *tcpproxyv3.TcpProxy) {
	k := spec.Connection
	if k == nil {
		return
	}
	x.Size("connection.bufferLimit", k.BufferLimit)
	x.Unsupported("connection.bufferLimit", k.BufferLimit, "of a connection no more is read ahead than 32 KiB")
	x.Unsupported("connection.socketBufferLimit", k.SocketBufferLimit, "buffers of sockets are the kernel's to choose")
	x.Unsupported("connection.maxAcceptPerSocketEvent", k.MaxAcceptPerSocketEvent, "up to 64 connections are taken at a time")
	n := k.ConnectionLimit
	if n == nil {
		return
	}
	delay := x.Duration("connection.connectionLimit.closeDelay", n.CloseDelay)
	switch {
	case n.Value != nil && *n.Value < 1:
		x.Bad("connection.connectionLimit.value", "is %d: let in one connection at least", *n.Value)
	case n.Value != nil:
		x.Network[build.ConnectionLimit] = &connectionlimitv3.ConnectionLimit{
			StatPrefix: "listener", MaxConnections: wrapperspb.UInt64(uint64(*n.Value)), Delay: delay,
		}
	case n.CloseDelay != nil:
		x.Bad("connection.connectionLimit.closeDelay", "is for connections beyond value, which is not given")
	}
	tcp.MaxDownstreamConnectionDuration = x.Duration("connection.connectionLimit.maxConnectionDuration", n.MaxConnectionDuration)
}

// timeouts of connections; those of requests are the manager's.
func (x *clientReader) timeouts(t *api.ClientTimeout, l *listenerv3.Listener, ch *listenerv3.FilterChain, tcp *tcpproxyv3.TcpProxy) {
	if t == nil || t.TCP == nil {
		return
	}
	tcp.IdleTimeout = x.Duration("timeout.tcp.idleTimeout", t.TCP.IdleTimeout)
	ch.TransportSocketConnectTimeout = x.Duration("timeout.tcp.tlsHandshakeTimeout", t.TCP.TLSHandshakeTimeout)
	l.ListenerFiltersTimeout = x.Duration("timeout.tcp.connectionInspectionTimeout", t.TCP.ConnectionInspectionTimeout)
}

// web are filters of HTTP.
func (x *clientReader) web(spec *api.ClientTrafficPolicySpec) {
	if h := spec.HealthCheck; h != nil {
		if !strings.HasPrefix(h.Path, "/") {
			x.Bad("healthCheck.path", "%q is not a path: it begins with /", h.Path)
		}
		x.Filters[build.HealthCheck] = &healthcheckv3.HealthCheck{
			PassThroughMode: wrapperspb.Bool(false), Headers: []*routev3.HeaderMatcher{build.Header(":path", h.Path, false)},
		}
	}
	if g := spec.GRPC; g != nil && ptr.Deref(g.EnableWeb, false) {
		x.Filters[build.GRPCWeb] = &grpcwebv3.GrpcWeb{}
	}
}
