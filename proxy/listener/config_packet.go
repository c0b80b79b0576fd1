// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

// IsPacket reports whether a listener receives datagrams: whether its address is
// one of UDP.
func IsPacket(p *listenerv3.Listener) bool {
	return p.GetAddress().GetSocketAddress().GetProtocol() == corev3.SocketAddress_UDP
}

// PacketContext is what compiling a UDP listener needs of its surroundings.
type PacketContext struct {
	// Filter compiles a UDP listener filter.
	Filter func(f *listenerv3.ListenerFilter) (PacketFactory, error)
	// Warn is told of fields that have no effect.
	Warn func(field, reason string)
}

// CompilePacket compiles a UDP listener. The error names the field below the
// listener.
func CompilePacket(p *listenerv3.Listener, c *PacketContext) (*PacketOptions, *PacketConfig, error) {
	if err := supported.Apply(p, "", c.Warn); err != nil {
		return nil, nil, err
	}
	if len(p.GetFilterChains()) > 0 || p.GetDefaultFilterChain() != nil {
		return nil, nil, errors.New("filter_chains: datagrams have no connections that a chain could take: use listener_filters, such as envoy.filters.udp_listener.udp_proxy")
	}
	if len(p.GetListenerFilters()) == 0 {
		return nil, nil, errors.New("listener_filters: there is none, so every datagram would be dropped: add one, such as envoy.filters.udp_listener.udp_proxy")
	}
	for _, f := range streamFields(p) {
		c.Warn(f, "it is about connections, and this listener receives datagrams")
	}
	o, err := options(p, corev3.SocketAddress_UDP)
	if err != nil {
		return nil, nil, err
	}
	out := &PacketOptions{Options: *o, Read: SocketConfig(p.GetUdpListenerConfig().GetDownstreamSocketConfig(), false)}
	cfg := &PacketConfig{
		StatPrefix:       p.GetStatPrefix(),
		TrafficDirection: streaminfo.Direction(p.GetTrafficDirection()),
		Metadata:         metadata(p.GetMetadata()),
	}
	for i, f := range p.GetListenerFilters() {
		pf, err := c.Filter(f)
		if err != nil {
			return nil, nil, fmt.Errorf("listener_filters[%d] (%s): %w", i, f.GetName(), err)
		}
		cfg.Filters = append(cfg.Filters, pf)
	}
	return out, cfg, nil
}

// streamFields are the fields set that only a listener of connections reads.
func streamFields(p *listenerv3.Listener) []string {
	var out []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"access_log", len(p.GetAccessLog()) > 0},
		{"listener_filters_timeout", p.GetListenerFiltersTimeout() != nil},
		{"continue_on_listener_filters_timeout", p.GetContinueOnListenerFiltersTimeout()},
		{"tcp_fast_open_queue_length", p.GetTcpFastOpenQueueLength() != nil},
		{"tcp_backlog_size", p.GetTcpBacklogSize() != nil},
		{"tcp_keepalive", p.GetTcpKeepalive() != nil},
		{"ignore_global_conn_limit", p.GetIgnoreGlobalConnLimit()},
	} {
		if f.set {
			out = append(out, f.name)
		}
	}
	return out
}

// SocketConfig compiles a UdpSocketConfig; gro is the default of prefer_gro.
func SocketConfig(c *corev3.UdpSocketConfig, gro bool) engine.PacketOptions {
	o := engine.PacketOptions{MaxSize: engine.DefaultDatagram, GRO: gro}
	if n := c.GetMaxRxDatagramSize(); n != nil {
		o.MaxSize = int(min(n.GetValue(), engine.MaxDatagram))
	}
	if g := c.GetPreferGro(); g != nil {
		o.GRO = g.GetValue()
	}
	return o
}
