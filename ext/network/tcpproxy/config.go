// SPDX-License-Identifier: Apache-2.0

package tcpproxy

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: Name, Config: &tcpproxyv3.TcpProxy{}, Terminal: true,
		Handler: func(cfg proto.Message, c *extension.Network) (conn.Factory, error) {
			return New(cfg.(*tcpproxyv3.TcpProxy), c)
		},
	}
}

// New compiles a TCP proxy.
func New(m *tcpproxyv3.TcpProxy, c *extension.Network) (*Proxy, error) {
	p := &Proxy{clusters: c.Clusters, log: c.Log("filter")}
	if err := supported.Apply(m, "", c.Warn("TCP proxy", "stat_prefix", m.GetStatPrefix())); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	b := &builder{Proxy: p, in: c, proto: m}
	for _, step := range []func() error{b.target, b.times, b.hashing, b.connection, b.tunnelling, b.tlvs, b.accessLogs} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	p.stats = stats.Register[Stats](c.Stats.Scope("tcp."+stats.Sanitize(m.GetStatPrefix())), len(c.Loops))
	c.Own(p.Close)
	p.workers = make([]worker, len(c.Loops))
	for i := range p.workers {
		w := &p.workers[i]
		w.p, w.loop, w.stats = p, c.Loops[i], p.stats.At(i)
		w.rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	return p, nil
}

// builder compiles one TCP proxy.
type builder struct {
	*Proxy
	in    *extension.Network
	proto *tcpproxyv3.TcpProxy
}

// target settles the clusters. One that does not exist is refused where it is
// named, unless another filter is to name the cluster.
func (b *builder) target() error {
	b.cfg.metadata = lb(b.proto.GetMetadataMatch())
	switch t := b.proto.GetClusterSpecifier().(type) {
	case *tcpproxyv3.TcpProxy_Cluster:
		if t.Cluster == "" {
			return errors.New("cluster: is empty: name the cluster to connect to")
		}
		b.cfg.cluster = t.Cluster
	case *tcpproxyv3.TcpProxy_WeightedClusters:
		for i, c := range t.WeightedClusters.GetClusters() {
			if err := b.exists(c.GetName()); err != nil {
				return fmt.Errorf("weighted_clusters.clusters[%d].name: %w", i, err)
			}
			w := weighted{cluster: c.GetName(), weight: c.GetWeight(), metadata: b.cfg.metadata}
			if own := lb(c.GetMetadataMatch()); own != nil {
				w.metadata = map[string]any{}
				maps.Copy(w.metadata, b.cfg.metadata)
				maps.Copy(w.metadata, own)
			}
			b.cfg.weighted = append(b.cfg.weighted, w)
			b.cfg.total += uint64(w.weight)
		}
	default:
		return errors.New("one of cluster and weighted_clusters is required: name the cluster to connect to")
	}
	return nil
}

func (b *builder) exists(name string) error {
	if b.in.HasCluster != nil && !b.in.HasCluster(name) {
		return fmt.Errorf("there is no cluster %q: add it, or correct the name", name)
	}
	return nil
}

// lb returns what a metadata match says of endpoints.
func lb(m *corev3.Metadata) map[string]any {
	s, ok := m.GetFilterMetadata()["envoy.lb"]
	if !ok {
		return nil
	}
	return s.AsMap()
}

func (b *builder) times() error {
	m, cfg := b.proto, &b.cfg
	cfg.idle = orDuration(m.GetIdleTimeout(), time.Hour)
	cfg.maxDuration = m.GetMaxDownstreamConnectionDuration().AsDuration()
	cfg.durationJitter = m.GetMaxDownstreamConnectionDurationJitterPercentage().GetValue()
	cfg.attempts = 1
	if v := m.GetMaxConnectAttempts(); v != nil {
		cfg.attempts = v.GetValue()
	}
	if o := m.GetBackoffOptions(); o != nil {
		cfg.backoffBase = o.GetBaseInterval().AsDuration()
		cfg.backoffMax = orDuration(o.GetMaxInterval(), 10*cfg.backoffBase)
		if cfg.backoffMax < cfg.backoffBase {
			return errors.New("backoff_options.max_interval: is below base_interval: raise it")
		}
	}
	return nil
}

func orDuration(d *durationpb.Duration, or time.Duration) time.Duration {
	if d == nil {
		return or
	}
	return d.AsDuration()
}

func (b *builder) hashing() error {
	for _, h := range b.proto.GetHashPolicy() {
		switch p := h.GetPolicySpecifier().(type) {
		case *typev3.HashPolicy_SourceIp_:
			b.cfg.hash.sourceIP = true
		case *typev3.HashPolicy_FilterState_:
			b.cfg.hash.key = p.FilterState.GetKey()
		}
	}
	return nil
}

func (b *builder) connection() error {
	m, cfg := b.proto, &b.cfg
	cfg.earlyData = int(m.GetMaxEarlyDataBytes().GetValue())
	cfg.closeOnDrain = m.GetCheckDrainClose().GetValue()
	mode := m.GetUpstreamConnectMode()
	if mode != tcpproxyv3.UpstreamConnectMode_IMMEDIATE && m.GetMaxEarlyDataBytes() == nil {
		return fmt.Errorf("max_early_data_bytes: is required with upstream_connect_mode %s: give it", mode)
	}
	// The handler of a TLS connection begins after its handshake, so the third
	// mode is the first.
	if mode == tcpproxyv3.UpstreamConnectMode_ON_DOWNSTREAM_DATA {
		cfg.connectMode = connectOnData
	}
	return nil
}

//nolint:staticcheck // The deprecated fields are still found in people's files.
func (b *builder) accessLogs() error {
	m := b.proto
	for i, l := range m.GetAccessLog() {
		log, err := b.in.AccessLogs.Load(l)
		if err != nil {
			return fmt.Errorf("access_log[%d]: %w", i, err)
		}
		b.logs = append(b.logs, log)
	}
	o := m.GetAccessLogOptions()
	b.cfg.logInterval = m.GetAccessLogFlushInterval().AsDuration()
	b.cfg.logConnected = m.GetFlushAccessLogOnConnected()
	if o != nil {
		// If both are given the older ones count for nothing.
		if o.GetAccessLogFlushInterval() != nil {
			b.cfg.logInterval = o.GetAccessLogFlushInterval().AsDuration()
		}
		b.cfg.logConnected = o.GetFlushAccessLogOnConnected()
		b.cfg.logStart = o.GetFlushAccessLogOnStart()
	}
	if d := b.cfg.logInterval; d > 0 && d < time.Millisecond {
		return errors.New("access_log_options.access_log_flush_interval: is below 1ms: raise it")
	}
	return nil
}
