// SPDX-License-Identifier: Apache-2.0

package router

import (
	"slices"
	"strings"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// request is one request on its way: what its tries share. Its memory belongs to a loop
// and is used again.
type request struct {
	w       *worker
	loop    *engine.Loop
	s       *stream.Stream
	route   *route.Route
	cluster *upstream.Cluster
	up      *upstream.Worker
	start   int64
	limits  limits
	retry   retryState
	pick    upstream.PickContext
	meta    []upstream.MetadataCriterion

	*try        // the one at hand; in the end, the one whose response it is
	first try   // the memory of the first
	hedge hedge // tries that do not wait for one another

	raw      bool           // its payload leaves HTTP here
	tried    []address.Addr // every host tried, in order
	replay   replay
	copies   bool // the body is kept for retries, mirrors or redirects
	shadows  []*shadow
	ended    int64 // when the client's request was complete; 0 is not yet
	failed   error // what its own time limit ended the request with
	quiet    bool  // a time-out is answered with 204
	skip     func(*upstream.Host) bool
	cookie   func(*route.HashCookie) string
	cookies  []madeCookie    // that the response is to set
	override [1]address.Addr // a filter's wish
	led      *stream.Message // where a redirect leads that one of several tries has brought

	total engine.Timer // the route's time-out
}

func newRequest(w *worker, l *engine.Loop) *request {
	q := &request{w: w, loop: l}
	q.first.init(l)
	q.first.q, q.try = q, &q.first
	q.skip, q.cookie = q.unwanted, q.makeCookie
	q.total.Init(l, q.expire)
	q.hedge.pause.Init(l, q.rested)
	return q
}

// run sends the request, as often as the retry policy allows, and leaves the
// response in the stream.
func (q *request) run() error {
	s, info := q.s, &q.s.Info
	info.ClusterName, info.ClusterMetadata = q.cluster.Name, q.cluster.Metadata
	if s.Request.Body == nil {
		q.ended = q.start
	}
	q.raw = q.endsHere()
	q.prepare()
	if s.Request.Body != nil && !s.Upgrade {
		q.keep()
	}
	q.mirror()
	if s.Request.Body == nil {
		q.cast()
		q.limit()
	}
	out := q.send()
	if s.Replied() { // A filter in front of the host has.
		q.release()
		return nil
	}
	if out.err != nil {
		return q.failure(&out)
	}
	if q.follow(out.status) {
		return nil
	}
	return q.deliver(out.status)
}

// send makes tries until one is the last.
func (q *request) send() outcome {
	if q.hedges() {
		return q.race()
	}
	out := q.attempt()
	for !q.s.Replied() && q.again(&out) {
		out = q.attempt()
	}
	return out
}

// limit starts the route's time-out: it begins when the request is complete, whether
// or not there is a connection for it.
func (q *request) limit() {
	if d := q.limits.total; d > 0 && !q.total.Active() && !q.tunnel {
		q.total.Set(int64(d))
	}
}

// keep has the request's body kept so that it can be sent again: for a retry, for
// mirrors, for a redirect, and, if it is small, for a host that speaks HTTP/2 and says
// that it has not looked at the request.
func (q *request) keep() {
	s, f := q.s, q.route.Forward
	q.copies = q.retry.enabled() || len(q.mirrors()) > 0 || f.InternalRedirect != nil
	switch {
	case q.copies:
		q.replay.start(s.Request.Body, q.bufferLimit())
	case q.cluster.HTTP.Version != upstream.UseHTTP1:
		q.replay.start(s.Request.Body, min(q.bufferLimit(), maxKept))
	default:
		return
	}
	s.Request.Body = &q.replay
}

// prepare makes the head that goes upstream.
func (q *request) prepare() {
	h, info, f := q.s.Request.Header, &q.s.Info, q.w.f
	q.limits = q.timeouts(h)
	q.quiet = h.Has(header.XEnvoyUpstreamRqTimeoutAltResponse)
	h.Del(header.XEnvoyUpstreamRqTimeoutAltResponse)
	q.retry.begin(q, h)
	if q.s.Info.Attempts = 1; q.route.VirtualHost != nil && q.route.VirtualHost.IncludeRequestAttemptCount {
		h.SetInt(header.XEnvoyAttemptCount, 1)
	}
	q.route.FinalizeRequest(h, info, !f.suppress)
	q.tellTimeout(h)
	q.pick.Headers, q.pick.Stream, q.pick.Connection = h, info, info.Conn
	if p := q.hashPolicy(); len(p) > 0 {
		q.pick.Hash, q.pick.HasHash = p.Hash(h, info, q.cookie)
	}
	q.pick.Cookie = q.cookie
	if d := &q.s.Destination; d.Address.IsValid() {
		q.override[0] = d.Address
		q.pick.Override, q.pick.OverrideStrict = q.override[:], d.Strict
	}
}

// criteria sorts a metadata match into the form that balancers take.
func (q *request) criteria(m map[string]any) []upstream.MetadataCriterion {
	q.meta = q.meta[:0]
	for k, v := range m {
		q.meta = append(q.meta, upstream.MetadataCriterion{Key: k, Value: v})
	}
	slices.SortFunc(q.meta, func(a, b upstream.MetadataCriterion) int { return strings.Compare(a.Key, b.Key) })
	return q.meta
}

func (q *request) bufferLimit() int {
	if n := q.route.BufferLimit; n != route.NoLimit {
		return int(min(n, 1<<30))
	}
	return int(q.cluster.PerConnectionBufferLimit)
}

func (q *request) priority() breaker.Priority {
	if q.route.Forward.HighPriority {
		return breaker.High
	}
	return breaker.Default
}

// deliver hands the response that was read to the filters.
func (q *request) deliver(status int) error {
	s := q.s
	q.perTry.Stop()
	q.up.Stats.Response(status)
	q.passed = true
	q.judge(status)
	s.Response = q.response
	q.watchLoad()
	s.Info.Response = &q.head
	s.Info.Status, s.Info.StatusDetails = status, "via_upstream"
	if q.tunnel {
		q.total.Stop()
	}
	q.finishHead()
	return nil
}

// finishHead adds to the response what the router tells of it.
func (q *request) finishHead() {
	h, s := &q.head, q.s
	if !q.w.f.suppress {
		if q.ended > 0 {
			h.SetInt(header.XEnvoyUpstreamServiceTime, (q.loop.Now()-q.ended)/int64(time.Millisecond))
		}
		if q.host != nil && q.host.Canary {
			h.Set(header.XEnvoyUpstreamCanary, "true")
		}
	}
	q.tellAttempts(h)
	for i := range q.cookies {
		h.AddBytes(header.SetCookie, q.cookies[i].of.AppendSetCookie(nil, q.cookies[i].value))
	}
	q.route.FinalizeResponse(h, &s.Info)
}

// tellAttempts adds the number of tries to a response, be it made here. As in Envoy
// suppress_envoy_headers does not keep it back: who wants it has asked for it.
func (q *request) tellAttempts(h *header.Map) {
	if vh := q.route.VirtualHost; vh != nil && vh.IncludeAttemptCountInResponse {
		h.SetInt(header.XEnvoyAttemptCount, int64(q.s.Info.Attempts))
	}
}

// end settles the request once the stream is over.
func (q *request) end() {
	q.total.Stop()
	q.callOff(nil)
	q.stopLimits()
	q.stopUpload()
	q.stopBranch()
	if b := q.up.Budgets; b != nil && q.ended > 0 {
		upstream.Used(&b.Total, time.Duration(q.loop.Now()-q.ended), q.limits.total)
	}
	q.cast() // Of a request that failed before it could be sent.
	q.settle()
	q.endSpan(q.s.Info.Flags)
	q.leave()
	q.endBranch()
	q.tried, q.cookies = q.tried[:0], q.cookies[:0]
	q.forget(true)
	if q.replay.over && q.copies {
		q.up.Stats.RetryOrShadowAbandoned.Inc()
	}
	q.replay.reset()
	q.s.Keep(&q.head)
	if q.try != &q.first {
		q.drop(q.try)
	}
	q.first.reset()
	q.pick = upstream.PickContext{Attempted: q.pick.Attempted[:0]}
	q.release()
	q.retry = retryState{}
	q.up.Drop()
	q.s, q.route, q.cluster, q.up = nil, nil, nil, nil
	q.raw, q.copies = false, false
	q.ended, q.failed, q.quiet, q.led = 0, nil, false, nil
	if len(q.w.free) < maxFree {
		q.w.free = append(q.w.free, q)
		return
	}
	q.first.releaseTimers()
	q.total.Release()
	q.hedge.pause.Release()
}
