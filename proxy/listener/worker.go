// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"log/slog"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

// worker is a listener's part on one loop.
type worker struct {
	listener *Listener
	loop     *engine.Loop
	fds      []int
	socks    []*engine.Listener
	conns    conn.Group
	newest   *owner
}

func (w *worker) start() error {
	for i, fd := range w.fds {
		s, err := w.loop.Listen(fd, &acceptor{w, w.listener.bound[i]})
		if err != nil {
			return err
		}
		w.socks = append(w.socks, s)
	}
	return nil
}

func (w *worker) stop() {
	for _, s := range w.socks {
		s.Close()
	}
	// Those that were bound and never given to the loop.
	for _, fd := range w.fds[len(w.socks):] {
		engine.CloseFD(fd)
	}
	w.socks, w.fds = nil, nil
}

// acceptor takes the connections of one socket.
type acceptor struct {
	*worker
	local address.Addr
}

// AcceptFailed counts and logs a connection that could not be taken.
func (a *acceptor) AcceptFailed(err error) {
	a.stats().AcceptFailed.Inc()
	a.listener.log.Warn("cannot accept a connection: if this is 'too many open files', raise the limit of open files (ulimit -n)",
		"listener", a.listener.opts.Name, "error", err)
}

func (w *worker) stats() *Stats { return w.listener.stats.At(w.loop.ID()) }

// Accept takes one connection: a plain one with nothing to wait for costs no
// task.
func (a *acceptor) Accept(sock *engine.Conn, remote address.Addr) {
	l, st := a.listener, a.stats()
	cfg := l.config.Load()
	if !a.admit(cfg, st) {
		sock.Close()
		return
	}
	st.CxTotal.Inc()
	st.CxActive.Inc()
	local := a.local
	if local.Addr().IsUnspecified() {
		local = sock.LocalAddr()
	}
	info := &streaminfo.Connection{
		ID: l.limits.nextID.Add(1), Local: local, Remote: remote, DirectLocal: local, DirectRemote: remote,
		Start: time.Now(), TransportProtocol: "raw_buffer", ListenerName: l.opts.Name,
		TrafficDirection: cfg.TrafficDirection, ListenerMetadata: cfg.Metadata,
	}
	c := conn.New(sock, info, a.owner(cfg))
	a.conns.Add(c)
	if len(cfg.Filters) == 0 {
		if ch := cfg.Find(info); ch != nil && ch.Transport == nil && len(ch.Filters) == 0 {
			info.FilterChainName = ch.Name
			c.Attach(ch.Handler.New(c))
			return
		}
	}
	a.loop.Go(engine.RunnerFunc(func(t *engine.Task) { a.establish(t, c, cfg) }))
}

// admit counts a connection in, or refuses it over a limit.
func (a *acceptor) admit(cfg *Config, st *Stats) bool {
	l := a.listener
	n, all := l.active.Add(1), l.limits.active.Add(1)
	over := cfg.MaxConnections != nil && above(n, cfg.MaxConnections())
	global := !over && !cfg.Unlimited && l.limits.Max != nil && above(all, l.limits.Max())
	if over {
		st.CxOverflow.Inc()
	}
	if global {
		st.GlobalOverflow.Inc()
	}
	if over || global {
		l.active.Add(-1)
		l.limits.active.Add(-1)
		return false
	}
	return true
}

func above(n, limit int64) bool { return limit > 0 && n > limit }

// owner is a worker with one of its listener's configurations: what the
// connections of both are told apart by when they end.
type owner struct {
	*worker
	cfg *Config
}

// TLSCounters are where handshakes of the listener's connections are counted, and
// Log where those that fail are told.
func (a *owner) TLSCounters() *conn.TLSCounters { return a.listener.tls.Load() }

// Log returns the listener's logger.
func (a *owner) Log() *slog.Logger { return a.listener.log }

// owner returns the owner of connections under a configuration; there is one for
// all of them.
func (w *worker) owner(cfg *Config) *owner {
	if w.newest == nil || w.newest.cfg != cfg {
		w.newest = &owner{w, cfg}
	}
	return w.newest
}

// Gone settles what a connection was counted in.
func (a *owner) Gone(c *conn.Conn) {
	l, st, cfg := a.listener, a.stats(), a.cfg
	l.active.Add(-1)
	l.limits.active.Add(-1)
	st.CxActive.Dec()
	st.CxDestroy.Inc()
	st.CxLength.Record(uint64(time.Since(c.Info.Start).Milliseconds()))
	c.Info.End = time.Now()
	if cfg.Closed != nil {
		cfg.Closed(a.loop.ID(), c)
	}
}

var errTransportTimeout = errors.New("transport socket connect timeout")

// establish does all that may wait before the handler serves.
func (a *acceptor) establish(t *engine.Task, c *conn.Conn, cfg *Config) {
	keep := false
	defer func() {
		if !keep {
			c.Close()
		}
	}()
	if !a.listenerFilters(t, c, cfg) {
		return
	}
	ch := cfg.Find(c.Info)
	if ch == nil {
		a.stats().NoFilterChain.Inc()
		c.Info.Termination = "filter_chain_not_found"
		a.listener.log.Debug("no filter chain matches the connection", "listener", a.listener.opts.Name,
			"remote", c.Info.Remote, "server_name", c.Info.ServerName)
		return
	}
	c.Info.FilterChainName = ch.Name
	if !a.handshake(t, c, ch) {
		return
	}
	for _, f := range ch.Filters {
		if err := f.Accept(t, c); err != nil {
			c.Info.Termination = err.Error()
			return
		}
	}
	keep = true
	c.Serve(t, ch.Handler.New(c))
}

var errFiltersTimeout = errors.New("listener filters timeout")

func (a *acceptor) listenerFilters(t *engine.Task, c *conn.Conn, cfg *Config) bool {
	if len(cfg.Filters) == 0 {
		return true
	}
	st := a.stats()
	st.PreCxActive.Inc()
	defer st.PreCxActive.Dec()
	t.SetDeadline(int64(cfg.FiltersTimeout), errFiltersTimeout)
	defer t.SetDeadline(0, nil)
	for _, f := range cfg.Filters {
		err := f.Accept(t, c)
		if errors.Is(err, errFiltersTimeout) {
			st.PreCxTimeout.Inc()
			return cfg.ContinueOnTimeout
		}
		if err != nil {
			c.Info.Termination = err.Error()
			return false
		}
	}
	return true
}

func (a *acceptor) handshake(t *engine.Task, c *conn.Conn, ch *Chain) bool {
	if ch.Transport == nil {
		return true
	}
	t.SetDeadline(int64(ch.ConnectTimeout), errTransportTimeout)
	err := ch.Transport.Wrap(t, c)
	t.SetDeadline(0, nil)
	if errors.Is(err, errTransportTimeout) {
		a.stats().CxTransportTimeout.Inc()
	}
	if err != nil {
		c.Info.TransportFailure = err.Error()
		return false
	}
	return true
}
