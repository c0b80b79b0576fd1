// SPDX-License-Identifier: Apache-2.0

package listener

import (
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Context is what compiling a listener needs of its surroundings.
type Context struct {
	// Network compiles a network filter: a filter, or, as the last of a chain, a
	// handler factory. What it gives to own is called when the chain is no longer used.
	Network func(f *listenerv3.Filter, own func(func())) (conn.Filter, conn.Factory, error)
	// Listener compiles a listener filter.
	Listener func(f *listenerv3.ListenerFilter) (Filter, error)
	// Transport compiles a transport socket; nil is bytes as they are.
	Transport func(t *corev3.TransportSocket) (TransportFactory, error)
	AccessLog func(l *accesslogv3.AccessLog) (*accesslog.Log, error)
	Runtime   match.Runtime
	// Warn is told of fields that have no effect.
	Warn func(field, reason string)
}

// Compile compiles a listener. The error names the field below the listener.
func Compile(p *listenerv3.Listener, c *Context) (*Options, *Config, error) {
	if err := supported.Apply(p, "", c.Warn); err != nil {
		return nil, nil, err
	}
	if p.GetUdpListenerConfig() != nil {
		return nil, nil, errors.New("udp_listener_config: the listener's address is one of TCP: set address.socket_address.protocol to UDP, or remove the field")
	}
	o, err := options(p, corev3.SocketAddress_TCP)
	if err != nil {
		return nil, nil, err
	}
	cfg := &Config{
		base:              &base{},
		StatPrefix:        p.GetStatPrefix(),
		FiltersTimeout:    15 * time.Second,
		ContinueOnTimeout: p.GetContinueOnListenerFiltersTimeout(),
		TrafficDirection:  streaminfo.Direction(p.GetTrafficDirection()),
		Metadata:          metadata(p.GetMetadata()),
		MaxConnections:    maxConnections(c.Runtime, p.GetName()),
		Unlimited:         p.GetIgnoreGlobalConnLimit(),
		Unmanaged:         p.GetBypassOverloadManager(),
	}
	if d := p.GetListenerFiltersTimeout(); d != nil {
		cfg.FiltersTimeout = d.AsDuration()
	}
	cfg.UseOriginalDst = p.GetUseOriginalDst().GetValue()
	if err := filters(p, c, cfg); err != nil {
		return nil, nil, err
	}
	if err := accessLogs(p, c, cfg); err != nil {
		return nil, nil, err
	}
	return o, cfg, chains(p, c, cfg, nil)
}

// Rechain compiles a listener whose message differs from that of old in its filter chains
// alone. Chains that are the same are those of old, so that their connections go on and
// their filters keep what they have.
func Rechain(p *listenerv3.Listener, old *Config, c *Context) (*Config, error) {
	cfg := &Config{
		StatPrefix: old.StatPrefix, Filters: old.Filters, FiltersTimeout: old.FiltersTimeout, ContinueOnTimeout: old.ContinueOnTimeout,
		UseOriginalDst: old.UseOriginalDst, TrafficDirection: old.TrafficDirection, Metadata: old.Metadata,
		MaxConnections: old.MaxConnections, Unlimited: old.Unlimited, Unmanaged: old.Unmanaged, Closed: old.Closed, base: old.base,
	}
	return cfg, chains(p, c, cfg, knownOf(old))
}

// SameButChains reports whether two listeners differ in their filter chains alone, if at
// all, and neither the new chains nor the old ask for listener filters that the others
// do not.
func SameButChains(a, b *listenerv3.Listener) bool {
	if needsInspector(a) != needsInspector(b) {
		return false
	}
	before, err := useProxyProto(a)
	after, err2 := useProxyProto(b)
	return err == nil && err2 == nil && before == after && proto.Equal(withoutChains(a), withoutChains(b))
}

// withoutChains is a copy that shares what it has with m.
func withoutChains(m *listenerv3.Listener) *listenerv3.Listener {
	out := &listenerv3.Listener{}
	to := out.ProtoReflect()
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Name() != "filter_chains" && f.Name() != "default_filter_chain" {
			to.Set(f, v)
		}
		return true
	})
	return out
}

// maxConnections reads Envoy's runtime key for a listener's limit.
func maxConnections(r match.Runtime, name string) func() int64 {
	if r == nil || name == "" {
		return nil
	}
	key := "envoy.resource_limits.listener." + name + ".connection_limit"
	return func() int64 {
		n, _ := r.Int(key)
		return n
	}
}

func accessLogs(p *listenerv3.Listener, c *Context, cfg *Config) error {
	var logs []*accesslog.Log
	for i, l := range p.GetAccessLog() {
		log, err := c.AccessLog(l)
		if err != nil {
			return fmt.Errorf("access_log[%d]: %w", i, err)
		}
		logs = append(logs, log)
	}
	if len(logs) == 0 {
		return nil
	}
	cfg.Closed = func(shard int, k *conn.Conn) {
		info := &streaminfo.Stream{Conn: k.Info, Start: k.Info.Start, Duration: time.Since(k.Info.Start), Remote: k.Info.Remote}
		info.Metadata = k.Info.Metadata
		info.WireReceived, info.WireSent = k.Socket.Received, k.Socket.Sent
		info.BodyReceived, info.BodySent = k.Socket.Received, k.Socket.Sent
		for _, l := range logs {
			l.Log(shard, info, accesslog.TCPConnectionEnd)
		}
	}
	return nil
}

func options(p *listenerv3.Listener, protocol corev3.SocketAddress_Protocol) (*Options, error) {
	o := &Options{Name: p.GetName(), BindToPort: true}
	if d := p.GetDeprecatedV1(); d.GetBindToPort() != nil { //nolint:staticcheck // Still found in people's files.
		o.BindToPort = d.GetBindToPort().GetValue()
	}
	o.Socket = engine.ListenOptions{
		Backlog:     int(p.GetTcpBacklogSize().GetValue()),
		ReusePort:   p.GetEnableReusePort() == nil || p.GetEnableReusePort().GetValue(),
		Transparent: p.GetTransparent().GetValue(),
		FreeBind:    p.GetFreebind().GetValue(),
		FastOpen:    int(p.GetTcpFastOpenQueueLength().GetValue()),
		V6Only:      !p.GetAddress().GetSocketAddress().GetIpv4Compat(),
	}
	if b := p.GetBindToPort(); b != nil {
		o.BindToPort = b.GetValue()
	}
	if k := p.GetTcpKeepalive(); k != nil {
		o.Socket.Options = engine.KeepAlive{
			Probes: int(k.GetKeepaliveProbes().GetValue()),
			Time:   time.Duration(k.GetKeepaliveTime().GetValue()) * time.Second, Interval: time.Duration(k.GetKeepaliveInterval().GetValue()) * time.Second,
		}.Options()
	}
	for i, s := range p.GetSocketOptions() {
		opt, err := socketOption(s)
		if err != nil {
			return nil, fmt.Errorf("socket_options[%d]: %w", i, err)
		}
		o.Socket.Options = append(o.Socket.Options, opt)
	}
	a, err := parseAddress(p.GetAddress(), protocol)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	o.Addresses = append(o.Addresses, a)
	o.UnixMode = p.GetAddress().GetPipe().GetMode()
	for i, x := range p.GetAdditionalAddresses() {
		a, err := parseAddress(x.GetAddress(), protocol)
		if err != nil {
			return nil, fmt.Errorf("additional_addresses[%d].address: %w", i, err)
		}
		o.Addresses = append(o.Addresses, a)
	}
	return o, nil
}

func socketOption(s *corev3.SocketOption) (engine.SocketOption, error) {
	if s.GetState() != corev3.SocketOption_STATE_PREBIND {
		return engine.SocketOption{}, fmt.Errorf("state: %s is not supported for listeners: use STATE_PREBIND", s.GetState())
	}
	return engine.SocketOption{Level: int(s.GetLevel()), Name: int(s.GetName()), Int: int(s.GetIntValue()), Bytes: s.GetBufValue()}, nil
}

// ParseAddress reads the address that a socket of TCP is bound to.
func ParseAddress(a *corev3.Address) (address.Addr, error) {
	return parseAddress(a, corev3.SocketAddress_TCP)
}

func parseAddress(a *corev3.Address, protocol corev3.SocketAddress_Protocol) (address.Addr, error) {
	switch v := a.GetAddress().(type) {
	case *corev3.Address_Pipe:
		if protocol != corev3.SocketAddress_TCP {
			return address.Addr{}, fmt.Errorf("pipe: the listener's other addresses are of %s, so this must be too: use socket_address", protocol)
		}
		return address.Unix(v.Pipe.GetPath()), nil
	case *corev3.Address_SocketAddress:
		s := v.SocketAddress
		if s.GetProtocol() != protocol {
			return address.Addr{}, fmt.Errorf("protocol: %s does not fit: use %s, as the listener's first address", s.GetProtocol(), protocol)
		}
		if s.GetNamedPort() != "" || s.GetResolverName() != "" {
			return address.Addr{}, errors.New("named_port and resolver_name are not supported: use port_value and an IP address")
		}
		ip, err := netip.ParseAddr(s.GetAddress())
		if err != nil {
			return address.Addr{}, fmt.Errorf("%q is not an IP address: a listener binds to an address such as 0.0.0.0 or ::, not to a name", s.GetAddress())
		}
		return address.IP(netip.AddrPortFrom(ip, uint16(s.GetPortValue()))), nil
	}
	return address.Addr{}, errors.New("one of socket_address and pipe is required: envoy_internal_address is not supported yet")
}

func metadata(m *corev3.Metadata) streaminfo.Metadata {
	if len(m.GetFilterMetadata()) == 0 {
		return nil
	}
	out := streaminfo.Metadata{}
	for k, v := range m.GetFilterMetadata() {
		out[k] = v.AsMap()
	}
	return out
}
