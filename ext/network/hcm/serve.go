// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"errors"
	"net/http"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// serve takes one request from its head to the end of its response.
func (a *active) serve() ending {
	k, hd := a.conn, a.server.Head()
	a.info(hd.Version)
	a.Info.Request = a.Request.Header
	a.Info.RequestTrailer = a.Request.Trailer
	a.Random = k.rand.next()
	a.resp.Progress = a
	if hd.Underscored > 0 {
		k.stats.UnderscoreDropped.Add(uint64(hd.Underscored))
	}
	if a.multi == nil {
		k.conn.Socket.Watch(k)
	}
	ok := false
	if a.overloaded() {
		var none stream.Chain
		ok = none.Answer(&a.Stream)
	} else if a.prepare(hd) && a.admit(hd) {
		a.arm()
		a.beginTrace()
		a.expect(hd)
		if d := k.m.cfg.requestTimeout; d > 0 && a.Request.Body != nil && !a.upgrading {
			a.request.Set(int64(d))
		}
		if k.m.cfg.logNewRequest {
			a.log(accesslog.DownstreamStart)
		}
		ok = a.chain.Serve(&a.Stream)
	} else {
		ok = a.chain.Answer(&a.Stream)
	}
	if !ok {
		a.breakOff()
		return closes
	}
	return a.respond()
}

// expect arranges that a client that waits for 100 (Continue) gets it when the
// body is first wanted, unless the upstream is to decide.
func (a *active) expect(hd *codec.Head) {
	if !hd.Expect100 || a.Info.Protocol == streaminfo.HTTP10 {
		return
	}
	if a.conn.m.cfg.proxy100 {
		a.Request.Header.Set(header.Expect, "100-continue")
		return
	}
	a.Request.Header.Del(header.Expect)
	a.server.OnContinue(func() error {
		var h header.Map
		h.Add(header.Status, "100")
		a.conn.stats.Rq1xx.Inc()
		return a.server.Inform(&h)
	})
}

// respond sends the response.
func (a *active) respond() ending {
	k := a.conn
	a.finishHead()
	a.resp.Tunnel = a.upgrading && a.tunnels()
	if a.resp.Tunnel {
		a.halfClosed.Stop()
		k.stats.CxUpgradesTotal.Inc()
		k.stats.CxUpgrades.Inc()
		if k.m.cfg.logTunnel {
			a.measure()
			a.log(accesslog.DownstreamTunnelSuccessfullyEstablished)
		}
	}
	connect := string(a.Request.Header.Get(header.Method)) == http.MethodConnect
	if a.upgrading && !a.resp.Tunnel {
		a.server.NoTunnel()
	}
	if a.Replied() && len(a.Info.Upstream.HostsAttempted) == 0 && !a.server.RequestDone() {
		// Nobody reads the request's body: if it is there and short, the connection
		// need not end.
		a.server.Finish()
	}
	early := !a.server.RequestDone() && !a.resp.Tunnel
	if early {
		k.stats.RqEarly.Inc()
	}
	a.resp.Close = !k.ending && k.lastRequest()
	if a.multi != nil {
		if a.resp.Close {
			k.drainStreams()
		}
	} else if !a.server.Head().KeepAlive || early && a.Replied() || a.aborted || connect && !a.resp.Tunnel {
		// After CONNECT a client may have sent payload already; as requests it would be
		// somebody else's.
		a.resp.Close = true
	}
	a.responded = true
	a.standing()
	a.bound()
	a.Info.Timing.DownstreamFirstTx = k.loop.Now() - a.start
	last, err := a.send()
	a.Info.Timing.DownstreamLastTx = k.loop.Now() - a.start
	if err != nil {
		if _, _, begun := a.server.Sent(); !begun && !a.resp.Tunnel {
			return a.instead(err)
		}
		a.failed(err)
		return closes
	}
	// Nobody else reads the request's body from here on.
	a.end()
	if a.resp.Tunnel {
		return lingers
	}
	if last || !a.server.Finish() {
		return lingers
	}
	return goesOn
}

// instead answers for a response whose body failed before any of it was sent. The
// filters have seen the response that is not sent; they do not see this one.
func (a *active) instead(err error) ending {
	var src *codec.SourceError
	if !errors.As(err, &src) {
		a.failed(err)
		return closes
	}
	if !a.Fail(bodyError(src.Err)) {
		a.breakOff()
		return closes
	}
	var none stream.Chain
	none.Answer(&a.Stream)
	a.finishHead()
	a.resp.Close = true
	a.bound()
	if _, err := a.server.WriteResponse(&a.Response, a.Info.Status, &a.resp); err != nil {
		a.failed(err)
		return closes
	}
	return lingers
}

// bodyError says what an error of the upstream's body means for the client.
func bodyError(err error) error {
	var bad *codec.Error
	var own *stream.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &bad):
		return &stream.Error{
			Status: http.StatusBadGateway, Flags: streaminfo.UpstreamProtocolError,
			Details: "upstream_reset_before_response_started{protocol_error}", Body: "the upstream's response is malformed", Err: err,
		}
	}
	return &stream.Error{
		Status: http.StatusServiceUnavailable, Flags: streaminfo.UpstreamConnectionTermination,
		Details: "upstream_reset_before_response_started{connection_termination}", Body: "the upstream closed before its response ended", Err: err,
	}
}

// end tells the filters that the stream is over, once.
func (a *active) end() {
	if !a.ended {
		a.ended = true
		a.chain.End(&a.Stream)
	}
}

// linger waits for the client to take the response, if closing now could make
// the kernel reset the connection because of bytes nobody has read: of this
// request, or of one that the client sent before it learned of the end.
func (a *active) linger(t *engine.Task) {
	k := a.conn
	c, hd := k.conn, a.server.Head()
	agreed := hd != nil && !hd.KeepAlive && a.server.RequestDone()
	if agreed && !a.h1.Buffered() && !c.Transport.Ready() {
		return
	}
	a.h1.Detach()
	t.Clear()
	if c.Linger(t, k.m.cfg.delayedClose) {
		k.stats.CxDelayedClose.Inc()
	}
}

// refused answers a request that never became a stream for the filters.
func (a *active) refused(status int, details string, flags streaminfo.Flags, body string) ending {
	a.Info.Request = &a.head
	a.Reply(stream.Reply{Status: status, Details: details, Flags: flags, Body: body})
	if !a.chain.Answer(&a.Stream) {
		return closes
	}
	a.finishHead()
	a.resp.Close, a.responded = true, true
	a.bound()
	if _, err := a.server.WriteResponse(&a.Response, a.Info.Status, &a.resp); err != nil {
		return closes
	}
	return lingers
}

// breakOff ends a stream that has no answer.
func (a *active) breakOff() {
	a.conn.stats.RqTxReset.Inc()
	a.reset()
}

// reset has the client see that its exchange is over and not complete.
func (a *active) reset() {
	a.conn.broken = a.multi == nil
	a.server.Reset()
}

// failed notes why a response could not be sent whole. What the client has of
// it must not look complete, so the connection is reset.
func (a *active) failed(err error) {
	i := &a.Info
	var src *codec.SourceError
	var own *stream.Error
	switch {
	case errors.Is(err, stream.ErrDownstreamGone):
		i.Flags |= streaminfo.DownstreamConnectionTermination
		i.StatusDetails = "downstream_remote_disconnect"
		a.conn.stats.RqRxReset.Inc()
	case errors.Is(err, errStreamIdle):
		i.Flags |= streaminfo.StreamIdleTimeout
		i.StatusDetails = "stream_idle_timeout"
		a.conn.stats.RqIdleTimeout.Inc()
	case errors.Is(err, errMaxDuration):
		i.Flags |= streaminfo.DurationTimeout
		i.StatusDetails = "max_duration_timeout"
		a.conn.stats.RqMaxDuration.Inc()
	case errors.As(err, &own): // Such as a time limit, whichever side was waited for.
		i.Flags |= own.Flags
		i.StatusDetails = own.Details
	case errors.As(err, &src):
		i.StatusDetails = "upstream_reset_after_response_started"
		i.Flags |= streaminfo.UpstreamConnectionTermination
	default:
		i.Flags |= streaminfo.DownstreamConnectionTermination
		i.StatusDetails = "downstream_remote_disconnect"
		a.conn.stats.RqRxReset.Inc()
	}
	a.conn.stats.RqTxReset.Inc()
	a.reset()
}

// Explain turns an error of this package's own limits into a reply.
func (a *active) Explain(err error) *stream.Error {
	st := a.conn.stats
	var bad *codec.Error
	switch {
	case errors.Is(err, errStreamIdle):
		st.RqIdleTimeout.Inc()
		status := http.StatusRequestTimeout
		if a.server.RequestDone() {
			status = http.StatusGatewayTimeout
		}
		return &stream.Error{Status: status, Flags: streaminfo.StreamIdleTimeout, Details: "stream_idle_timeout", Body: "stream timeout"}
	case errors.Is(err, errMaxDuration):
		st.RqMaxDuration.Inc()
		status := http.StatusRequestTimeout
		if a.server.RequestDone() {
			status = http.StatusGatewayTimeout
		}
		return &stream.Error{Status: status, Flags: streaminfo.DurationTimeout, Details: "max_duration_timeout", Body: "downstream duration timeout", GRPCStatus: stream.GRPC(4)}
	case errors.Is(err, errRequestTime):
		st.RqTimeout.Inc()
		return &stream.Error{Status: http.StatusRequestTimeout, Details: "request_overall_timeout", Body: "request timeout"}
	case errors.As(err, &bad):
		st.CxProtocolError.Inc()
		return &stream.Error{Status: bad.Status, Flags: streaminfo.DownstreamProtocolError, Details: bad.Detail, Body: bad.Reason}
	}
	return nil
}
