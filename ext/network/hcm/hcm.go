// SPDX-License-Identifier: Apache-2.0

// Package hcm is the HTTP connection manager
// (envoy.filters.network.http_connection_manager): it turns the bytes of a
// connection into streams, makes each request fit to be trusted, finds its
// route, runs the HTTP filters and writes the response.
//
// It owns the life of a stream: time limits, header rules, local replies,
// access log and statistics. It does not know what the filters do, nor the
// router among them.
package hcm

import (
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/trace"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.http_connection_manager"

// Manager is a compiled HttpConnectionManager. It makes the handler of each
// connection of its filter chain.
type Manager struct {
	cfg     config
	chain   stream.Chain
	table   atomic.Pointer[route.Table]
	scopes  atomic.Pointer[scopes] // nil unless scoped_routes is configured: then there is no table
	scoped  *scoped
	logs    []*accesslog.Log
	stats   *stats.Sharded[Stats]
	h2      *stats.Sharded[h2.Stats]
	log     *slog.Logger
	workers []worker
	offers  *resource.Directory
	node    node
	drain   func() bool // true once the whole listener drains
	over    overloads
	tracing *trace.Config // nil: nothing is traced
}

type node struct{ id, cluster string }

// worker is what the streams of one loop share.
type worker struct {
	m     *Manager
	loop  *engine.Loop
	stats *Stats
	h2    *h2.Stats
	free  []*active
	rand  random
	clock clock
	_     [64]byte // Workers of different loops share no cache line.
}

// config holds the settings of the message that are plain data.
type config struct {
	kind              codecKind
	codec             h1.Options
	codecH2           h2.Options
	serverName        string
	serverHeader      serverHeader
	idleTimeout       time.Duration
	maxConnection     time.Duration
	maxStream         time.Duration
	maxRequests       uint64
	streamIdle        time.Duration
	requestTimeout    time.Duration
	headersTimeout    time.Duration
	delayedClose      time.Duration
	useRemoteAddress  bool
	xffHops           int
	skipXFFAppend     bool
	mapV4             bool
	appendPort        bool
	detect            []detector
	early             []route.Mutations
	internal          internalAddresses
	via               string
	userAgent         string
	generateID        bool
	preserveID        bool
	alwaysID          bool
	proxy100          bool
	packReason        bool // pack_trace_reason
	sampleByID        bool // use_request_id_for_trace_sampling
	normalizePath     bool
	mergeSlashes      bool
	escapedSlashes    escapedSlashes
	stripMatchingPort bool
	stripAnyPort      bool
	stripDot          bool
	scheme            string
	upgrades          []upgrade
	replies           *localReplies
	xfcc              xfcc
	logNewRequest     bool
	logTunnel         bool
	logInterval       time.Duration
}

// serverHeader is Envoy's ServerHeaderTransformation.
type serverHeader uint8

const (
	overwriteServer serverHeader = iota
	serverIfAbsent
	passServer
)

type escapedSlashes uint8

const (
	slashesKeep escapedSlashes = iota
	slashesReject
	slashesRedirect
	slashesForward
)

type upgrade struct {
	name    string // lower case
	enabled bool
	chain   *stream.Chain // nil: the manager's own
}

type internalAddresses struct {
	prefixes []netip.Prefix
	unix     bool
}

// New returns the handler of a connection.
func (m *Manager) New(c *conn.Conn) conn.Handler {
	w := &m.workers[c.Socket.Loop().ID()]
	k := &connection{worker: w, conn: c, born: w.loop.Now()}
	w.stats.CxTotal.Inc()
	w.stats.CxActive.Inc()
	k.timer.Init(w.loop, k.expire)
	k.settle()
	k.rest()
	return k
}

// Close ends the manager's statistics.
func (m *Manager) Close() {
	m.stats.Close()
	m.h2.Close()
}
