// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"errors"
	"io"
	"time"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

// connection is one downstream connection. While it is idle this is all there is of
// it.
type connection struct {
	*worker
	conn  *conn.Conn
	multi *h2.Server   // nil unless it speaks HTTP/2
	timer engine.Timer // closes the connection while it is idle
	born  int64        // the loop's time when it began
	since int64        // the loop's time since when it is idle
	// lapse is why the timer runs.
	lapse    lapse
	draining bool
	begun    bool    // it has brought something
	counted  bool    // as one of HTTP/1
	ending   bool    // it was told to end after what is in flight
	remote   bool    // the client closed
	broken   bool    // it ends in the midst of a stream
	a        *active // the stream being served, or nil
	client   *string // what x-forwarded-client-cert tells of the client, once it was asked
}

type lapse uint8

const (
	lapseIdle lapse = iota
	lapseDuration
	lapseDrain
)

// drainGrace is how long a connection that drains may stay idle: long enough
// for a client that is about to send, so that no request meets a closed door.
const drainGrace = 5 * time.Second

// rest begins to wait for the end of a connection that is idle from now on.
func (k *connection) rest() {
	k.since = k.loop.Now()
	k.arm()
}

// arm sets the timer of an idle connection.
func (k *connection) arm() {
	now := k.loop.Now()
	d := k.m.over.idle.Of(int64(k.m.cfg.idleTimeout))
	k.lapse = lapseIdle
	if k.draining && (d == 0 || d > int64(drainGrace)) {
		d, k.lapse = int64(drainGrace), lapseDrain
	}
	if d > 0 {
		d = max(d-(now-k.since), 1)
	}
	if until := k.until(); until > 0 {
		if left := max(until-now, 1); d == 0 || left < d {
			d, k.lapse = left, lapseDuration
		}
	}
	if d > 0 {
		k.timer.Set(d)
	}
}

// until is the loop's time at which the connection is to end; 0 is never.
func (k *connection) until() int64 {
	d := k.m.over.longest.Of(int64(k.m.cfg.maxConnection))
	if d == 0 {
		return 0
	}
	return k.born + d
}

// expire closes the connection: it has been idle for too long, or open for too
// long. One that is busy is left to end after its stream.
func (k *connection) expire() {
	if k.busy() {
		return
	}
	switch k.lapse {
	case lapseDuration:
		if !k.ending { // Else the last response has counted it.
			k.stats.CxMaxDuration.Inc()
		}
	case lapseDrain:
		k.stats.CxDrainClose.Inc()
	default:
		k.stats.CxIdleTimeout.Inc()
	}
	if k.multi != nil && !k.ending {
		k.drainStreams()
		k.timer.Set(int64(drainGrace))
		return
	}
	k.conn.Close()
}

// busy reports whether a stream is being served.
func (k *connection) busy() bool { return k.a != nil || k.multi != nil && k.multi.Streams() > 0 }

// Serve serves requests until there is nothing to read.
func (k *connection) Serve(t *engine.Task, c *conn.Conn) bool {
	if !k.begun {
		k.begun = true
		if k.m.over.codec.Hits() {
			k.stats.RqOverload.Inc()
			c.Info.CloseReason = "overload"
			return false
		}
	}
	if k.multi == nil {
		if keep := k.serveHTTP1(t); k.multi == nil {
			return keep
		}
	}
	if k.multi.Serve(t) {
		return true
	}
	if c.Linger(t, k.m.cfg.delayedClose) { // So that its last frames are not lost to a reset.
		k.stats.CxDelayedClose.Inc()
	}
	return false
}

// serveHTTP1 serves the requests of HTTP/1, unless the connection turns out to be one
// of HTTP/2.
func (k *connection) serveHTTP1(t *engine.Task) bool {
	k.timer.Stop()
	a := k.take()
	k.a = a
	a.server = &a.h1
	a.h1.Attach(k.ends(), &k.m.cfg.codec)
	a.h1.OnBody((*arrival)(a))
	a.ready(t)
	defer func() {
		if a.used { // A panic came between.
			a.finish()
			a.wipe()
		}
		k.a = nil
		a.h1.Detach()
		k.put(a)
	}()
	for {
		err := a.h1.ReadRequest(t, k.m.headTimeout(), &a.Request, &a.head)
		if err == h1.ErrIdle {
			k.rest()
			return true
		}
		if err == h1.ErrPreface && k.switches() {
			k.speakHTTP2(a.h1.Rest())
			k.rest() // It may never send a request.
			return true
		}
		if err == nil && k.upgradeH2C(t, a) {
			return true
		}
		k.countHTTP1()
		a.enter()
		end := a.answer(err)
		a.finish()
		if end == lingers {
			a.linger(t)
		}
		keep := end == goesOn && !a.abandoned
		a.wipe()
		if !keep {
			return false
		}
		a.ready(t)
	}
}

// answer serves a request of HTTP/1, or says why it is not served.
func (a *active) answer(err error) ending {
	if err != nil {
		return a.refuse(err)
	}
	if end, is := a.abort(); is {
		return end
	}
	return a.serve()
}

// ending is what becomes of a connection after a stream.
type ending uint8

const (
	// closes ends it at once.
	closes ending = iota
	// lingers ends it once the client has taken the response.
	lingers
	// goesOn takes the next request.
	goesOn
)

// headTimeout bounds a request's head: by its own limit, or else by the idle
// limit of streams, so that a client that drips bytes holds no task for ever.
func (m *Manager) headTimeout() time.Duration {
	if m.cfg.headersTimeout > 0 {
		return m.cfg.headersTimeout
	}
	return m.cfg.streamIdle
}

// Drain announces the end with the next response, and ends an idle connection
// after a moment's grace.
func (k *connection) Drain(*conn.Conn) {
	k.draining = true
	if k.multi != nil {
		k.drainStreams()
	}
	if !k.busy() {
		k.timer.Release()
		k.rest()
	}
}

// lastRequest reports whether the response at hand is to be the last of the
// connection.
func (k *connection) lastRequest() bool {
	cfg := &k.m.cfg
	switch {
	case k.draining, k.m.drain != nil && k.m.drain():
		k.stats.CxDrainClose.Inc()
	case k.m.over.keepAlive.Hits():
		k.stats.CxNoKeepAlive.Inc()
		k.stats.CxDrainClose.Inc()
	case k.until() > 0 && k.loop.Now() >= k.until():
		k.stats.CxMaxDuration.Inc()
	case cfg.maxRequests > 0 && k.conn.Info.Requests >= cfg.maxRequests:
		k.stats.CxMaxRequests.Inc()
	default:
		return false
	}
	return true
}

// Closed settles the connection's statistics.
func (k *connection) Closed(c *conn.Conn) {
	k.timer.Release()
	st := k.stats
	st.CxActive.Dec()
	switch {
	case k.multi != nil:
		st.CxHTTP2Active.Dec()
		k.countError()
		k.multi.Close(io.EOF)
	case k.counted:
		st.CxHTTP1Active.Dec()
	}
	st.CxDestroy.Inc()
	if k.remote || c.Socket.HungUp() {
		st.CxDestroyRemote.Inc()
	} else {
		st.CxDestroyLocal.Inc()
	}
	if k.broken || k.a != nil {
		st.CxDestroyActive.Inc()
	}
	st.CxRxBytes.Add(c.Socket.Received)
	st.CxTxBytes.Add(c.Socket.Sent)
	st.CxLength.Record(uint64(time.Since(c.Info.Start).Milliseconds()))
}

// countError counts why a connection of HTTP/2 was ended, if its client is to blame.
func (k *connection) countError() {
	var e *h2.ConnectionError
	if !errors.As(k.multi.Err(), &e) || e.Remote {
		return
	}
	if e == h2.ErrShed {
		k.stats.RqOverload.Inc()
		return
	}
	if k.stats.CxProtocolError.Inc(); e == h2.ErrHeadTimeout {
		k.stats.RqHeadTimeout.Inc()
	}
}

// HungUp interrupts the stream when the client is gone. A client that has only
// closed its sending side may still wait for the response: it gets a moment.
func (k *connection) HungUp(_ *engine.Conn, gone bool) {
	k.remote = true
	if k.a == nil {
		return
	}
	if gone {
		k.a.abandon()
		return
	}
	if !k.a.resp.Tunnel { // Which has two halves by right.
		k.a.halfClosed.Set(int64(halfCloseGrace))
		if k.a.responded {
			k.a.standing()
		}
	}
}

// halfCloseGrace is how long a stream may stand still after its client has closed
// its sending side. Envoy ends it at once; scripts that send a request and the end
// of their stream together would never see a response. Once it has begun a stream
// has halfSentGrace; as long as it moves, a client that is gone answers it with a
// reset.
const (
	halfCloseGrace = time.Second
	halfSentGrace  = 3 * time.Second
)

// ends returns the connection as the codec sees it.
func (k *connection) ends() codec.Ends {
	return codec.Ends{Transport: k.conn.Transport, Socket: k.conn.Socket, Plain: k.conn.Plain(), Loop: k.loop}
}

// version is the protocol of a request that may have no head.
func (a *active) version() streaminfo.Protocol {
	if a.multi != nil {
		return streaminfo.HTTP2
	}
	return streaminfo.HTTP11
}

// refuse answers a request that could not be read.
func (a *active) refuse(err error) ending {
	k := a.conn
	var bad *codec.Error
	switch {
	case errors.As(err, &bad):
		k.stats.CxProtocolError.Inc()
		if bad.Status == 431 || bad.Status == 414 {
			k.stats.RqTooLarge.Inc()
		}
		if bad == h1.ErrUnderscore {
			k.stats.UnderscoreRejected.Inc()
		}
		a.info(a.version())
		return a.refused(bad.Status, bad.Detail, streaminfo.DownstreamProtocolError, bad.Reason)
	case errors.Is(err, h1.ErrHeadTimeout):
		k.stats.RqHeadTimeout.Inc()
		a.info(streaminfo.HTTP11)
		return a.refused(408, "request_header_timeout", 0, "request head timeout")
	case err == io.EOF:
		k.remote = true
	default:
		k.remote = true
		k.conn.Info.Termination = err.Error()
	}
	return closes
}
