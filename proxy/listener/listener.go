// SPDX-License-Identifier: Apache-2.0

// Package listener takes connections: it owns the listening sockets, runs the
// listener filters, chooses the filter chain, shakes hands and hands each
// connection to its chain's handler. It drains them when asked.
//
// One Listener has a socket on every event loop (SO_REUSEPORT), so the kernel
// spreads connections and none crosses loops. Its Config may be replaced while
// it runs: connections keep the chain they began with, and those whose chain the
// new Config has too go on as if nothing had happened.
package listener

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/streaminfo"
)

// A Filter is a listener filter: it looks at a connection before its filter
// chain is chosen, and may change its Info. It may peek at the socket.
type Filter interface {
	Accept(t *engine.Task, c *conn.Conn) error
}

// A TransportFactory wraps the socket of a connection, such as in TLS.
type TransportFactory interface {
	// Wrap replaces c.Transport, shaking hands on the task.
	Wrap(t *engine.Task, c *conn.Conn) error
	// Protocol is "raw_buffer", "tls" or the like.
	Protocol() string
}

// A Chain is what a connection goes through once it is accepted.
type Chain struct {
	Name  string
	Match Match
	// Transport is nil for bytes as they are.
	Transport TransportFactory
	// ConnectTimeout bounds the handshake; 0 is none.
	ConnectTimeout time.Duration
	Filters        []conn.Filter
	Handler        conn.Factory

	owned []func()     // close what was made for it
	open  atomic.Int64 // connections that go through it
}

// close closes what was made for the chain.
func (c *Chain) close() {
	for _, f := range c.owned {
		f()
	}
	c.owned = nil
}

// Options are what a listener's sockets are made with; a change of them needs
// a new listener.
type Options struct {
	Name      string
	Addresses []address.Addr
	Socket    engine.ListenOptions
	// BindToPort false makes a listener that has no socket of its own.
	BindToPort bool
	// UnixMode is set on a Unix domain socket's file if not 0.
	UnixMode uint32
}

// Config is the part of a listener that can change while it runs.
type Config struct {
	StatPrefix        string
	Filters           []Filter
	FiltersTimeout    time.Duration
	ContinueOnTimeout bool
	// UseOriginalDst hands a connection whose local address a filter has
	// restored over to the listener that is bound to it, if there is one.
	UseOriginalDst   bool
	TrafficDirection streaminfo.Direction
	Metadata         streaminfo.Metadata
	// MaxConnections refuses connections above it; nil or 0 is no limit. It is
	// read anew for each connection, since the runtime may change it.
	MaxConnections func() int64
	// Unlimited tells that the process's limit does not count here.
	Unlimited bool
	// Unmanaged tells that the overload manager does not act here
	// (bypass_overload_manager).
	Unmanaged bool
	// Closed, if set, is told of each connection that is gone: to log it.
	Closed func(shard int, c *conn.Conn)

	chains     index
	compiled   []compiled // what the chains were made of
	base       *base
	generation uint64 // counts the listener's configurations
}

// base is what configurations share that differ in their filter chains alone.
type base struct {
	owned    []func()     // close what was made for it
	arriving atomic.Int64 // connections that have no filter chain yet
}

func (b *base) close() {
	for _, f := range b.owned {
		f()
	}
	b.owned = nil
}

// Own has f called when nothing uses the configuration any more, nor one that has come
// of it by [Rechain].
func (c *Config) Own(f ...func()) { c.base.owned = append(c.base.owned, f...) }

// Close closes what was made for a configuration and its chains. No listener may use
// it.
func (c *Config) Close() { c.Abandon(nil) }

// Abandon is Close for a configuration that never came into use; what it has in common
// with used, which may be nil, stays.
func (c *Config) Abandon(used *Config) {
	for _, ch := range c.chains.all {
		if used == nil || !used.has(ch) {
			ch.close()
		}
	}
	if used == nil || used.base != c.base {
		c.base.close()
	}
}

// SetChains gives the configuration its filter chains; fallback, which may be
// nil, takes what no chain matches.
func (c *Config) SetChains(chains []*Chain, fallback *Chain) error {
	if c.base == nil {
		c.base = &base{}
	}
	c.chains.set(chains, fallback)
	for _, ch := range chains {
		if err := c.chains.add(ch); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether the chain is one of the configuration's.
func (c *Config) has(ch *Chain) bool { return c.chains.has(ch) }

// Find returns the filter chain that takes a connection, or nil.
func (c *Config) Find(info *streaminfo.Connection) *Chain { return c.chains.find(info) }

// Stats are a listener's statistics (listener.ADDRESS.*).
type Stats struct {
	CxTotal            stats.Counter   `stat:"downstream_cx_total"`
	CxActive           stats.Gauge     `stat:"downstream_cx_active"`
	CxDestroy          stats.Counter   `stat:"downstream_cx_destroy"`
	CxLength           stats.Histogram `stat:"downstream_cx_length_ms,ms"`
	CxOverflow         stats.Counter   `stat:"downstream_cx_overflow"`
	CxOverload         stats.Counter   `stat:"downstream_cx_overload_reject"`
	CxTransportTimeout stats.Counter   `stat:"downstream_cx_transport_socket_connect_timeout"`
	PreCxTimeout       stats.Counter   `stat:"downstream_pre_cx_timeout"`
	PreCxActive        stats.Gauge     `stat:"downstream_pre_cx_active"`
	GlobalOverflow     stats.Counter   `stat:"downstream_global_cx_overflow"`
	NoFilterChain      stats.Counter   `stat:"no_filter_chain_match"`
	AcceptFailed       stats.Counter   `stat:"downstream_listener_accept_failed"`
	FilterRemoteClose  stats.Counter   `stat:"downstream_listener_filter_remote_close"`
	FilterError        stats.Counter   `stat:"downstream_listener_filter_error"`
}

// Limits are shared by all listeners of a process.
type Limits struct {
	// Max returns how many downstream connections the process takes; 0 is no
	// limit (Envoy's overload.global_downstream_max_connections).
	Max func() int64
	// Reject and Accept are how many new connections the overload manager has closed at
	// once: its action reject_incoming_connections and its load shed point
	// tcp_listener_accept. nil is none, as of all of it.
	Reject, Accept *overload.Level
	// Connect shortens the time for handshakes.
	Connect *overload.Timeout

	active atomic.Int64
	nextID atomic.Uint64
	// peers are the running listeners, for connections that are handed over.
	peers peers
}

// Active returns how many downstream connections the process has.
func (l *Limits) Active() int64 { return l.active.Load() }

// Listener takes connections on one or more addresses.
type Listener struct {
	opts   Options
	config atomic.Pointer[Config]
	stats  *stats.Sharded[Stats]
	limits *Limits
	active atomic.Int64
	log    *slog.Logger
	bound  []address.Addr
	scope  *stats.Scope
	// outdated counts the connections that the newest configuration has no chain for.
	outdated atomic.Int64
	tls      atomic.Pointer[conn.TLSCounters]

	mu      sync.Mutex
	closed  bool
	paused  bool // connections are left in the kernel's queue
	workers []*worker
}

// New binds the listener's sockets, so that connections queue in the kernel,
// and registers its statistics. Start begins to take them.
func New(loops []*engine.Loop, o Options, c *Config, limits *Limits, store *stats.Store, log *slog.Logger) (*Listener, error) {
	l := &Listener{opts: o, limits: limits, log: log}
	l.config.Store(c)
	for _, loop := range loops {
		l.workers = append(l.workers, &worker{listener: l, loop: loop})
	}
	if o.BindToPort {
		for _, a := range o.Addresses {
			if err := l.bind(a); err != nil {
				l.closeSockets()
				return nil, err
			}
		}
	}
	l.scope = store.Scope("listener." + l.statName() + ".")
	l.stats = stats.Register[Stats](l.scope, len(loops))
	l.countTLS(c)
	return l, nil
}

// countTLS registers the statistics of TLS handshakes once there may be any.
func (l *Listener) countTLS(c *Config) {
	if c.secure() && l.tls.Load() == nil {
		l.tls.Store(conn.NewTLSCounters(l.scope, len(l.workers)))
	}
}

// secure tells whether any chain has a transport of its own.
func (c *Config) secure() bool {
	return slices.ContainsFunc(c.chains.all, func(ch *Chain) bool { return ch.Transport != nil })
}

func (l *Listener) statName() string {
	if p := l.config.Load().StatPrefix; p != "" {
		return stats.Sanitize(p)
	}
	if len(l.bound) > 0 {
		return stats.Sanitize(l.bound[0].String())
	}
	if len(l.opts.Addresses) > 0 {
		return stats.Sanitize(l.opts.Addresses[0].String())
	}
	return stats.Sanitize(l.opts.Name)
}

// bind opens a socket per loop on the address. Port 0 is settled by the first.
func (l *Listener) bind(a address.Addr) error {
	removeStale(a)
	shared := !l.opts.Socket.ReusePort || a.IsUnix()
	for i, w := range l.workers {
		var fd int
		var err error
		if shared && i > 0 {
			fd, err = engine.Duplicate(l.workers[0].fds[len(l.bound)])
		} else {
			fd, err = engine.Listen(a, &l.opts.Socket)
		}
		if err != nil {
			return fmt.Errorf("listener %q: %w", l.opts.Name, err)
		}
		w.fds = append(w.fds, fd)
		if i > 0 {
			continue
		}
		if !a.IsUnix() {
			if a, err = engine.SocketAddr(fd); err != nil {
				return err
			}
		} else if err := engine.SetUnixMode(a.Path(), l.opts.UnixMode); err != nil {
			return err
		}
	}
	l.bound = append(l.bound, a)
	return nil
}

// removeStale removes the file of a Unix domain socket on which nobody listens any
// more: what a process that was killed has left.
func removeStale(a address.Addr) {
	if !a.IsUnix() || strings.HasPrefix(a.Path(), "@") {
		return
	}
	info, err := os.Lstat(a.Path())
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return // Binding will tell what is wrong, if anything.
	}
	c, err := net.DialTimeout("unix", a.Path(), time.Second)
	if err == nil {
		_ = c.Close() // Somebody listens: binding will fail.
		return
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		engine.RemoveUnix(a)
	}
}

func (l *Listener) closeSockets() {
	for _, w := range l.workers {
		for _, fd := range w.fds {
			engine.CloseFD(fd)
		}
		w.fds = nil
	}
}

// Start takes connections from now on, unless SetAccepting has told otherwise.
func (l *Listener) Start() error {
	err := startAll(l.workers)
	if err == nil {
		l.limits.peers.add(l)
	}
	return err
}

// SetAccepting leaves new connections in the kernel's queue, or takes them again. A
// listener that the overload manager does not act on takes them always.
func (l *Listener) SetAccepting(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if on = on || l.config.Load().Unmanaged; l.closed || on == !l.paused {
		return
	}
	l.paused = !on
	l.each(func(w *worker) {
		for _, s := range w.socks {
			s.SetAccepting(on)
		}
	})
}

// Rescale holds all that connections wait for against time limits that have become
// shorter, or longer.
func (l *Listener) Rescale() {
	l.each(func(w *worker) {
		w.rescale()
		w.conns.Each(func(c *conn.Conn) {
			if g := c.Governed(); g != nil {
				g.Rescale()
			}
		})
	})
}

// Streams calls f for each stream of the connections that a loop has, on that loop. f may
// break it off.
func (l *Listener) Streams(loop *engine.Loop, f func(conn.Stream)) {
	if l.config.Load().Unmanaged {
		return
	}
	l.workers[loop.ID()].conns.Each(func(c *conn.Conn) {
		if g := c.Governed(); g != nil {
			g.Streams(f)
		}
	})
}

// Name returns the listener's name.
func (l *Listener) Name() string { return l.opts.Name }

// Options returns what the sockets were made with.
func (l *Listener) Options() Options { return l.opts }

// Addresses returns where the listener is bound, ports settled.
func (l *Listener) Addresses() []address.Addr { return l.bound }

// Active returns how many connections are open.
func (l *Listener) Active() int64 { return l.active.Load() }

// Outdated returns how many of them have a filter chain that the newest configuration
// has no more.
func (l *Listener) Outdated() int64 { return l.outdated.Load() }

// StopAccepting closes the sockets; connections stay. Those the kernel has
// taken already are taken still.
func (l *Listener) StopAccepting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	l.limits.peers.remove(l) // First, so that no connection is handed over to a listener that has ended.
	l.each(func(w *worker) { w.stop() })
	for _, a := range l.bound {
		engine.RemoveUnix(a)
	}
}

// Drain asks every connection to finish.
func (l *Listener) Drain() {
	l.each(func(w *worker) { w.conns.Each((*conn.Conn).Drain) })
}

// Close closes the sockets and every connection at once.
func (l *Listener) Close() {
	l.StopAccepting()
	l.each(func(w *worker) { w.conns.Each((*conn.Conn).Close) })
	l.stats.Close()
	if c := l.tls.Load(); c != nil {
		c.Close()
	}
	l.config.Load().Close()
}

// each runs f on every worker's loop and waits.
func (l *Listener) each(f func(*worker)) { onEach(l.workers, f) }
