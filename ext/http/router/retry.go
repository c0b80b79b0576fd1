// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// retryState is what a request may still try, and when.
type retryState struct {
	on       route.RetryOn
	left     uint32
	tries    int
	policy   *route.RetryPolicy // nil if only headers ask for retries
	statuses []int              // from x-envoy-retriable-status-codes
	headers  []header.Name      // from x-envoy-retriable-header-names
	holding  bool               // a retry is counted at the breaker,
	breaker  *breaker.Limit     // this one
}

func (r *retryState) enabled() bool { return r.on != 0 && r.left > 0 || r.holding }

// begin takes the route's policy and what the request's headers add. The
// headers are the proxy's and do not go upstream.
func (r *retryState) begin(q *request, h *header.Map) {
	p := q.retryPolicy()
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
	header.XEnvoyRetriableStatusCodes, header.XEnvoyRetriableHeaderNames,
}

// wantsResponse reports whether a response is one to try again after.
func (r *retryState) wantsResponse(t *try, status int) bool {
	if r.on == 0 || t.tunnel {
		return false
	}
	if t.head.Has(header.XEnvoyRatelimited) {
		return r.on&route.RetryEnvoyRatelimited != 0
	}
	return r.on.Response(status, &t.head) ||
		r.on&route.RetryStatusCodes != 0 && r.wantsStatus(status) ||
		r.on&route.RetryHeaders != 0 && r.wantsHeaders(&t.head)
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

// wantsReset reports whether a failed try is one to try again after.
func (r *retryState) wantsReset(t *try, why reset) bool {
	switch why {
	case noReset, resetStream, resetOverflow, resetNoHost:
		return false
	case resetConnect, resetConnectTime:
		return r.on.Connect()
	default:
	}
	_, _, begun := t.client.Sent()
	return r.on.Reset(why == resetRefused, begun)
}

// wantsAnother reports whether the policy asks for another try after an outcome.
func (q *request) wantsAnother(t *try, out *outcome) bool {
	if out.err == nil {
		return q.retry.wantsResponse(t, out.status)
	}
	return q.retry.wantsReset(t, out.reset)
}

// again readies the next try, after its pause, or reports that there is none: then
// out is how the request ends.
func (q *request) again(out *outcome) bool {
	retried := q.retry.holding
	q.release()
	if !q.wantsAnother(q.try, out) {
		if retried && out.err == nil {
			q.up.Stats.RqRetrySuccess.Inc()
		}
		return false
	}
	if !q.grant() {
		return false
	}
	q.countRetried(q.try, out)
	late := out.reset == resetTry
	pause := q.pause(q.try, out)
	q.endSpan(out.flags())
	q.drain()
	q.abandon()
	if err := q.s.Task().Sleep(pause); err != nil {
		*out = outcome{err: err, reset: resetStream}
		return false
	}
	*out = q.next(late)
	return out.err == nil
}

// Keys of the runtime: whether requests are tried again at all, and the first pause
// where no policy says it.
const (
	useRetry    = "upstream.use_retry"
	baseBackOff = "upstream.base_retry_backoff_ms"
)

// grant takes one of the retries that are left, and a place for it at the breaker.
func (q *request) grant() bool {
	r, st, info := &q.retry, q.up.Stats, &q.s.Info
	if r.left == 0 {
		st.RqRetryLimitExceeded.Inc()
		info.Flags |= streaminfo.UpstreamRetryLimitExceeded
		return false
	}
	if q.s.Request.Body != nil && !q.replay.rewindable() {
		q.w.stats.RetrySkipped.Inc()
		return false
	}
	r.left--
	if f, ok := q.w.f.runtime.Fraction(useRetry); ok && !f.Enabled(q.s.Random) {
		return false
	}
	limit := &q.cluster.Resources(q.priority()).Retries
	if !limit.TryAcquire() {
		st.RqRetryOverflow.Inc()
		info.Flags |= streaminfo.UpstreamOverflow
		return false
	}
	r.holding, r.breaker = true, limit
	st.RqRetry.Inc()
	return true
}

// release gives a retry that is over back to the breaker.
func (q *request) release() {
	if r := &q.retry; r.holding {
		r.holding = false
		r.breaker.Release()
	}
}

// countRetried counts a try that another follows.
func (q *request) countRetried(t *try, out *outcome) {
	if out.err != nil {
		t.countReset(out)
		return
	}
	q.up.Stats.Retried.Inc(out.status)
	t.count(false)
}

// next readies the request for another try, late tells that the last took too long. The
// outcome is an error if there is nowhere to send it any more.
func (q *request) next(late bool) outcome {
	q.s.Info.Attempts++
	if !q.renewCluster() {
		return outcome{err: q.noHost(upstream.NoHealthyUpstream), reset: resetNoHost}
	}
	h := q.s.Request.Header
	if vh := q.route.VirtualHost; vh != nil {
		if vh.IncludeRequestAttemptCount {
			h.SetInt(header.XEnvoyAttemptCount, int64(q.s.Info.Attempts))
		}
		if vh.IncludeIsTimeoutRetryHeader {
			h.Set(header.XEnvoyIsTimeoutRetry, strconv.FormatBool(late))
		}
	}
	q.tellTimeout(h)
	q.replay.rewind()
	q.pick.Override, q.pick.OverrideStrict = nil, false // As in Envoy, a retry may go anywhere.
	q.pick.Skip, q.pick.MaxAttempts = q.skip, elsewhereAttempts
	if p := q.retry.policy; p != nil {
		if len(p.HostPredicates) > 0 {
			q.pick.MaxAttempts = int(min(p.HostAttempts, 1<<16))
		}
		if p.Priority != nil {
			q.pick.Priorities = p.Priority.(upstream.PriorityOverride)
		}
	}
	return outcome{}
}

// renewCluster takes the cluster as it is now, if no try is in flight: a retry goes to
// no host that has left. It is false if there is no such cluster any more.
func (q *request) renewCluster() bool {
	c := q.w.f.clusters.Get(q.cluster.Name)
	if c == q.cluster || c != nil && len(q.hedge.racing) > 0 {
		return true
	}
	if c == nil {
		return false
	}
	q.release()
	q.up.Drop()
	q.cluster, q.up = c, c.Worker(q.loop.ID())
	q.up.Hold()
	return true
}

// elsewhereAttempts is how often a host is picked anew for a retry that no predicate
// steers.
const elsewhereAttempts = 8

// unwanted reports whether a retry should go to another host: as the predicates of the
// policy say. Without any it leaves the hosts that were tried, as far as another would do
// as well.
func (q *request) unwanted(h *upstream.Host) bool {
	if q.retry.policy == nil || len(q.retry.policy.HostPredicates) == 0 {
		return h.Cluster != nil && !h.Cluster.Sticky && slices.ContainsFunc(q.pick.Attempted, h.Same)
	}
	for _, p := range q.retry.policy.HostPredicates {
		if p.(upstream.HostPredicate)(h, q.pick.Attempted) {
			return true
		}
	}
	return false
}

// pause is how long to wait for the next try: as a response asks, or as backOff says.
func (q *request) pause(t *try, out *outcome) time.Duration {
	if p := q.retry.policy; p != nil && out.err == nil && p.RateLimited != nil {
		if d, ok := p.RateLimited.Interval(&t.head, time.Now()); ok && d > 0 {
			q.retry.tries++
			q.up.Stats.RqRetryBackoffRatelimited.Inc()
			return d + time.Duration(rand.Int64N(max(int64(d)/2, 1))) // So that not all come at once.
		}
	}
	return q.backOff()
}

// backOff is a random part of an interval that doubles with each try.
func (q *request) backOff() time.Duration {
	r := &q.retry
	r.tries++
	base, most := 25*time.Millisecond, 250*time.Millisecond
	if p := r.policy; p != nil && p.BackOffSet {
		base, most = p.BackOffBase, max(p.BackOffMax, p.BackOffBase)
	} else if ms, ok := q.w.f.runtime.Int(baseBackOff); ok && ms > 0 {
		base = time.Duration(min(ms, int64(time.Hour/time.Millisecond))) * time.Millisecond
		most = 10 * base
	}
	q.up.Stats.RqRetryBackoffExponential.Inc()
	return time.Duration(rand.Int64N(int64(route.RetryInterval(base, most, r.tries))))
}
