// SPDX-License-Identifier: Apache-2.0

package router

import (
	"errors"
	"strconv"
	"time"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// What a time limit interrupts a request with.
var (
	errTimeout error = &stream.Error{
		Status: 504, Flags: streaminfo.UpstreamRequestTimeout, Details: "response_timeout", Body: "upstream request timeout",
	}
	errTryTimeout error = &stream.Error{
		Status: 504, Flags: streaminfo.UpstreamRequestTimeout, Details: "upstream_per_try_timeout", Body: "upstream request timeout",
	}
	errTryIdle error = &stream.Error{
		Status: 504, Flags: streaminfo.UpstreamRequestTimeout, Details: "upstream_per_try_idle_timeout", Body: "upstream request timeout",
	}
	errDurationSent error = &stream.Error{
		Status: 504, Flags: streaminfo.UpstreamMaxStreamDurationReached, Details: "upstream_max_stream_duration_reached",
		Body: "upstream max stream duration reached",
	}
	// errDurationSending is for a request that was not complete itself.
	errDurationSending error = &stream.Error{
		Status: 408, Flags: streaminfo.UpstreamMaxStreamDurationReached, Details: "upstream_max_stream_duration_reached",
		Body: "upstream max stream duration reached",
	}
)

// isTryLimit reports whether an error is of a limit that ends one try: another may
// follow.
func isTryLimit(err error) bool {
	return errors.Is(err, errTryTimeout) || errors.Is(err, errTryIdle) ||
		errors.Is(err, errDurationSent) || errors.Is(err, errDurationSending)
}

func (q *request) errDuration() error {
	if q.ended > 0 {
		return errDurationSent
	}
	return errDurationSending
}

// expire ends the request, or the try, because of a time limit.
func (q *request) expire(err error) {
	if q.s == nil {
		return
	}
	st := q.up.Stats
	switch err {
	case errTimeout:
		st.RqTimeout.Inc()
	case errTryTimeout:
		st.RqPerTryTimeout.Inc()
	case errTryIdle:
		st.RqPerTryIdleTimeout.Inc()
	default:
		st.RqMaxDurationReached.Inc()
	}
	if q.host != nil && !errors.Is(err, errDurationSent) && !errors.Is(err, errDurationSending) {
		q.host.Local(q.up.Loop()).Stats.RqTimeout.Inc()
	}
	q.failed = err
	q.s.Task().Interrupt(err)
}

// armTry starts the limits of a try that has its connection.
func (q *request) armTry() {
	if d := q.cluster.HTTP.MaxStreamDuration; d > 0 {
		q.duration.Set(int64(d))
	}
	if d := q.limits.tryIdle; d > 0 {
		q.heard, q.heardAt = q.client.Traffic(), q.loop.Now()
		q.silence.Set(int64(d) / 4)
	}
}

// listen looks whether anything has moved on the connection. It looks four times
// in the time allowed, so that no byte needs to be told of.
func (q *request) listen() {
	if q.s == nil || q.client == nil {
		return
	}
	limit := int64(q.limits.tryIdle)
	if n := q.client.Traffic(); n != q.heard {
		q.heard, q.heardAt = n, q.loop.Now()
	}
	if q.loop.Now()-q.heardAt >= limit {
		q.expire(errTryIdle)
		return
	}
	q.silence.Set(max(limit/4, int64(time.Millisecond)))
}

func (q *request) stopTry() {
	q.try.Stop()
	q.duration.Stop()
	q.silence.Stop()
}

func (q *request) stopTimers() {
	q.total.Stop()
	q.stopTry()
}

// forget drops an interrupt that no wait has returned yet, if it is of the try that
// has ended; with all, of the request. Others, such as that the client is gone,
// stay.
func (q *request) forget(all bool) {
	t := q.s.Task()
	err := t.Pending()
	if err == nil {
		return
	}
	var up *uploadError
	if isTryLimit(err) || errors.As(err, &up) || all && errors.Is(err, errTimeout) {
		t.Clear()
	}
}

// limits are a request's time limits; 0 is none.
type limits struct {
	total, perTry, tryIdle time.Duration
}

// timeouts takes the route's limits and what the request's headers ask instead.
// The headers are the proxy's and do not go upstream.
func (q *request) timeouts(h *header.Map) limits {
	f := q.route.Forward
	l := limits{total: f.Timeout}
	if f.Retry != nil {
		l.perTry, l.tryIdle = f.Retry.PerTryTimeout, f.Retry.PerTryIdleTimeout
	}
	switch {
	case f.UsesMaxStreamDuration:
		l.total = 0 // The stream's duration is limited instead.
	case f.GRPCTimeoutMax.Set && stream.IsGRPC(h.Get(header.ContentType)):
		l.total = grpcTimeout(h, f.GRPCTimeoutMax.Value, f.GRPCTimeoutOffset.Or(0))
	}
	if h.HasEnvoy() {
		q.headerTimeouts(h, &l)
	}
	if l.total > 0 && l.perTry >= l.total {
		l.perTry = 0
	}
	return l
}

// headerTimeouts takes the limits that the request's headers ask for.
func (q *request) headerTimeouts(h *header.Map, l *limits) {
	expected := false
	if q.w.f.respectTimeout {
		if d, ok := milliseconds(h, header.XEnvoyExpectedRqTimeoutMs); ok {
			l.total, expected = d, true
		}
	}
	if d, ok := milliseconds(h, header.XEnvoyUpstreamRqTimeoutMs); ok && !expected {
		l.total = d
	}
	h.Del(header.XEnvoyUpstreamRqTimeoutMs)
	if d, ok := milliseconds(h, header.XEnvoyUpstreamRqPerTryTimeoutMs); ok {
		l.perTry = d
	}
	h.Del(header.XEnvoyUpstreamRqPerTryTimeoutMs)
}

// tellTimeout tells the host how long it has: what is left of the time, or that of
// one try. A host never reads 0, which would be for ever.
func (q *request) tellTimeout(h *header.Map) {
	f, l := q.route.Forward, &q.limits
	d := l.perTry
	if d == 0 {
		d = l.total
	}
	if d == 0 {
		return
	}
	if l.total > 0 && q.s.Info.Attempts > 1 {
		left := l.total - time.Duration(q.loop.Now()-max(q.ended, q.start))
		d = max(min(d, left), time.Millisecond)
	}
	if !q.w.f.suppress {
		h.SetInt(header.XEnvoyExpectedRqTimeoutMs, d.Milliseconds())
	}
	if f.GRPCTimeoutMax.Set && !f.UsesMaxStreamDuration && stream.IsGRPC(h.Get(header.ContentType)) {
		var buf [16]byte
		h.SetBytes(header.GRPCTimeout, appendGRPCTimeout(buf[:0], d))
	}
}

// milliseconds reads a header that holds a whole number of milliseconds.
func milliseconds(h *header.Map, n header.Name) (time.Duration, bool) {
	v := h.Get(n)
	if len(v) == 0 || len(v) > 12 {
		return 0, false
	}
	ms := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		ms = ms*10 + int64(c-'0')
	}
	return time.Duration(ms) * time.Millisecond, true
}

// grpcTimeout is the limit that grpc-timeout asks for.
func grpcTimeout(h *header.Map, most, offset time.Duration) time.Duration {
	v := h.Get(header.GRPCTimeout)
	d, _ := stream.ParseGRPCTimeout(v)
	if d > 0 && offset > 0 && offset < d {
		d -= offset
	}
	if most > 0 && (d == 0 || d > most) {
		return most
	}
	return d
}

// appendGRPCTimeout writes a time-out in the finest unit in which it has at most
// eight digits.
func appendGRPCTimeout(dst []byte, d time.Duration) []byte {
	n, unit := d.Milliseconds(), byte('m')
	for _, next := range [...]struct {
		div  int64
		unit byte
	}{{1000, 'S'}, {60, 'M'}, {60, 'H'}} {
		if n <= 99999999 {
			break
		}
		n, unit = n/next.div, next.unit
	}
	return append(strconv.AppendInt(dst, min(n, 99999999), 10), unit)
}

// streamError tells an error of the stream itself in the words of its owner.
func streamError(err error) error {
	var up *uploadError
	var src *codec.SourceError
	cause := err
	switch {
	case errors.As(err, &up):
		cause = up.err
	case errors.As(err, &src):
		cause = src.Err
	default:
		return err
	}
	var bad *codec.Error
	var own *stream.Error
	var interrupted *engine.Interrupted
	if errors.As(cause, &bad) || errors.As(cause, &own) || errors.As(cause, &interrupted) {
		return err
	}
	return stream.ErrDownstreamGone
}
