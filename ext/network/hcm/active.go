// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"errors"
	"time"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/trace"
)

// active is a stream being served, with all the memory that takes: it belongs
// to a loop and goes from one connection to the next.
type active struct {
	stream.Stream
	conn   *connection
	server codec.ServerStream
	h1     h1.Server
	multi  *h2.ServerStream // nil on HTTP/1
	head   header.Map
	table  *route.Table
	scopes *scopes     // nil unless the routes are scoped
	scope  *routeScope // that the table is of
	chain  *stream.Chain
	start  int64 // loop time
	resp   codec.Response

	idle       engine.Timer // stream_idle_timeout
	idleFor    int64
	moved      int64        // the loop's time when part of the stream has last moved
	total      engine.Timer // max_stream_duration
	request    engine.Timer // request_timeout
	halfClosed engine.Timer
	periodic   engine.Timer // access_log_flush_interval

	gone      bool // an HTTP/2 client no longer wants the response
	used      bool // there is something to wipe
	served    bool // counted as a request
	responded bool // the response's head may have left
	abandoned bool
	ended     bool // the filters know that the stream is over
	upgrading bool
	aborted   bool        // overload ends the connection with this request
	shed      bool        // overload has broken the stream off
	lentKey   bool        // the request's sec-websocket-key is the proxy's
	payload   stream.Body // what follows the head of a request that asks to leave HTTP
	scratch   []byte
	span      trace.Span
}

var (
	errStreamIdle  = errors.New("stream idle timeout")
	errMaxDuration = errors.New("max stream duration reached")
	errRequestTime = errors.New("request timeout")
	errHostReset   = errors.New("the upstream connection was reset")
)

// take returns a stream for the connection.
func (k *connection) take() *active {
	w := k.worker
	var a *active
	if n := len(w.free); n > 0 {
		a = w.free[n-1]
		w.free = w.free[:n-1]
	} else {
		a = new(active)
		a.idle.Init(w.loop, func() { a.interrupt(errStreamIdle) })
		a.total.Init(w.loop, func() { a.interrupt(errMaxDuration) })
		a.request.Init(w.loop, a.requestLate)
		a.halfClosed.Init(w.loop, func() { a.abandon() })
		a.periodic.Init(w.loop, a.logProgress)
	}
	a.conn = k
	return a
}

// maxFreeStreams bounds what a loop keeps.
const maxFreeStreams = 1024

func (w *worker) put(a *active) {
	a.conn, a.server, a.multi = nil, nil, nil
	if len(w.free) < maxFreeStreams {
		w.free = append(w.free, a)
		return
	}
	for _, t := range []*engine.Timer{&a.idle, &a.total, &a.request, &a.halfClosed, &a.periodic} {
		t.Release()
	}
}

// enter begins with a request, which passes the filters as they are now.
func (a *active) enter() {
	a.used = true
	a.chain = a.conn.m.chain.Pin()
}

// wipe forgets the request that was served.
func (a *active) wipe() {
	if a.used {
		a.chain.Unpin()
	}
	a.used, a.chain = false, nil
	a.head.Reset()
	a.Wipe()
}

// ready prepares a wiped stream for the next request of its connection.
func (a *active) ready(t *engine.Task) {
	a.Begin(t, a)
	a.served, a.responded, a.abandoned, a.ended, a.upgrading = false, false, false, false, false
	a.aborted, a.shed = false, false
	a.payload, a.lentKey = nil, false
	a.idleFor = int64(a.conn.m.cfg.streamIdle)
	a.bind()
	a.resp = codec.Response{}
}

// bind has the request be routed by the configuration as it is now.
func (a *active) bind() {
	a.table, a.scopes, a.scope = a.conn.m.table.Load(), a.conn.m.scopes.Load(), nil
}

func (a *active) interrupt(err error) {
	if t := a.Task(); t != nil {
		t.Interrupt(err)
	}
}

// requestLate ends a stream whose request has not arrived whole in time.
func (a *active) requestLate() {
	if !a.server.RequestDone() && !a.responded {
		a.interrupt(errRequestTime)
	}
}

func (a *active) abandon() {
	if a.conn != nil && !a.abandoned {
		a.abandoned = true
		a.interrupt(stream.ErrDownstreamGone)
	}
}

// info begins what is known of the stream.
func (a *active) info(p streaminfo.Protocol) {
	k := a.conn
	i := &a.Info
	i.Conn = k.conn.Info
	i.Protocol = p
	i.Remote = k.conn.Info.Remote
	a.served = true
	a.begin()
	k.stats.RqActive.Inc()
	k.conn.Info.Requests++
}

// begin counts a request and starts its clock.
func (a *active) begin() {
	k := a.conn
	a.start = k.loop.Now()
	a.Info.Start = k.clock.now(a.start)
	k.stats.RqTotal.Inc()
	if a.Info.Protocol >= streaminfo.HTTP2 {
		k.stats.RqHTTP2Total.Inc()
	} else {
		k.stats.RqHTTP1Total.Inc()
	}
}

// arm starts the stream's time limits.
func (a *active) arm() {
	cfg := &a.conn.m.cfg
	a.idleFor = int64(cfg.streamIdle)
	total := cfg.maxStream
	if r := a.Route(); r != nil && r.Forward != nil {
		a.idleFor = int64(r.Forward.IdleTimeout.Or(cfg.streamIdle))
		total = a.duration(r.Forward, total)
	}
	a.startIdle()
	if total > 0 {
		a.total.Set(int64(total))
	}
	if d := cfg.logInterval; d > 0 {
		a.periodic.Set(int64(d))
	}
}

// duration is how long the stream may take by its route; by is the manager's limit.
func (a *active) duration(f *route.Forward, by time.Duration) time.Duration {
	asked, ok := stream.ParseGRPCTimeout(a.Request.Header.Get(header.GRPCTimeout))
	if !ok || !f.UsesMaxStreamDuration || !f.GRPCTimeoutMax.Set {
		return f.MaxStreamDuration.Or(by)
	}
	if most := f.GRPCTimeoutMax.Value; most > 0 {
		asked = min(asked, most)
	}
	if offset := f.GRPCTimeoutOffset.Or(0); asked > 0 {
		asked = max(asked-offset, time.Millisecond)
	}
	return asked
}

func (a *active) disarm() {
	a.idle.Stop()
	a.total.Stop()
	a.request.Stop()
	a.halfClosed.Stop()
	a.periodic.Stop()
}

// Moved keeps the stream from being idle: part of the request or of the response
// has moved.
func (a *active) Moved(int) {
	a.startIdle()
	a.standing()
}

// startIdle begins to wait for part of the stream to move.
func (a *active) startIdle() {
	if a.idleFor > 0 {
		a.moved = a.conn.loop.Now()
		a.idle.Set(a.conn.m.over.streamIdle.Of(a.idleFor))
	}
}

// bound has the client take part of a response in time, or of what follows it, where no limit runs yet or any more:
// a reply to a request that was not let in, or one that tells of this very limit.
func (a *active) bound() {
	if !a.idle.Active() {
		a.startIdle()
	}
}

// standing gives a client that has closed its sending side another moment.
func (a *active) standing() {
	if a.halfClosed.Active() {
		a.halfClosed.Set(int64(halfSentGrace))
	}
}

// Match finds the stream's route. A request that could not be read has no head, and
// so no route: filters see its answer all the same, and may ask.
func (a *active) Match(s *stream.Stream) *route.Route {
	if s.Request.Header == nil {
		return nil
	}
	a.enterScope(s.Request.Header)
	if a.table == nil {
		return nil
	}
	r := a.table.Match(&route.Request{Header: s.Request.Header, Info: &s.Info, Random: s.Random})
	if r != nil {
		s.Info.RouteName = r.Name
		s.Info.RouteMetadata = r.Metadata
		if r.VirtualHost != nil {
			s.Info.VirtualHostName = r.VirtualHost.Name
			s.Info.VirtualCluster = r.VirtualHost.VirtualCluster(s.Request.Header)
		}
	}
	return r
}

// Inform sends an interim response, unless the client cannot take one.
func (a *active) Inform(_ *stream.Stream, h *header.Map) error { return a.server.Inform(h) }

// finish settles the stream: log, statistics, filters that wait for the end.
func (a *active) finish() {
	a.disarm()
	if a.multi == nil {
		a.conn.conn.Socket.Unwatch()
	}
	if !a.served {
		return
	}
	a.served = false
	k, i := a.conn, &a.Info
	a.measure()
	a.end()
	if a.resp.Tunnel {
		k.stats.CxUpgrades.Dec()
	}
	k.stats.RqActive.Dec()
	k.stats.RqTime.Record(uint64(i.Duration.Milliseconds()))
	if i.Status > 0 && a.responded {
		k.stats.count(i.Status)
	}
	a.endTrace()
	a.log(accesslog.DownstreamEnd)
}

// Again settles a request in whose place another goes through the filters: to the log
// and the statistics they are two.
func (a *active) Again(*stream.Stream) {
	k := a.conn
	a.measure()
	k.stats.RqTime.Record(uint64(a.Info.Duration.Milliseconds()))
	k.stats.count(a.Info.Status)
	a.endTrace()
	a.log(accesslog.DownstreamEnd)
	a.Renew()
	a.begin()
	a.idle.Stop()
	a.total.Stop()
	a.arm()
	a.beginTrace()
}

// logProgress writes a record of a stream that goes on.
func (a *active) logProgress() {
	a.measure()
	a.log(accesslog.DownstreamPeriodic)
	a.periodic.Set(int64(a.conn.m.cfg.logInterval))
}

// measure brings what is counted of the stream up to date.
func (a *active) measure() {
	i := &a.Info
	i.Duration = time.Duration(a.conn.loop.Now() - a.start)
	head, body, _ := a.server.Sent()
	if a.responded {
		i.HeaderSent, i.BodySent = uint64(head), body
		i.WireSent = uint64(head) + body
	}
	i.BodyReceived = a.server.Received()
	if h := a.server.Head(); h != nil {
		i.HeaderReceived = uint64(h.Size)
	}
	i.WireReceived = i.HeaderReceived + i.BodyReceived
}

func (a *active) log(typ accesslog.Type) {
	for _, l := range a.conn.m.logs {
		l.Log(a.conn.loop.ID(), &a.Info, typ)
	}
}
