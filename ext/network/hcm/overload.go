// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"net/http"

	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// overloads are the parts of the overload manager that act here. All are nil where it is
// not configured, or not for this.
type overloads struct {
	requests, decode, keepAlive, codec, abort *overload.Level
	idle, streamIdle, longest                 *overload.Timeout
	tell                                      func(h *header.Map) // what a refusal has in its head; nil is nothing
}

// govern has the overload manager act.
func (m *Manager) govern(o *overload.Manager, tell bool) {
	m.over = overloads{
		requests: o.Action(overload.StopAcceptingRequests), decode: o.Point(overload.DecodeHeaders),
		keepAlive: o.Action(overload.DisableHTTPKeepAlive), codec: o.Point(overload.CreateCodec), abort: o.Point(overload.AbortHTTP1),
		idle: o.Timeout(overload.ConnectionIdle), streamIdle: o.Timeout(overload.StreamIdle), longest: o.Timeout(overload.ConnectionMax),
	}
	if tell {
		m.over.tell = func(h *header.Map) { h.Set(header.XEnvoyLocalOverloaded, "true") }
	}
	leave, end := o.Point(overload.GoAwayHTTP2), o.Point(overload.CloseHTTP2)
	if leave == nil && end == nil {
		return
	}
	m.cfg.codecH2.Dispatch = func() h2.Dispatch {
		switch {
		case end.Hits():
			return h2.Close
		case leave.Hits():
			return h2.GoAway
		}
		return h2.GoOn
	}
}

// overloaded answers a request that overload does not let in. No filter sees it.
func (a *active) overloaded() bool {
	o := &a.conn.m.over
	if !o.decode.Hits() && !o.requests.Hits() {
		return false
	}
	a.conn.stats.RqOverload.Inc()
	a.Reply(stream.Reply{
		Status: http.StatusServiceUnavailable, Body: "envoy overloaded", Details: "overload", Flags: streaminfo.OverloadManager, Header: o.tell,
	})
	return true
}

// errAborted ends a request of HTTP/1 of which more has come in overload.
var errAborted = &stream.Error{
	Status: http.StatusInternalServerError, Flags: streaminfo.OverloadManager, Details: "overload_error:Envoy_Overloaded",
	Body: http.StatusText(http.StatusInternalServerError),
}

// errShed breaks off a stream that holds much memory in overload.
var errShed = &stream.Error{Flags: streaminfo.OverloadManager, Details: "overload", Reset: true}

// abort ends a connection of HTTP/1 that has brought the head of a request in overload,
// and tells whether it has.
func (a *active) abort() (ending, bool) {
	if !a.conn.m.over.abort.Hits() {
		return 0, false
	}
	a.conn.stats.RqOverload.Inc()
	a.info(a.version())
	return a.refused(errAborted.Status, errAborted.Details, errAborted.Flags, errAborted.Body), true
}

// arrival is told of the parts of a request's body that arrive.
type arrival active

// Moved keeps the stream from being idle, or ends it in overload.
func (r *arrival) Moved(n int) {
	a := (*active)(r)
	if a.multi == nil && !a.aborted && a.conn.m.over.abort.Hits() {
		a.conn.stats.RqOverload.Inc()
		a.aborted = true
		a.interrupt(errAborted)
	}
	a.Moved(n)
}

// Held is how much memory the stream's messages take, in bytes; nothing once it was shed.
func (a *active) Held() uint64 {
	if !a.served || a.shed {
		return 0
	}
	return a.chain.Held(&a.Stream, a.server.Received())
}

// Shed breaks the stream off.
func (a *active) Shed() {
	a.shed = true
	a.interrupt(errShed)
}

// Streams calls f for each stream that the connection carries.
func (k *connection) Streams(f func(conn.Stream)) { k.each(func(a *active) { f(a) }) }

func (k *connection) each(f func(*active)) {
	if k.a != nil {
		f(k.a)
	}
	if k.multi == nil {
		return
	}
	k.multi.Each(func(s *h2.ServerStream) {
		if a, _ := s.Owner().(*active); a != nil && a.used {
			f(a)
		}
	})
}

// Rescale holds what the connection and its streams wait for against time limits that have
// changed.
func (k *connection) Rescale() {
	if !k.busy() && !k.ending {
		k.arm()
	}
	k.each(func(a *active) {
		if a.idleFor > 0 && a.idle.Active() {
			left := k.m.over.streamIdle.Of(a.idleFor) - (k.loop.Now() - a.moved)
			a.idle.Set(max(left, 1))
		}
	})
}

var _ conn.Governed = (*connection)(nil)
