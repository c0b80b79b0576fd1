// SPDX-License-Identifier: Apache-2.0

package proxyprotocol

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
)

// Name is Envoy's canonical name.
const Name = "envoy.transport_sockets.upstream_proxy_protocol"

// Extension returns the transport socket's place in a registry.
func Extension() extension.UpstreamTransport {
	return extension.UpstreamTransport{Name: Name, Config: &proxyprotocolv3.ProxyProtocolUpstreamTransport{}, New: (&maker{}).newTransport}
}

// maker keeps the statistics, which all clusters share, over their changes.
type maker struct {
	mu    sync.Mutex
	of    *stats.Store
	stats *stats.Sharded[Stats]
}

func (k *maker) shared(s *extension.Services) *stats.Sharded[Stats] {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of != s.Stats {
		k.of, k.stats = s.Stats, stats.Register[Stats](s.Stats.Scope("upstream.proxyprotocol."), len(s.Loops))
	}
	return k.stats
}

func (k *maker) newTransport(cfg proto.Message, s *extension.Services) (upstream.Transport, error) {
	m, ok := cfg.(*proxyprotocolv3.ProxyProtocolUpstreamTransport)
	if !ok {
		return nil, fmt.Errorf("configuration is a %s, not a ProxyProtocolUpstreamTransport", cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	t := &transport{}
	var warning xds.Problem
	var err error
	if t.inner, err = s.UpstreamTransport(m.GetTransportSocket()); err != nil {
		if !errors.As(err, &warning) || warning.Severity != xds.Warning {
			return nil, fmt.Errorf("transport_socket (%s): %w", m.GetTransportSocket().GetName(), err)
		}
		warning.Path = strings.TrimSuffix("transport_socket.typed_config."+warning.Path, ".")
	}
	l := &format.Loader{Options: format.Options{Hostname: s.Node.Hostname}}
	load := func(f *corev3.SubstitutionFormatString) (proxyproto.Formatter, error) { return l.Load(f) }
	if t.sender, err = proxyproto.NewSender(m.GetConfig(), load); err != nil {
		return nil, fmt.Errorf("config.%w", err)
	}
	t.sender.Unspecified = m.GetAllowUnspecifiedAddress()
	t.stats = k.shared(s)
	if warning.Reason != "" {
		return t, warning
	}
	return t, nil
}
