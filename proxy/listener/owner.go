// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"log/slog"
	"time"

	"weir.dev/weir/proxy/conn"
)

// arriving is a worker with one of its listener's configurations: it owns the
// connections that have no filter chain yet.
type arriving struct {
	*worker
	cfg *Config
}

// owner is a worker with a filter chain: it owns the connections that go through it.
type owner struct {
	arriving
	chain *Chain
	open  int64
	// retired is the first generation of the configuration that has the chain no more;
	// 0 while the newest has it.
	retired uint64
}

// TLSCounters are where handshakes of the listener's connections are counted, and
// Log where those that fail are told.
func (a *arriving) TLSCounters() *conn.TLSCounters { return a.listener.tls.Load() }

// Log returns the listener's logger.
func (a *arriving) Log() *slog.Logger { return a.listener.log }

// take makes the connection one of the worker's, which has no filter chain yet.
func (w *worker) take(c *conn.Conn, cfg *Config) {
	c.Info.ListenerName, c.Info.TrafficDirection, c.Info.ListenerMetadata = w.listener.opts.Name, cfg.TrafficDirection, cfg.Metadata
	if w.arriving == nil || w.arriving.cfg != cfg {
		w.arriving = &arriving{w, cfg}
	}
	c.Move(&w.conns, w.arriving)
	cfg.base.arriving.Add(1)
}

// begin counts a connection that has got its filter chain: what listener filters
// refuse, and what no chain matches, is none in Envoy's statistics.
func (w *worker) begin(c *conn.Conn, cfg *Config, ch *Chain) {
	st := w.stats()
	st.CxTotal.Inc()
	st.CxActive.Inc()
	o := w.owner(cfg, ch)
	c.Move(&w.conns, o)
	o.count(1)
	cfg.base.arriving.Add(-1)
}

// owner returns the owner of the connections through a chain; there is one for all of
// them.
func (w *worker) owner(cfg *Config, ch *Chain) *owner {
	if o := w.owners[ch]; o != nil {
		return o
	}
	o := &owner{arriving: arriving{w, cfg}, chain: ch}
	if newest := w.listener.config.Load(); !newest.has(ch) {
		o.retired = newest.generation
		return o
	}
	if w.owners == nil {
		w.owners = map[*Chain]*owner{}
	}
	w.owners[ch] = o
	return o
}

// newest returns the newest configuration if it differs from cfg in its filter chains
// alone, otherwise cfg: what listener filters have found out serves for either.
func (w *worker) newest(cfg *Config) *Config {
	if newest := w.listener.config.Load(); newest.base == cfg.base {
		return newest
	}
	return cfg
}

func (o *owner) count(n int64) {
	o.open += n
	o.chain.open.Add(n)
	if o.retired != 0 {
		o.listener.outdated.Add(n)
	}
}

// Gone settles what a connection was counted in.
func (o *owner) Gone(c *conn.Conn) {
	st := o.stats()
	st.CxActive.Dec()
	st.CxDestroy.Inc()
	st.CxLength.Record(uint64(time.Since(c.Info.Start).Milliseconds()))
	o.gone(c)
	o.count(-1)
}

// Gone settles what a connection without a filter chain was counted in.
func (a *arriving) Gone(c *conn.Conn) {
	a.gone(c)
	a.cfg.base.arriving.Add(-1)
}

func (a *arriving) gone(c *conn.Conn) {
	l := a.listener
	l.active.Add(-1)
	l.limits.active.Add(-1)
	c.Info.End = time.Now()
	if a.cfg.Closed != nil {
		a.cfg.Closed(a.loop.ID(), c)
	}
}
