// SPDX-License-Identifier: Apache-2.0

package router

import (
	"errors"
	"net/http"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/pool"
)

// outcome is how a try ended: with a response's head, or with an error.
type outcome struct {
	status int
	err    error
	reset  reset
}

// reset says at which point a try failed, in the words of Envoy's stream reset
// reasons.
type reset uint8

const (
	noReset          reset = iota
	resetNoHost            // no host could be picked
	resetOverflow          // a circuit breaker is open
	resetConnect           // the connection could not be made
	resetConnectTime       // nor in time
	resetTermination       // the connection ended before a response
	resetProtocol          // the host answered nonsense
	resetRemote            // the host broke the exchange off
	resetRefused           // the host did so before it looked at the request
	resetTry               // a time limit of the try
	resetStream            // the stream itself ended: time-out, client gone
)

func connectReset(err error) reset {
	var ce *pool.ConnectError
	switch {
	case errors.Is(err, pool.ErrOverflow):
		return resetOverflow
	case errors.As(err, &ce) && ce.Timeout():
		return resetConnectTime
	case errors.As(err, &ce), errors.Is(err, pool.ErrClosed):
		return resetConnect
	}
	return resetOf(err)
}

// resetOf sorts an error of sending.
func resetOf(err error) reset {
	var src *codec.SourceError
	var interrupted *engine.Interrupted
	switch {
	case isTryLimit(err):
		return resetTry
	case errors.As(err, &src), errors.As(err, &interrupted):
		return resetStream
	}
	return resetTermination // The end of the connection, orderly or not, or it was closed here.
}

// resetBy sorts an error of the exchange.
func (t *try) resetBy(err error) reset {
	var bad *codec.Error
	var src *codec.SourceError
	var remote *codec.ResetError
	var interrupted *engine.Interrupted
	switch {
	case errors.As(err, &src), errors.As(err, &interrupted):
	case errors.As(err, &bad):
		t.q.up.Stats.CxProtocolError.Inc()
		return resetProtocol
	case errors.As(err, &remote) && remote.Refused:
		return resetRefused
	case remote != nil:
		return resetRemote
	case errors.Is(err, h1.ErrIncomplete):
		return resetTermination
	}
	return resetOf(err)
}

// countReset counts a try that failed after it had a host.
func (t *try) countReset(out *outcome) {
	st := t.q.up.Stats
	switch {
	case t.client == nil:
	case out.reset == resetTermination, out.reset == resetRemote, out.reset == resetRefused:
		st.RqRxReset.Inc()
	default:
		st.RqTxReset.Inc()
	}
	if t.host != nil && out.reset != resetOverflow && out.reset != resetStream {
		t.host.Local(t.q.up.Loop()).Stats.RqError.Inc()
	}
}

// countAborted counts a try that failed while others go on like a request that did, as
// Envoy does.
func (t *try) countAborted(out *outcome) {
	var e *stream.Error
	switch r, ok := reasons[out.reset]; {
	case ok:
		t.q.up.Stats.Response(r.status)
	case out.reset == resetTry && errors.As(out.err, &e):
		t.q.up.Stats.Response(e.Status)
	}
}

// failure turns a try that failed into the error that the client is told.
func (q *request) failure(out *outcome) error {
	st := q.up.Stats
	var e *stream.Error
	switch out.reset {
	case resetNoHost:
		st.Response(http.StatusServiceUnavailable)
		return out.err
	case resetStream:
		if q.client == nil && q.host != nil {
			st.RqCancelled.Inc()
		}
		q.countReset(out)
		if !errors.As(out.err, &e) || e != errTimeout {
			return streamError(out.err)
		}
	case resetTry:
		q.countReset(out)
		if !errors.As(out.err, &e) {
			return out.err
		}
	default:
		return q.upstreamError(out)
	}
	told := *e
	told.Header = q.tellAttempts
	if q.quiet && told.Flags == streaminfo.UpstreamRequestTimeout {
		told.Status, told.Body = http.StatusNoContent, ""
	}
	st.Response(told.Status)
	return &told
}

// reasons are the words, flags and statuses of resets as Envoy has them.
var reasons = map[reset]struct {
	text   string
	flags  streaminfo.Flags
	status int
}{
	resetOverflow:    {"overflow", streaminfo.UpstreamOverflow, 503},
	resetConnect:     {"remote connection failure", streaminfo.UpstreamConnectionFailure, 503},
	resetConnectTime: {"connection timeout", streaminfo.UpstreamConnectionFailure, 503},
	resetTermination: {"connection termination", streaminfo.UpstreamConnectionTermination, 503},
	resetProtocol:    {"protocol error", streaminfo.UpstreamProtocolError, 502},
	resetRemote:      {"remote reset", streaminfo.UpstreamRemoteReset, 503},
	resetRefused:     {"remote refused stream reset", streaminfo.UpstreamRemoteReset, 503},
}

func (q *request) upstreamError(out *outcome) error {
	r := reasons[out.reset]
	text := "upstream connect error or disconnect/reset before headers. "
	if q.s.Info.Attempts > 1 {
		text += "retried and the latest "
	}
	text += "reset reason: " + r.text
	details := "upstream_reset_before_response_started{" + underscored(r.text)
	var ce *pool.ConnectError
	switch {
	case errors.As(out.err, &ce) && out.reset == resetConnect:
		q.s.Info.Upstream.FailureReason = ce.Reason()
		text += ", transport failure reason: " + ce.Reason()
		details += "|" + underscored(ce.Reason())
	case out.reset == resetConnect, out.reset == resetConnectTime, out.reset == resetProtocol:
		q.s.Info.Upstream.FailureReason = out.err.Error()
	}
	q.countReset(out)
	q.up.Stats.Response(r.status)
	e := &stream.Error{Status: r.status, Flags: r.flags, Details: details + "}", Body: text, Err: out.err, Header: q.tellAttempts}
	if out.reset == resetOverflow {
		e.Header = q.overloaded
	}
	return e
}

// overloaded tells on a reply made here that the request was dropped.
func (q *request) overloaded(h *header.Map) {
	if !q.w.f.suppress {
		h.Set(header.XEnvoyOverloaded, "true")
	}
	q.tellAttempts(h)
}

func (q *request) noHost(f upstream.Failure) error {
	e := &stream.Error{Status: 503, Flags: streaminfo.NoHealthyUpstream, Details: f.String(), Body: "no healthy upstream", Header: q.tellAttempts}
	if d := &q.s.Destination; q.pick.OverrideStrict && d.Status != 0 {
		e.Status = d.Status
	}
	if f == upstream.DroppedOverload {
		e.Flags, e.Body = streaminfo.DropOverload, "drop overload"
		e.Header = func(h *header.Map) {
			if !q.w.f.suppress {
				h.Set(dropOverload, "true")
			}
			q.tellAttempts(h)
		}
	}
	return e
}

var dropOverload = header.NewName("x-envoy-drop-overload")

func underscored(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c == ' ' {
			b[i] = '_'
		}
	}
	return string(b)
}
