// SPDX-License-Identifier: Apache-2.0

package tcpproxy

import (
	"errors"
	"io"
	"strconv"
	"time"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/pump"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/pool"
)

// session is one downstream connection and its upstream. While both are quiet
// this is all there is of it.
type session struct {
	w    *worker
	conn *conn.Conn
	up   *pool.Conn

	cluster *upstream.Worker // held until the session ends
	host    *upstream.Host
	failed  []*upstream.Host // that could not be reached
	early   []byte           // what came before the upstream was there

	pair   pump.Pair
	far    pump.End // of the pair
	tunnel *tunnel  // in place of up

	idle     engine.Timer
	idleFor  int64
	limit    *engine.Timer // max_downstream_connection_duration
	periodic *engine.Timer // access_log_flush_interval

	connecting *engine.Task // nil when nothing is being connected
	begun      int64        // loop time
	dialled    int64
	connected  int64

	flags    streaminfo.Flags
	attempts uint32
	failure  string // of the transport, at the last attempt
	id       string
	draining bool
	over     bool
}

var (
	errOver = errors.New("the session is over")
	errGone = errors.New("the client is gone")
)

func newSession(w *worker, c *conn.Conn) *session {
	cfg := &w.p.cfg
	s := &session{w: w, conn: c, begun: w.loop.Now()}
	s.idle.Init(w.loop, s.expire)
	if s.idleFor = s.idleTimeout(); s.idleFor > 0 {
		s.idle.Set(s.idleFor)
	}
	if d := cfg.maxDuration; d > 0 {
		jitter := 1 + w.rand.Float64()*cfg.durationJitter/100
		s.limit = new(engine.Timer)
		s.limit.Init(w.loop, s.outlive)
		s.limit.Set(int64(float64(d) * jitter))
	}
	if d := cfg.logInterval; d > 0 {
		s.periodic = new(engine.Timer)
		s.periodic.Init(w.loop, s.logProgress)
		s.periodic.Set(int64(d))
	}
	if cfg.logStart {
		s.record(accesslog.TCPConnectionStart)
	}
	return s
}

// idleTimeout is the connection's own, if a filter gave it one, or the proxy's.
func (s *session) idleTimeout() int64 {
	if o, ok := s.conn.Info.FilterState[IdleTimeoutKey]; ok {
		if ms, err := strconv.ParseUint(o.Text, 10, 40); err == nil {
			return int64(ms) * int64(time.Millisecond)
		}
	}
	return int64(s.w.p.cfg.idle)
}

// Eager reports whether the upstream is connected to before the client speaks.
func (s *session) Eager() bool { return s.w.p.cfg.connectMode == connectAtOnce }

// Serve connects upstream, after which the two directions serve themselves.
func (s *session) Serve(t *engine.Task, c *conn.Conn) bool {
	if !s.Eager() {
		if !c.Transport.Ready() {
			return true
		}
		if !s.readEarly() {
			return false
		}
	}
	c.Hold()
	s.addTLVs()
	s.w.stats.EarlyData.Add(uint64(min(1, len(s.early))))
	if !s.connect(t) {
		return false
	}
	if s.w.p.cfg.logConnected {
		s.record(accesslog.TCPUpstreamConnected)
	}
	if s.tunnel != nil {
		s.touch()
		return s.tunnel.begin()
	}
	s.far = pump.End{Socket: s.up.Socket, Transport: s.up.Transport}
	s.pair.Init(s.w.loop, s, pump.End{Socket: c.Socket, Transport: c.Transport}, s.far)
	s.touch()
	if !s.sendEarly() {
		return false
	}
	if s.draining {
		s.pair.Finish()
	}
	s.pair.Begin()
	return true
}

// readEarly takes the first bytes of the client, up to max_early_data_bytes. It
// reports false if the client ended without any.
func (s *session) readEarly() bool {
	b := s.w.loop.Buffer()
	defer s.w.loop.PutBuffer(b)
	n, err := s.conn.Transport.Read(b[:max(1, min(s.w.p.cfg.earlyData, len(b)))])
	s.early = append([]byte(nil), b[:n]...)
	return err == nil || err == io.EOF && n > 0
}

func (s *session) sendEarly() bool {
	early := s.early
	s.early = nil
	return s.pair.Send(true, early) == nil && !s.over
}

// HungUp ends the wait for an upstream when the client is gone meanwhile.
func (s *session) HungUp(_ *engine.Conn, gone bool) {
	if gone && s.connecting != nil {
		s.connecting.Interrupt(errGone)
	}
}

// Drain closes the connection after its next bytes if the configuration asks for
// that; otherwise it goes on until the drain ends.
func (s *session) Drain(*conn.Conn) {
	if s.w.p.cfg.closeOnDrain {
		s.draining = true
		s.pair.Finish()
	}
}

// Moved counts bytes that were delivered.
func (s *session) Moved(upload bool, n int) {
	if upload {
		s.w.stats.CxRxBytes.Add(uint64(n))
	} else {
		s.w.stats.CxTxBytes.Add(uint64(n))
	}
	if !s.over {
		if s.up != nil {
			s.up.Account()
		}
		s.touch()
	}
}

// Stalled counts the times that a source was not read because of a slow
// destination.
func (s *session) Stalled(upload, on bool) {
	st, cl := s.w.stats, s.cluster.Stats
	switch {
	case upload && on:
		st.Paused.Inc()
		cl.FlowControlBackedUpTotal.Inc()
	case upload:
		st.Resumed.Inc()
		cl.FlowControlDrainedTotal.Inc()
	case on:
		cl.FlowControlPausedReadingTotal.Inc()
	default:
		cl.FlowControlResumedReadingTotal.Inc()
	}
}

// Ended closes both sides as the one that ended them did.
func (s *session) Ended(e pump.Ending) {
	switch {
	case e.Reset:
		s.reset(e.Far)
	case e.Last:
		s.w.stats.CxDrainClose.Inc()
		s.end("tcp_proxy_drain_close")
	default:
		if e.Err != nil {
			s.note(e.Err)
		}
		s.end("")
	}
}

// touch notes that bytes have moved.
func (s *session) touch() {
	if s.idleFor > 0 {
		s.idle.Set(s.idleFor)
	}
}

func (s *session) expire() {
	s.w.stats.IdleTimeout.Inc()
	s.end("tcp_session_idle_timeout")
}

func (s *session) outlive() {
	s.w.stats.MaxDuration.Inc()
	s.flags |= streaminfo.DurationTimeout
	s.end("max_connection_duration_reached")
}

// end closes both sides; the reason is what the proxy closed them for, "" if they
// ended by themselves.
func (s *session) end(reason string) {
	if s.over {
		return
	}
	if reason != "" {
		s.conn.Info.CloseReason = reason
	}
	if s.conn.Info.CloseType == "" {
		s.conn.Info.CloseType = "Normal"
	}
	s.conn.Close()
}

// reset closes both sides, and what was reset on one looks so on the other.
func (s *session) reset(byUpstream bool) {
	if s.over {
		return
	}
	if byUpstream {
		s.flags |= streaminfo.UpstreamRemoteReset
		s.conn.Info.CloseType = "LocalReset"
		s.conn.Socket.Reset()
	} else {
		s.conn.Info.CloseType = "RemoteReset"
		s.far.Socket.Reset()
	}
	s.end("")
}

// Closed settles the session once its downstream connection is gone.
func (s *session) Closed(*conn.Conn) {
	s.over = true
	s.pair.Stop()
	if t := s.connecting; t != nil {
		t.Interrupt(errOver)
	}
	for _, t := range []*engine.Timer{&s.idle, s.limit, s.periodic} {
		if t != nil {
			t.Release()
		}
	}
	s.record(accesslog.TCPConnectionEnd)
	if s.up != nil {
		s.up.Close()
	}
	if s.tunnel != nil {
		s.tunnel.close()
	}
	if s.cluster != nil {
		s.cluster.Drop()
	}
}

func (s *session) logProgress() {
	s.record(accesslog.TCPPeriodic)
	s.periodic.Set(int64(s.w.p.cfg.logInterval))
}
