// SPDX-License-Identifier: Apache-2.0

package router

import (
	"errors"
	"strconv"
	"time"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
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

// errDuration is the error of a stream that takes too long.
func (q *request) errDuration() error {
	if q.ended > 0 {
		return errDurationSent
	}
	return errDurationSending
}

// expire ends the request because of the route's time-out.
func (q *request) expire() {
	if q.s == nil {
		return
	}
	tries := q.hedge.racing
	if len(tries) == 0 {
		q.countTimeout(q.try)
	}
	for _, t := range tries {
		q.countTimeout(t)
	}
	q.failed = errTimeout
	q.s.Task().Interrupt(errTimeout)
}

func (q *request) countTimeout(t *try) {
	q.up.Stats.RqTimeout.Inc()
	if t.host != nil {
		t.host.Local(q.up.Loop()).Stats.RqTimeout.Inc()
	}
}

// tooLong ends a try that takes longer than one may; one that is hedged goes on, and
// another is made.
func (t *try) tooLong(limit error) {
	q := t.q
	if q == nil || q.s == nil {
		return
	}
	if len(q.hedge.racing) > 0 && !t.passed {
		t.racer.late = true
		t.blameLate()
		q.s.Task().Wake()
		return
	}
	t.expire(limit)
}

// expire ends the try because of a time limit of its own.
func (t *try) expire(limit error) {
	q := t.q
	if q == nil || q.s == nil {
		return
	}
	if t.racer.done && !t.passed {
		t.duration.Set(int64(time.Millisecond)) // Nobody waits for it: whoever takes the response will.
		return
	}
	st := q.up.Stats
	switch limit {
	case errTryTimeout:
		st.RqPerTryTimeout.Inc()
	case errTryIdle:
		st.RqPerTryIdleTimeout.Inc()
	default:
		st.RqMaxDurationReached.Inc()
	}
	if t.host != nil && !errors.Is(limit, errDurationSent) && !errors.Is(limit, errDurationSending) {
		t.host.Local(q.up.Loop()).Stats.RqTimeout.Inc()
	}
	t.cut = limit
	t.runner().Interrupt(limit)
}

// listen looks whether anything has moved on the connection. It looks four times
// in the time allowed, so that no byte needs to be told of.
func (t *try) listen() {
	q := t.q
	if q == nil || q.s == nil || t.client == nil {
		return
	}
	limit := int64(q.limits.tryIdle)
	if n := t.client.Traffic(); n != t.heard {
		t.heard, t.heardAt = n, q.loop.Now()
	}
	if q.loop.Now()-t.heardAt >= limit {
		t.tooLong(errTryIdle)
		t.heardAt = q.loop.Now() // One that goes on has as long again.
	}
	t.silence.Set(max(limit/4, int64(time.Millisecond)))
}

func (t *try) stopLimits() {
	t.perTry.Stop()
	t.duration.Stop()
	t.silence.Stop()
}

// forget drops an interrupt that no wait has returned yet, if it is of the try that
// has ended; with all, of the request. Others, such as that the client is gone,
// stay.
func (t *try) forget(all bool) {
	task := t.runner()
	err := task.Pending()
	if err == nil {
		return
	}
	var up *uploadError
	if isTryLimit(err) || errors.As(err, &up) || all && errors.Is(err, errTimeout) {
		task.Clear()
	}
}

// limits are a request's time limits; 0 is none.
type limits struct {
	total, perTry, tryIdle time.Duration
	// duration, where set, takes the place of the cluster's max_stream_duration.
	duration route.OptDuration
	// hedged tells that a try which takes too long goes on while another is made.
	hedged bool
}

// timeouts takes the route's limits and what the request's headers ask instead.
// The headers are the proxy's and do not go upstream.
func (q *request) timeouts(h *header.Map) limits {
	f := q.route.Forward
	l := limits{total: f.Timeout, hedged: f.Hedge != nil && f.Hedge.OnPerTryTimeout}
	if p := q.retryPolicy(); p != nil {
		l.perTry, l.tryIdle = p.PerTryTimeout, p.PerTryIdleTimeout
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
	if d, ok := milliseconds(h, header.XEnvoyUpstreamStreamDurationMs); ok {
		l.duration = route.OptDuration{Value: d, Set: true}
	}
	h.Del(header.XEnvoyUpstreamStreamDurationMs)
	switch string(h.Get(header.XEnvoyHedgeOnPerTryTimeout)) {
	case "true":
		l.hedged = true
	case "false":
		l.hedged = false
	}
	h.Del(header.XEnvoyHedgeOnPerTryTimeout)
}

// tellTimeout tells the host how long it has: what is left of the time, or that of
// one try, after which one that is hedged goes on. A host never reads 0, which would be
// for ever.
func (q *request) tellTimeout(h *header.Map) {
	f, l := q.route.Forward, &q.limits
	d := l.perTry
	if d == 0 || l.hedged {
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
