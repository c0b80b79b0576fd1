// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/streaminfo"
)

// A PacketFilter is a UDP listener filter's part on one event loop. Its methods
// run on that loop, not on a task, and must not block.
type PacketFilter interface {
	// Receive takes a datagram that came by s, by which it may be answered; true
	// hands it on to the next filter. d is valid during the call, its Data also
	// for what is sent in it.
	Receive(s *engine.PacketSocket, d *engine.Datagram) (next bool)
	// ReceiveFailed tells that reading from a listening socket failed.
	ReceiveFailed(err error)
	// Drain tells that no more datagrams will come: to finish what is under way.
	// Listening sockets can still be sent by.
	Drain()
	// Close ends everything at once, without sending.
	Close()
}

// A PacketFactory makes the filters of a UDP listener's configuration, one for
// each loop.
type PacketFactory interface {
	// New returns the filter of a loop and runs on it. old is the filter that had
	// its place in the configuration before, or nil: what can go on under the new
	// one is taken over from it, after which old is closed.
	New(w *PacketWorker, old PacketFilter) PacketFilter
}

// PacketOptions are what a UDP listener's sockets are made with; a change of them
// needs a new listener.
type PacketOptions struct {
	Options
	Read engine.PacketOptions
}

// PacketConfig is the part of a UDP listener that can change while it runs.
type PacketConfig struct {
	StatPrefix       string
	Filters          []PacketFactory
	TrafficDirection streaminfo.Direction
	Metadata         streaminfo.Metadata
}

// PacketStats are a UDP listener's statistics (listener.ADDRESS.udp.*).
type PacketStats struct {
	// Dropped counts datagrams lost because they were larger than
	// max_rx_datagram_size or because the kernel's queue was full.
	Dropped stats.Counter `stat:"downstream_rx_datagram_dropped"`
}

// PacketListener receives datagrams on one or more addresses.
type PacketListener struct {
	opts   PacketOptions
	stats  *stats.Sharded[PacketStats]
	limits *Limits
	active atomic.Int64
	log    *slog.Logger
	bound  []address.Addr

	mu      sync.Mutex
	stopped bool
	workers []*PacketWorker
}

// A PacketWorker is a UDP listener's part on one loop.
type PacketWorker struct {
	listener *PacketListener
	loop     *engine.Loop
	cfg      *PacketConfig
	fds      []int
	socks    []*engine.PacketSocket
	filters  []PacketFilter
	stats    *PacketStats
}

// NewPacket binds the listener's sockets, so that datagrams queue in the kernel.
// Start begins to take them.
func NewPacket(loops []*engine.Loop, o PacketOptions, c *PacketConfig, limits *Limits, store *stats.Store, log *slog.Logger) (*PacketListener, error) {
	if len(loops) > 1 && !o.Socket.ReusePort {
		return nil, errors.New("enable_reuse_port: false is not possible for UDP with more than one event loop: " +
			"a client's datagrams would come to any of them; leave the field out, or set the concurrency to 1")
	}
	l := &PacketListener{opts: o, limits: limits, log: log}
	for _, loop := range loops {
		l.workers = append(l.workers, &PacketWorker{listener: l, loop: loop, cfg: c})
	}
	if o.BindToPort {
		for _, a := range o.Addresses {
			if err := l.bind(a); err != nil {
				for _, w := range l.workers {
					w.closeUnused()
				}
				return nil, err
			}
		}
	}
	name := l.opts.Name
	if c.StatPrefix != "" {
		name = c.StatPrefix
	} else if len(l.bound) > 0 {
		name = l.bound[0].String()
	}
	l.stats = stats.Register[PacketStats](store.Scope("listener."+stats.Sanitize(name)+".udp."), len(loops))
	for i, w := range l.workers {
		w.stats = l.stats.At(i)
	}
	return l, nil
}

// bind opens a socket per loop on the address. Port 0 is settled by the first.
func (l *PacketListener) bind(a address.Addr) error {
	for i, w := range l.workers {
		fd, err := engine.ListenPacket(a, &l.opts.Socket)
		if err != nil {
			return fmt.Errorf("listener %q: %w", l.opts.Name, err)
		}
		w.fds = append(w.fds, fd)
		if i == 0 {
			if a, err = engine.SocketAddr(fd); err != nil {
				return err
			}
		}
	}
	l.bound = append(l.bound, a)
	return nil
}

// Start takes datagrams from now on.
func (l *PacketListener) Start() error {
	return startAll(l.workers)
}

// Update replaces the configuration. Filters take over from those that stood at
// their place what the new configuration lets go on.
func (l *PacketListener) Update(c *PacketConfig) {
	l.each(func(w *PacketWorker) { w.configure(c) })
}

// Name returns the listener's name.
func (l *PacketListener) Name() string { return l.opts.Name }

// Addresses returns where the listener is bound, ports settled.
func (l *PacketListener) Addresses() []address.Addr { return l.bound }

// Active returns how many sessions its filters have.
func (l *PacketListener) Active() int64 { return l.active.Load() }

// StopAccepting takes what the kernel has queued, and no more datagrams after;
// sessions stay and can still answer.
func (l *PacketListener) StopAccepting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	l.stopped = true
	l.each(func(w *PacketWorker) {
		for _, s := range w.socks {
			s.Mute()
		}
		w.closeUnused()
	})
}

// Drain asks the filters to finish.
func (l *PacketListener) Drain() {
	l.each(func(w *PacketWorker) {
		for _, f := range w.filters {
			f.Drain()
		}
	})
}

// Close closes the sockets and ends every session at once.
func (l *PacketListener) Close() {
	l.StopAccepting()
	l.each(func(w *PacketWorker) {
		for _, f := range w.filters {
			f.Close()
		}
		w.filters = nil
		for _, s := range w.socks {
			s.Close()
		}
		w.socks = nil
	})
	l.stats.Close()
}

// each runs f on every worker's loop and waits.
func (l *PacketListener) each(f func(*PacketWorker)) { onEach(l.workers, f) }

func (w *PacketWorker) start() error {
	w.configure(w.cfg)
	for len(w.fds) > 0 {
		fd := w.fds[0]
		w.fds = w.fds[1:]
		s, err := w.loop.AddPacketSocket(fd, w.listener.opts.Read, w)
		if err != nil {
			return err
		}
		w.socks = append(w.socks, s)
	}
	return nil
}

// closeUnused closes the sockets that were bound and never given to the loop.
func (w *PacketWorker) closeUnused() {
	for _, fd := range w.fds {
		engine.CloseFD(fd)
	}
	w.fds = nil
}

// configure makes the filters of a configuration.
func (w *PacketWorker) configure(c *PacketConfig) {
	old := w.filters
	w.cfg, w.filters = c, make([]PacketFilter, len(c.Filters))
	for i, f := range c.Filters {
		var before PacketFilter
		if i < len(old) {
			before = old[i]
		}
		w.filters[i] = f.New(w, before)
	}
	for _, f := range old {
		f.Close()
	}
}

// Loop returns the event loop.
func (w *PacketWorker) Loop() *engine.Loop { return w.loop }

// Config returns the configuration in force.
func (w *PacketWorker) Config() *PacketConfig { return w.cfg }

// Listener returns the listener's name.
func (w *PacketWorker) Listener() string { return w.listener.opts.Name }

// NextID returns a number for a session that no other session or connection of
// the process has.
func (w *PacketWorker) NextID() uint64 { return w.listener.limits.nextID.Add(1) }

// Count adds n, which may be negative, to the listener's sessions.
func (w *PacketWorker) Count(n int) { w.listener.active.Add(int64(n)) }

// Receive hands a datagram to the filters.
func (w *PacketWorker) Receive(s *engine.PacketSocket, d *engine.Datagram) {
	for _, f := range w.filters {
		if !f.Receive(s, d) {
			return
		}
	}
}

// ReceiveFailed tells the filters of a socket's error.
func (w *PacketWorker) ReceiveFailed(_ *engine.PacketSocket, err error) {
	for _, f := range w.filters {
		f.ReceiveFailed(err)
	}
}

// Dropped counts datagrams that were lost.
func (w *PacketWorker) Dropped(_ *engine.PacketSocket, n uint64) { w.stats.Dropped.Add(n) }
