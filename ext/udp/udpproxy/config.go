// SPDX-License-Identifier: Apache-2.0

// Package udpproxy forwards datagrams to the hosts of a cluster and their answers
// back: Envoy's envoy.filters.udp_listener.udp_proxy. A client's address and the
// one it sends to make a session, which has one host and one socket to it, and
// ends when nothing has come from either side for idle_timeout.
//
// It does not tunnel datagrams over HTTP and has no session filters.
package udpproxy

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	udpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.filters.udp_listener.udp_proxy"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension makes the filter known.
func Extension() extension.UDPFilter {
	return extension.UDPFilter{Name: Name, Config: &udpproxyv3.UdpProxyConfig{}, New: compile}
}

// config is the compiled configuration.
type config struct {
	statPrefix string
	// cluster is the one cluster, unless routes tells by datagram.
	cluster string
	routes  *match.Tree[string]
	idle    time.Duration
	// originalSource sends to hosts from the client's IP address.
	originalSource bool
	perPacket      bool
	hash           hashPolicy
	read           engine.PacketOptions
	logs           []*accesslog.Log
	proxyLogs      []*accesslog.Log
	flush          time.Duration // between records of one session; 0 is only at its end
}

// hashPolicy says what hash based balancers choose by.
type hashPolicy struct {
	on       bool
	sourceIP bool
	key      uint64 // of a fixed key
}

// defaultIdle is Envoy's default of idle_timeout.
const defaultIdle = time.Minute

func compile(m proto.Message, c *extension.Network) (listener.PacketFactory, error) {
	p, ok := m.(*udpproxyv3.UdpProxyConfig)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", m, Name)
	}
	if err := supported.Apply(p, "", c.Warn("UDP proxy", "listener", c.Listener)); err != nil {
		return nil, err
	}
	cfg := &config{
		statPrefix: p.GetStatPrefix(), idle: defaultIdle, originalSource: p.GetUseOriginalSrcIp(),
		perPacket: p.GetUsePerPacketLoadBalancing(), read: listener.SocketConfig(p.GetUpstreamSocketConfig(), true),
		flush: p.GetAccessLogOptions().GetAccessLogFlushInterval().AsDuration(),
	}
	if err := cfg.limits(p); err != nil {
		return nil, err
	}
	if err := cfg.route(p, c); err != nil {
		return nil, err
	}
	if err := cfg.hashing(p.GetHashPolicies()); err != nil {
		return nil, err
	}
	if cfg.originalSource {
		if err := engine.CheckTransparent(); err != nil {
			return nil, fmt.Errorf("use_original_src_ip: sending from clients' addresses needs the capability CAP_NET_ADMIN: %w", err)
		}
	}
	var err error
	if cfg.logs, err = logs(p.GetAccessLog(), c); err != nil {
		return nil, fmt.Errorf("access_log%w", err)
	}
	if cfg.proxyLogs, err = logs(p.GetProxyAccessLog(), c); err != nil {
		return nil, fmt.Errorf("proxy_access_log%w", err)
	}
	return newFactory(cfg, c), nil
}

// limits checks and reads what must be within bounds.
func (cfg *config) limits(p *udpproxyv3.UdpProxyConfig) error {
	if cfg.statPrefix == "" {
		return errors.New("stat_prefix: the field is required")
	}
	if d := p.GetIdleTimeout(); d != nil {
		if cfg.idle = d.AsDuration(); cfg.idle <= 0 {
			return errors.New("idle_timeout: must be more than 0, or every session would end at once; it is 60s if left out")
		}
	}
	if n := p.GetUpstreamSocketConfig().GetMaxRxDatagramSize(); n != nil && (n.GetValue() == 0 || n.GetValue() > engine.MaxDatagram) {
		return fmt.Errorf("upstream_socket_config.max_rx_datagram_size: %d is not within 1 and %d", n.GetValue(), engine.MaxDatagram)
	}
	if d := p.GetAccessLogOptions().GetAccessLogFlushInterval(); d != nil && cfg.flush < time.Millisecond {
		return errors.New("access_log_options.access_log_flush_interval: must be 1ms or more")
	}
	return nil
}

func (cfg *config) hashing(ps []*udpproxyv3.UdpProxyConfig_HashPolicy) error {
	if len(ps) == 0 {
		return nil
	}
	if len(ps) > 1 {
		return fmt.Errorf("hash_policies: %d are given, and one is all that there can be", len(ps))
	}
	cfg.hash.on = true
	switch x := ps[0].GetPolicySpecifier().(type) {
	case *udpproxyv3.UdpProxyConfig_HashPolicy_SourceIp:
		if !x.SourceIp {
			return errors.New("hash_policies[0].source_ip: can only be true")
		}
		cfg.hash.sourceIP = true
	case *udpproxyv3.UdpProxyConfig_HashPolicy_Key:
		if x.Key == "" {
			return errors.New("hash_policies[0].key: must not be empty")
		}
		cfg.hash.key = match.XXH64(x.Key, 0)
	default:
		return errors.New("hash_policies[0]: one of source_ip and key is required")
	}
	return nil
}

// route reads which cluster a datagram goes to.
func (cfg *config) route(p *udpproxyv3.UdpProxyConfig, c *extension.Network) error {
	switch x := p.GetRouteSpecifier().(type) {
	case *udpproxyv3.UdpProxyConfig_Cluster:
		if x.Cluster == "" {
			return errors.New("cluster: must not be empty")
		}
		cfg.cluster = x.Cluster
		known(x.Cluster, c)
		return nil
	case *udpproxyv3.UdpProxyConfig_Matcher:
		if err := checkInputs(x.Matcher.ProtoReflect(), 0); err != nil {
			return fmt.Errorf("matcher: %w", err)
		}
		var err error
		cfg.routes, err = match.CompileTree(x.Matcher, match.TreeContext[string]{
			Runtime: c.Runtime,
			Action:  func(a match.ActionConfig) (string, error) { return action(a, c) },
		})
		if err != nil {
			return fmt.Errorf("matcher: %w", err)
		}
		return nil
	}
	return errors.New("route_specifier: one of cluster and matcher is required")
}

func action(a match.ActionConfig, c *extension.Network) (string, error) {
	r := &udpproxyv3.Route{}
	if a.Any() == nil || a.Any().MessageName() != r.ProtoReflect().Descriptor().FullName() {
		return "", fmt.Errorf("action %q: of type %q; a UDP proxy knows only %s", a.Name(), a.Any().GetTypeUrl(), r.ProtoReflect().Descriptor().FullName())
	}
	if err := a.Any().UnmarshalTo(r); err != nil {
		return "", fmt.Errorf("action %q: %w", a.Name(), err)
	}
	if r.GetCluster() == "" {
		return "", fmt.Errorf("action %q: cluster: the field is required", a.Name())
	}
	known(r.GetCluster(), c)
	return r.GetCluster(), nil
}

// known warns of a cluster that is not there. As in Envoy that is no error: it may
// come later, and until then datagrams count as having no route.
func known(cluster string, c *extension.Network) {
	if !c.HasCluster(cluster) {
		c.Log("config").Warn("the UDP proxy names a cluster that there is not; its datagrams are dropped until there is", "listener", c.Listener, "cluster", cluster)
	}
}

// maxDepth bounds how deep a matcher may be nested.
const maxDepth = 100

// checkInputs refuses what a matcher asks that a datagram does not tell: it has two
// addresses with ports and nothing else.
func checkInputs(m protoreflect.Message, depth int) (err error) {
	if depth > maxDepth {
		return fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	check := func(fd protoreflect.FieldDescriptor, sub protoreflect.Message) bool {
		if in, ok := sub.Interface().(*xdscorev3.TypedExtensionConfig); ok && fd.Name() == "input" {
			err = checkInput(in)
		} else if a, ok := sub.Interface().(*anypb.Any); ok {
			if inner, e := a.UnmarshalNew(); e == nil { // Another has to say that it cannot be read.
				err = checkInputs(inner.ProtoReflect(), depth+1)
			}
		} else {
			err = checkInputs(sub, depth+1)
		}
		return err == nil
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { return check(fd, v.Message()) })
			}
		case fd.Message() == nil:
		case fd.IsList():
			for i := 0; i < v.List().Len() && check(fd, v.List().Get(i).Message()); i++ {
			}
		default:
			return check(fd, v.Message())
		}
		return err == nil
	})
	return err
}

func checkInput(in *xdscorev3.TypedExtensionConfig) error {
	const inputs = "envoy.extensions.matching.common_inputs."
	name := string(in.GetTypedConfig().MessageName())
	switch strings.TrimPrefix(name, inputs) {
	case "network.v3.SourceIPInput", "network.v3.SourcePortInput", "network.v3.DestinationIPInput", "network.v3.DestinationPortInput",
		"environment_variable.v3.Config":
		return nil
	}
	return fmt.Errorf("input %q: %s is nothing that a datagram tells: use SourceIPInput, SourcePortInput, DestinationIPInput or DestinationPortInput", in.GetName(), name)
}

func logs(ms []*accesslogv3.AccessLog, c *extension.Network) ([]*accesslog.Log, error) {
	var out []*accesslog.Log
	for i, m := range ms {
		l, err := c.AccessLogs.Load(m)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, l)
	}
	return out, nil
}
