// SPDX-License-Identifier: Apache-2.0

package router

import (
	"slices"
	"strings"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/proxy/upstream/outlier"
	"weir.dev/weir/proxy/upstream/pool"
)

// request is one request on its way: the tries, one after the other, and what
// they share. Its memory belongs to a loop and is used again.
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

	// The try at hand.
	host    *upstream.Host
	client  pool.Exchange // nil before there is a connection
	connect pool.Options
	ask     codec.Request
	secure  upstream.TransportOptions
	// branch is the attempt as the cluster's filters see it, if branched.
	branch   *stream.Branch
	branched bool
	head     header.Map // of the response
	counted  bool       // as an active request of host, cluster and breaker
	begun    int64      // when it began
	raw      bool       // its payload leaves HTTP here
	tunnel   bool
	passed   bool // the response is the filters' and the client's now

	tried    []address.Addr // every host tried, in order
	upload   upload
	replay   replay
	copies   bool        // the body is kept for retries or mirrors
	deferred bool        // whether it went well shows by the trailers
	trailer  *header.Map // of the response, nil if it has none
	shadows  []*shadow
	complete bool  // the request was sent whole, or will not be any further
	ended    int64 // when the client's request was complete; 0 is not yet
	failed   error // what its own time limits ended the request with
	quiet    bool  // a time-out is answered with 204
	skip     func(*upstream.Host) bool
	cookie   func(*route.HashCookie) string
	cookies  []madeCookie    // that the response is to set
	override [1]address.Addr // a filter's wish

	total    engine.Timer // the route's time-out
	try      engine.Timer // per try
	duration engine.Timer // the cluster's max_stream_duration, per try
	silence  engine.Timer // per_try_idle_timeout
	heard    uint64       // bytes either way when the silence was last looked at
	heardAt  int64
}

func newRequest(w *worker, l *engine.Loop) *request {
	q := &request{w: w, loop: l}
	q.upload.q = q
	q.skip, q.cookie = q.unwanted, q.makeCookie
	q.total.Init(l, func() { q.expire(errTimeout) })
	q.try.Init(l, func() { q.expire(errTryTimeout) })
	q.duration.Init(l, func() { q.expire(q.errDuration()) })
	q.silence.Init(l, q.listen)
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
	}
	for {
		out := q.attempt()
		if s.Replied() { // A filter in front of the host has.
			q.release()
			return nil
		}
		if q.again(&out) {
			continue
		}
		if out.err != nil {
			return q.failure(&out)
		}
		return q.deliver(out.status)
	}
}

// keep has the request's body kept so that it can be sent again: for a retry, for
// mirrors, and, if it is small, for a host that speaks HTTP/2 and says that it has not
// looked at the request.
func (q *request) keep() {
	s := q.s
	q.copies = q.retry.enabled() || len(q.route.Forward.Mirrors) > 0
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
	if q.s.Info.Attempts = 1; q.route.VirtualHost != nil && q.route.VirtualHost.IncludeRequestAttemptCount && !f.suppress {
		h.SetInt(header.XEnvoyAttemptCount, 1)
	}
	q.route.FinalizeRequest(h, info, !f.suppress)
	q.tellTimeout(h)
	q.pick.Headers, q.pick.Stream, q.pick.Connection = h, info, info.Conn
	if p := q.route.Forward.HashPolicy; len(p) > 0 {
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
	q.try.Stop()
	q.up.Stats.Response(status)
	q.passed = true
	q.watchLoad()
	s.Response.Header = &q.head
	s.Info.Response = &q.head
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
		if q.route.VirtualHost != nil && q.route.VirtualHost.IncludeAttemptCountInResponse {
			h.SetInt(header.XEnvoyAttemptCount, int64(s.Info.Attempts))
		}
		if q.host != nil && q.host.Canary {
			h.Set(header.XEnvoyUpstreamCanary, "true")
		}
	}
	for i := range q.cookies {
		h.AddBytes(header.SetCookie, q.cookies[i].of.AppendSetCookie(nil, q.cookies[i].value))
	}
	q.route.FinalizeResponse(h, &s.Info)
}

// end settles the request once the stream is over.
func (q *request) end() {
	q.stopTimers()
	q.stopUpload()
	q.cast() // Of a request that failed before it could be sent.
	q.settle()
	q.leave()
	q.endBranch()
	q.tried, q.cookies = q.tried[:0], q.cookies[:0]
	q.forget(true)
	if q.replay.over && q.copies {
		q.up.Stats.RetryOrShadowAbandoned.Inc()
	}
	q.replay.reset()
	q.connect = pool.Options{}
	q.secure = upstream.TransportOptions{VerifyNames: q.secure.VerifyNames[:0]}
	q.pick = upstream.PickContext{Attempted: q.pick.Attempted[:0]}
	q.release()
	q.retry = retryState{}
	q.up.Drop()
	q.s, q.route, q.cluster, q.up, q.host = nil, nil, nil, nil, nil
	q.raw, q.tunnel, q.complete, q.passed = false, false, false, false
	q.copies, q.deferred, q.trailer = false, false, nil
	q.ended, q.failed, q.quiet = 0, nil, false
	if len(q.w.free) < maxFree {
		q.w.free = append(q.w.free, q)
		return
	}
	for _, t := range []*engine.Timer{&q.total, &q.try, &q.duration, &q.silence} {
		t.Release()
	}
}

// judge counts a response as the host's success or error. That of a gRPC call shows
// by its grpc-status, which may be in the trailers.
func (q *request) judge(status int) {
	q.deferred, q.trailer = false, nil
	ok := status < 500
	if ok && stream.IsGRPC(q.s.Request.Header.Get(header.ContentType)) {
		if q.s.Response.Body != nil {
			q.deferred, q.trailer = true, q.s.Response.Trailer
			return
		}
		ok = grpcOK(&q.head)
	}
	q.count(ok)
}

func (q *request) count(ok bool) {
	st := &q.host.Local(q.up.Loop()).Stats
	if ok {
		st.RqSuccess.Inc()
	} else {
		st.RqError.Inc()
	}
}

// grpcOK reports whether a response's grpc-status is none that HTTP would answer 5xx.
func grpcOK(h *header.Map) bool {
	if h == nil {
		return false
	}
	code, ok := stream.ParseGRPCStatus(h.Get(header.GRPCStatus))
	return ok && stream.HTTPFromGRPC(code) < 500
}

// settle counts how the exchange ended.
func (q *request) settle() {
	if q.client == nil || q.tunnel {
		return
	}
	st := q.up.Stats
	done := q.passed && q.client.ResponseDone()
	if q.deferred {
		q.count(done && grpcOK(q.trailer))
	}
	if t := &q.s.Info.Timing; done && t.UpstreamLastRx == 0 {
		// The last piece was read right before it was passed on.
		t.UpstreamLastRx = q.loop.Now() - q.start
		if sent := t.DownstreamLastTx; sent > 0 {
			t.UpstreamLastRx = min(t.UpstreamLastRx, sent)
		}
	}
	switch {
	case done:
		if q.ended > 0 {
			st.RqTime.Record(uint64(q.loop.Now()-q.ended) / uint64(time.Millisecond))
		}
	case q.passed:
		q.w.stats.ResetAfter.Inc()
		if q.failed == nil && (q.client.HungUp() || q.client.Broken()) {
			st.RqRxReset.Inc()
			q.host.Outlier.Outcome(q.up.Loop(), outlier.Failed, 0)
		} else {
			st.RqTxReset.Inc()
		}
	}
}

// leave ends the try at hand and gives the connection back.
func (q *request) leave() {
	if q.counted {
		q.counted = false
		q.cluster.Resources(q.priority()).Requests.Release()
		q.up.Stats.RqActive.Dec()
		q.host.AddRequests(-1)
	}
	if q.client == nil {
		return
	}
	info := &q.s.Info.Upstream
	head, body, _ := q.client.Sent()
	size := uint64(q.client.Head().Size)
	info.HeaderSent += uint64(head)
	info.WireSent += uint64(head) + body
	info.HeaderReceived += size
	info.WireReceived += size + q.client.Received()
	q.client.Release(q.complete)
	q.client = nil
}
