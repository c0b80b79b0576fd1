// SPDX-License-Identifier: Apache-2.0

// Package tcpproxy is the TCP proxy (envoy.filters.network.tcp_proxy): for each
// downstream connection it makes one upstream and carries bytes both ways until
// both sides have ended.
//
// How the bytes are carried is the matter of proxy/pump: a connection that is quiet
// holds two sockets and a record of some hundred bytes.
//
// The package knows neither TLS nor the PROXY protocol: both are transports of a
// connection.
package tcpproxy

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.tcp_proxy"

// Keys of the filter state that change what the proxy does with one connection.
const (
	// ClusterKey names the cluster to use instead of the configured one; other
	// filters, such as sni_cluster, set it.
	ClusterKey = "envoy.tcp_proxy.cluster"
	// IdleTimeoutKey is the idle timeout in milliseconds.
	IdleTimeoutKey = "envoy.tcp_proxy.per_connection_idle_timeout_ms"
)

// Proxy is a compiled TcpProxy. It makes the handler of each connection of its
// filter chain.
type Proxy struct {
	cfg      config
	clusters *upstream.Manager
	logs     []*accesslog.Log
	stats    *stats.Sharded[Stats]
	workers  []worker
	log      *slog.Logger
}

// worker is what the connections of one loop share.
type worker struct {
	p     *Proxy
	loop  *engine.Loop
	stats *Stats
	rand  *rand.Rand
	pick  upstream.PickContext
	info  streaminfo.Stream // made anew for each record that is logged
	_     [64]byte          // Workers of different loops share no cache line.
}

// config holds the settings of the message.
type config struct {
	cluster  string
	metadata map[string]any
	weighted []weighted
	total    uint64 // of the weights

	idle           time.Duration // 0 is none
	maxDuration    time.Duration // 0 is none
	durationJitter float64       // percent
	attempts       uint32
	backoffBase    time.Duration // 0 is none
	backoffMax     time.Duration
	hash           hashPolicy
	connectMode    connectMode
	earlyData      int
	closeOnDrain   bool
	tunnel         *tunnelConfig    // nil: none
	tlvs           *proxyproto.TLVs // nil: none
	merge          mergePolicy

	logInterval  time.Duration // 0 is none
	logConnected bool
	logStart     bool
}

// weighted is one of several clusters to choose from.
type weighted struct {
	cluster  string
	weight   uint32
	metadata map[string]any
}

// hashPolicy is what ties a client to a host.
type hashPolicy struct {
	sourceIP bool
	key      string // of the filter state
}

// connectMode is when the upstream is connected to.
type connectMode uint8

const (
	connectAtOnce connectMode = iota
	// connectOnData waits for the first bytes of the client.
	connectOnData
)

// Stats are the proxy's statistics (tcp.STAT_PREFIX.*).
type Stats struct {
	CxTotal         stats.Counter `stat:"downstream_cx_total"`
	CxNoRoute       stats.Counter `stat:"downstream_cx_no_route"`
	CxTxBytes       stats.Counter `stat:"downstream_cx_tx_bytes_total"`
	CxTxBuffered    stats.Gauge   `stat:"downstream_cx_tx_bytes_buffered"`
	CxRxBytes       stats.Counter `stat:"downstream_cx_rx_bytes_total"`
	CxRxBuffered    stats.Gauge   `stat:"downstream_cx_rx_bytes_buffered"`
	CxDrainClose    stats.Counter `stat:"downstream_cx_drain_close"`
	Paused          stats.Counter `stat:"downstream_flow_control_paused_reading_total"`
	Resumed         stats.Counter `stat:"downstream_flow_control_resumed_reading_total"`
	EarlyData       stats.Counter `stat:"early_data_received_count_total"`
	IdleTimeout     stats.Counter `stat:"idle_timeout"`
	MaxDuration     stats.Counter `stat:"max_downstream_connection_duration"`
	UpstreamFlushed stats.Counter `stat:"upstream_flush_total"`
	UpstreamFlush   stats.Gauge   `stat:"upstream_flush_active"`
}

// New returns the handler of a connection.
func (p *Proxy) New(c *conn.Conn) conn.Handler {
	w := &p.workers[c.Socket.Loop().ID()]
	w.stats.CxTotal.Inc()
	return newSession(w, c)
}

// Close ends the proxy's statistics.
func (p *Proxy) Close() { p.stats.Close() }
