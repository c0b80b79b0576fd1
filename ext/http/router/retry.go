// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/pool"
)

// retryState is what a request may still try, and when.
type retryState struct {
	on       route.RetryOn
	left     uint32
	tries    int
	policy   *route.RetryPolicy // nil if only headers ask for retries
	statuses []int              // from x-envoy-retriable-status-codes
	headers  []header.Name      // from x-envoy-retriable-header-names
	holding  bool               // a retry is counted at the breaker
}

func (r *retryState) enabled() bool { return r.on != 0 && r.left > 0 || r.holding }

// begin takes the route's policy and what the request's headers add. The
// headers are the proxy's and do not go upstream.
func (r *retryState) begin(q *request, h *header.Map) {
	p := q.route.Forward.Retry
	if p != nil {
		r.policy, r.on, r.left = p, p.On, p.NumRetries
	}
	if h.HasEnvoy() {
		r.ask(p, h)
	}
	if p != nil && len(p.RequestHeaders) > 0 && !matchesAny(p, h) {
		r.on = 0 // Only such requests may be tried again, whoever asks.
	}
}

// ask takes what the request's headers ask for.
func (r *retryState) ask(p *route.RetryPolicy, h *header.Map) {
	asked := false
	for _, x := range [...]struct {
		name header.Name
		may  route.RetryOn
	}{{header.XEnvoyRetryOn, ^route.RetryAnyGRPC}, {header.XEnvoyRetryGrpcOn, route.RetryAnyGRPC}} {
		if v := h.Get(x.name); v != nil {
			on, _ := route.ParseRetryOn(string(v))
			r.on |= on & x.may
			asked = true
		}
	}
	if asked && p == nil {
		r.left = 1
	}
	if v := h.Get(header.XEnvoyMaxRetries); v != nil && r.on != 0 {
		if n, err := strconv.ParseUint(string(v), 10, 32); err == nil {
			r.left = uint32(n)
		}
	}
	if v := h.Get(header.XEnvoyRetriableStatusCodes); v != nil {
		for _, s := range bytes.Split(v, []byte(",")) {
			if n, err := strconv.Atoi(string(bytes.TrimSpace(s))); err == nil {
				r.statuses = append(r.statuses, n)
			}
		}
	}
	if v := h.Get(header.XEnvoyRetriableHeaderNames); v != nil {
		for _, s := range bytes.Split(v, []byte(",")) {
			r.headers = append(r.headers, header.NewName(string(bytes.TrimSpace(s))))
		}
	}
	for i := range retryHeaders {
		h.Del(retryHeaders[i])
	}
}

func matchesAny(p *route.RetryPolicy, h *header.Map) bool {
	for _, m := range p.RequestHeaders {
		if m.Match(h) {
			return true
		}
	}
	return false
}

var retryHeaders = [...]header.Name{
	header.XEnvoyRetryOn, header.XEnvoyRetryGrpcOn, header.XEnvoyMaxRetries,
	header.XEnvoyRetriableStatusCodes, header.XEnvoyRetriableHeaderNames, header.XEnvoyHedgeOnPerTryTimeout,
}

// wantsResponse reports whether a response is one to try again after.
func (r *retryState) wantsResponse(q *request, status int) bool {
	if r.on == 0 || q.tunnel {
		return false
	}
	if q.head.Has(header.XEnvoyRatelimited) {
		return r.on&route.RetryEnvoyRatelimited != 0
	}
	return r.on&route.Retry5xx != 0 && status >= 500 ||
		r.on&route.RetryGatewayError != 0 && status >= 502 && status <= 504 ||
		r.on&route.RetryRetriable4xx != 0 && status == 409 ||
		r.on&route.RetryStatusCodes != 0 && r.wantsStatus(status) ||
		r.on&route.RetryHeaders != 0 && r.wantsHeaders(&q.head) ||
		r.on&route.RetryAnyGRPC != 0 && r.wantsGRPC(&q.head)
}

func (r *retryState) wantsStatus(status int) bool {
	for _, s := range r.statuses {
		if s == status {
			return true
		}
	}
	return r.policy != nil && r.policy.RetriableStatus(status)
}

func (r *retryState) wantsHeaders(h *header.Map) bool {
	for _, n := range r.headers {
		if h.Has(n) {
			return true
		}
	}
	if r.policy != nil {
		for _, m := range r.policy.Headers {
			if m.Match(h) {
				return true
			}
		}
	}
	return false
}

// wantsGRPC looks at the status of a trailers-only response.
func (r *retryState) wantsGRPC(h *header.Map) bool {
	switch string(h.Get(header.GRPCStatus)) {
	case "1":
		return r.on&route.RetryGRPCCancelled != 0
	case "4":
		return r.on&route.RetryGRPCDeadline != 0
	case "8":
		return r.on&route.RetryGRPCExhausted != 0
	case "13":
		return r.on&route.RetryGRPCInternal != 0
	case "14":
		return r.on&route.RetryGRPCUnavailable != 0
	}
	return false
}

// wantsReset reports whether a failed try is one to try again after.
func (r *retryState) wantsReset(q *request, why reset) bool {
	switch why {
	case noReset, resetStream, resetOverflow, resetNoHost:
		return false
	case resetConnect, resetConnectTime:
		return r.on&(route.RetryConnectFailure|route.Retry5xx|route.RetryGatewayError|route.RetryReset|route.RetryResetBeforeRequest) != 0
	default:
	}
	if r.on&(route.Retry5xx|route.RetryGatewayError|route.RetryReset) != 0 {
		return true
	}
	if why == resetRefused && r.on&route.RetryRefusedStream != 0 {
		return true
	}
	_, _, begun := q.client.Sent()
	return r.on&route.RetryResetBeforeRequest != 0 && !begun
}

// again readies the next try, after its pause, or reports that there is none: then
// out is how the request ends.
func (q *request) again(out *outcome) bool {
	r, st := &q.retry, q.up.Stats
	retried := r.holding
	q.release()
	wanted := out.err == nil && r.wantsResponse(q, out.status) || out.err != nil && r.wantsReset(q, out.reset)
	if !wanted {
		if retried && out.err == nil {
			st.RqRetrySuccess.Inc()
		}
		return false
	}
	if r.left == 0 {
		st.RqRetryLimitExceeded.Inc()
		q.s.Info.Flags |= streaminfo.UpstreamRetryLimitExceeded
		return false
	}
	if q.s.Request.Body != nil && !q.replay.rewindable() {
		q.w.stats.RetrySkipped.Inc()
		return false
	}
	r.left--
	if !q.cluster.Resources(q.priority()).Retries.TryAcquire() {
		st.RqRetryOverflow.Inc()
		q.s.Info.Flags |= streaminfo.UpstreamOverflow
		return false
	}
	r.holding = true
	st.RqRetry.Inc()
	if out.err == nil {
		st.Retried.Inc(out.status)
	} else {
		q.countReset(out)
	}
	timedOut := out.reset == resetTry
	pause := q.pause(out)
	q.drain()
	q.abandon()
	if q.failed != errTimeout {
		q.failed = nil
	}
	if err := q.s.Task().Sleep(pause); err != nil {
		*out = outcome{err: err, reset: resetStream}
		return false
	}
	q.nextHead(timedOut)
	return true
}

// nextHead readies the request's head for another try.
func (q *request) nextHead(timedOut bool) {
	h := q.s.Request.Header
	q.s.Info.Attempts++
	if vh := q.route.VirtualHost; vh != nil && !q.w.f.suppress {
		if vh.IncludeRequestAttemptCount {
			h.SetInt(header.XEnvoyAttemptCount, int64(q.s.Info.Attempts))
		}
		if vh.IncludeIsTimeoutRetryHeader {
			if timedOut {
				h.Set(header.XEnvoyIsTimeoutRetry, "true")
			} else {
				h.Del(header.XEnvoyIsTimeoutRetry)
			}
		}
	}
	q.tellTimeout(h)
	q.pick.Override, q.pick.OverrideStrict = nil, false // As in Envoy, a retry may go anywhere.
	if p := q.retry.policy; p != nil && len(p.HostPredicates) > 0 {
		q.pick.Skip, q.pick.MaxAttempts = q.skip, int(min(p.HostAttempts, 1<<16))
	}
}

// unwanted reports whether a retry should go to another host.
func (q *request) unwanted(h *upstream.Host) bool {
	for _, p := range q.retry.policy.HostPredicates {
		if p.(upstream.HostPredicate)(h, q.pick.Attempted) {
			return true
		}
	}
	return false
}

// release gives a retry that is over back to the breaker.
func (q *request) release() {
	if q.retry.holding {
		q.retry.holding = false
		q.cluster.Resources(q.priority()).Retries.Release()
	}
}

// pause is how long to wait: as a response asks, or a random part of an interval
// that doubles with each try.
func (q *request) pause(out *outcome) time.Duration {
	r, st := &q.retry, q.up.Stats
	r.tries++
	base, most := 25*time.Millisecond, 250*time.Millisecond
	if p := r.policy; p != nil {
		if out.err == nil && p.RateLimited != nil {
			if d, ok := p.RateLimited.Interval(&q.head, time.Now()); ok {
				st.RqRetryBackoffRatelimited.Inc()
				return d
			}
		}
		if p.BackOffBase > 0 {
			base, most = p.BackOffBase, max(p.BackOffMax, p.BackOffBase)
		}
	}
	st.RqRetryBackoffExponential.Inc()
	return time.Duration(rand.Int64N(int64(interval(base, most, r.tries))))
}

// interval is the time of which the pause before a retry, counted from 1, is a random
// part: base, twice base, and so on up to most.
func interval(base, most time.Duration, retry int) time.Duration {
	d := base
	for range min(retry-1, 64) {
		if d >= most/2 {
			return most
		}
		d *= 2
	}
	return max(min(d, most), 1)
}

// maxDrain is how much of a response that is not wanted is read so that its
// connection can be kept.
const maxDrain = 64 << 10

// drain reads what is there of a response that is not wanted.
func (q *request) drain() {
	b := q.s.Response.Body
	if q.client == nil || b == nil || q.s.Response.Header != &q.head {
		return
	}
	for n := 0; n < maxDrain && b.Ready(); {
		p, err := b.Next()
		n += len(p)
		if err == io.EOF {
			q.leave()
			return
		}
		if err != nil {
			return
		}
	}
}

// countReset counts a try that failed after it had a host.
func (q *request) countReset(out *outcome) {
	st := q.up.Stats
	switch {
	case q.client == nil:
	case out.reset == resetTermination, out.reset == resetRemote, out.reset == resetRefused:
		st.RqRxReset.Inc()
	default:
		st.RqTxReset.Inc()
	}
	if q.host != nil && out.reset != resetOverflow && out.reset != resetStream {
		q.host.Local(q.up.Loop()).Stats.RqError.Inc()
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
	told.Header = q.localHead
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
	e := &stream.Error{Status: r.status, Flags: r.flags, Details: details + "}", Body: text, Err: out.err, Header: q.localHead}
	if out.reset == resetOverflow {
		e.Header = func(h *header.Map) {
			if !q.w.f.suppress {
				h.Set(header.XEnvoyOverloaded, "true")
			}
			q.localHead(h)
		}
	}
	return e
}

func underscored(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c == ' ' {
			b[i] = '_'
		}
	}
	return string(b)
}
