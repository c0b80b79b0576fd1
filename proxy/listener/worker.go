// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"slices"
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
	arriving *arriving
	owners   map[*Chain]*owner // of the chains of the newest configuration
	shaking  []*shake          // handshakes whose time limit may change
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
	local := a.local
	if local.Addr().IsUnspecified() {
		local = sock.LocalAddr()
	}
	info := &streaminfo.Connection{
		ID: l.limits.nextID.Add(1), Local: local, Remote: remote, DirectLocal: local, DirectRemote: remote,
		Start: time.Now(), TransportProtocol: "raw_buffer",
	}
	c := conn.New(sock, info, nil)
	a.take(c, cfg)
	if len(cfg.Filters) == 0 {
		if ch := cfg.Find(info); ch != nil && ch.Transport == nil && len(ch.Filters) == 0 {
			info.FilterChainName = ch.Name
			a.begin(c, cfg, ch)
			c.Attach(ch.Handler.New(c))
			return
		}
	}
	a.loop.Go(engine.RunnerFunc(func(t *engine.Task) { a.establish(t, c, cfg) }))
}

// admit counts a connection in, or refuses it over a limit or in overload.
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
	shed := !over && !global && !cfg.Unmanaged && (l.limits.Accept.Hits() || l.limits.Reject.Hits())
	if shed {
		st.CxOverload.Inc()
	}
	if over || global || shed {
		l.active.Add(-1)
		l.limits.active.Add(-1)
		return false
	}
	return true
}

func above(n, limit int64) bool { return limit > 0 && n > limit }

var errTransportTimeout = errors.New("transport socket connect timeout")

// establish does all that may wait before the handler serves.
func (w *worker) establish(t *engine.Task, c *conn.Conn, cfg *Config) {
	keep := false
	defer func() {
		if !keep {
			c.Close()
		}
	}()
	if !w.listenerFilters(t, c, cfg) {
		return
	}
	if cfg.UseOriginalDst && c.Info.LocalRestored {
		if to := w.listener.limits.peers.find(c.Info.Local); to != nil && to != w.listener {
			if w, cfg = w.handOver(c, cfg, to); !w.listenerFilters(t, c, cfg) {
				return
			}
		}
	}
	ch := w.newest(cfg).Find(c.Info)
	if ch == nil {
		w.stats().NoFilterChain.Inc()
		c.Info.Termination = "filter_chain_not_found"
		w.listener.log.Debug("no filter chain matches the connection", "listener", w.listener.opts.Name,
			"remote", c.Info.Remote, "server_name", c.Info.ServerName)
		return
	}
	c.Info.FilterChainName = ch.Name
	w.begin(c, cfg, ch)
	if !w.handshake(t, c, cfg, ch) {
		return
	}
	for _, f := range ch.Filters {
		if err := f.Accept(t, c); err != nil {
			if !errors.Is(err, conn.ErrRefused) {
				c.Info.Termination = err.Error()
			}
			return
		}
	}
	keep = true
	c.Serve(t, ch.Handler.New(c))
}

// handOver makes a connection one of another listener's, on the same loop. As
// Envoy has it, it counts there from now on and is handed over once only.
func (w *worker) handOver(c *conn.Conn, from *Config, to *Listener) (*worker, *Config) {
	for _, x := range to.workers {
		if x.loop == w.loop {
			cfg := to.config.Load()
			from.base.arriving.Add(-1)
			w.listener.active.Add(-1)
			to.active.Add(1)
			x.take(c, cfg)
			return x, cfg
		}
	}
	panic("BUG: a listener without a worker on one of the loops")
}

var errFiltersTimeout = errors.New("listener filters timeout")

func (w *worker) listenerFilters(t *engine.Task, c *conn.Conn, cfg *Config) bool {
	if len(cfg.Filters) == 0 {
		return true
	}
	st := w.stats()
	st.PreCxActive.Inc()
	defer st.PreCxActive.Dec()
	t.SetDeadline(int64(cfg.FiltersTimeout), errFiltersTimeout)
	defer t.SetDeadline(0, nil)
	for _, f := range cfg.Filters {
		err := f.Accept(t, c)
		if err == nil {
			continue
		}
		switch {
		case errors.Is(err, errFiltersTimeout):
			st.PreCxTimeout.Inc()
			if cfg.ContinueOnTimeout && !errors.Is(err, ErrRefused) {
				return true
			}
		case errors.Is(err, ErrPeerClosed):
			st.FilterRemoteClose.Inc()
		case errors.Is(err, errPeek):
			st.FilterError.Inc()
		}
		c.Info.Termination = err.Error()
		return false
	}
	return true
}

func (w *worker) handshake(t *engine.Task, c *conn.Conn, cfg *Config, ch *Chain) bool {
	if ch.Transport == nil {
		return true
	}
	s := w.limit(t, cfg, ch)
	defer w.unlimit(t, s)
	err := ch.Transport.Wrap(t, c)
	if errors.Is(err, errTransportTimeout) {
		w.stats().CxTransportTimeout.Inc()
	}
	if err != nil {
		c.Info.TransportFailure = err.Error()
		return false
	}
	return true
}

// shake is a handshake with a time limit.
type shake struct {
	task  *engine.Task
	begun int64 // the loop's time
	limit int64 // nanoseconds, before anything shortens it
}

// limit starts the time limit of a handshake, which unlimit ends. It returns nil where
// nothing shortens the limit.
func (w *worker) limit(t *engine.Task, cfg *Config, ch *Chain) *shake {
	d, short := int64(ch.ConnectTimeout), w.listener.limits.Connect
	if short == nil || d == 0 || cfg.Unmanaged {
		t.SetDeadline(d, errTransportTimeout)
		return nil
	}
	s := &shake{t, w.loop.Now(), d}
	w.shaking = append(w.shaking, s)
	t.SetDeadline(short.Of(d), errTransportTimeout)
	return s
}

func (w *worker) unlimit(t *engine.Task, s *shake) {
	t.SetDeadline(0, nil)
	if s != nil {
		w.shaking = slices.DeleteFunc(w.shaking, func(x *shake) bool { return x == s })
	}
}

// rescale holds the handshakes under way against time limits that have changed.
func (w *worker) rescale() {
	for _, s := range w.shaking {
		left := w.listener.limits.Connect.Of(s.limit) - (w.loop.Now() - s.begun)
		s.task.SetDeadline(max(left, 1), errTransportTimeout)
	}
}
