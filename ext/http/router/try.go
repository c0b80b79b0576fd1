// SPDX-License-Identifier: Apache-2.0

package router

import (
	"errors"
	"io"
	"syscall"
	"time"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/trace"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/outlier"
	"weir.dev/weir/proxy/upstream/pool"
)

// try is one try of a request: a host, an exchange with it, and what came of that. It
// runs on the stream's task or, if it is hedged, on one of its own.
type try struct {
	q        *request
	host     *upstream.Host
	client   pool.Exchange // nil before there is a connection
	connect  pool.Options
	ask      codec.Request
	secure   upstream.TransportOptions
	reports  upstream.Reporter
	head     header.Map     // of the response
	response stream.Message // the response
	upload   upload
	racer    racer // as one of several
	// branch is the try as the cluster's filters see it, if branched.
	branch   *stream.Branch
	branched bool
	pinned   *stream.Chain // that the branch passes

	counted  bool  // as an active request of host, cluster and breaker
	begun    int64 // when it began
	tunnel   bool
	passed   bool  // the response is the filters' and the client's now
	complete bool  // the request was sent whole, or will not be any further
	cut      error // the time limit that ended it

	deferred bool        // whether it went well shows by the trailers
	trailer  *header.Map // of the response, nil if it has none

	span    trace.Span // of the try, if spanned
	spanned bool
	status  int // of the response; 0 if none has come

	perTry   engine.Timer // per_try_timeout
	duration engine.Timer // the stream's duration
	silence  engine.Timer // per_try_idle_timeout
	heard    uint64       // bytes either way when the silence was last looked at
	heardAt  int64
}

func (t *try) init(l *engine.Loop) {
	t.upload.t = t
	t.perTry.Init(l, func() { t.tooLong(errTryTimeout) })
	t.duration.Init(l, func() { t.expire(t.q.errDuration()) })
	t.silence.Init(l, t.listen)
}

// reset readies the memory of a try that is over for another.
func (t *try) reset() {
	t.head.Reset()
	t.response = stream.Message{}
	t.connect = pool.Options{}
	t.secure = upstream.TransportOptions{VerifyNames: t.secure.VerifyNames[:0]}
	t.host, t.reports, t.racer = nil, nil, racer{}
	t.tunnel, t.passed, t.complete, t.cut = false, false, false, nil
	t.deferred, t.trailer = false, nil
	t.span.Reset()
}

func (t *try) releaseTimers() {
	t.perTry.Release()
	t.duration.Release()
	t.silence.Release()
}

// runner returns the task that waits for the try: the one to interrupt.
func (t *try) runner() *engine.Task {
	if t.racer.task != nil {
		return t.racer.task
	}
	return t.q.s.Task()
}

// attempt makes the try. A request that no host has looked at is sent again at once,
// if nothing of its body is lost: one on an idle connection that the host had closed
// meanwhile, if it is one that may be sent twice; and any that the host itself says it
// has not looked at (RFC 9113 §8.7).
func (t *try) attempt() outcome {
	for unseen, refused := 0, false; ; unseen++ {
		out := t.once()
		if out.err == nil || unseen >= maxUnseen || !t.unseen(&out) {
			t.blame(&out)
			return out
		}
		if remote, ok := errors.AsType[*codec.ResetError](out.err); ok && !remote.GoAway {
			if refused {
				t.blame(&out)
				return out // A host that has too much to do: that is for the retry policy.
			}
			refused = true // It may be that it had not yet told how much it takes.
		}
		t.abandon()
	}
}

// maxUnseen bounds how many dead connections one try gets over.
const maxUnseen = 16

func (t *try) unseen(out *outcome) bool {
	q := t.q
	if t.client == nil || t.racer.replaced {
		return false
	}
	if q.s.Request.Body != nil && !q.s.Upgrade && (q.replay.src == nil || !q.replay.rewindable()) {
		return false // Some of it may be gone.
	}
	switch out.reset {
	case resetRefused:
		return true
	case resetTermination:
		_, _, begun := t.client.Sent()
		if begun && errors.Is(out.err, syscall.ECONNRESET) && q.retry.wantsReset(t, out.reset) {
			return false // It may be the host's answer to the request: the policy counts those.
		}
		return t.client.Unseen() && (!begun || idempotent(q.s.Request.Header.Get(header.Method)))
	default:
		return false
	}
}

// idempotent reports whether a method may be sent again without being asked
// (RFC 9110 §9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

func (t *try) once() outcome {
	q, st := t.q, t.q.up.Stats
	t.begun = q.loop.Now()
	host, failure := q.up.Pick(&q.pick)
	t.reports = q.pick.Reports
	if host == nil {
		st.CxNoneHealthy.Inc()
		return outcome{err: q.noHost(failure), reset: resetNoHost}
	}
	t.host = host
	t.note()
	if f := q.route.Forward; f.AutoHostRewrite && host.Hostname != "" {
		q.route.RewriteHost(q.s.Request.Header, host.Hostname, !q.w.f.suppress)
	}
	t.trace()
	if out, passed := t.enter(); !passed {
		return out
	}
	x, fresh, err := t.dial()
	if err != nil {
		return outcome{err: err, reset: connectReset(err)}
	}
	if !q.cluster.Resources(q.priority()).Requests.TryAcquire() {
		st.RqPendingOverflow.Inc()
		x.Unused()
		return outcome{err: pool.ErrOverflow, reset: resetOverflow}
	}
	t.client, t.counted = x, true
	st.RqActive.Inc()
	host.AddRequests(1)
	st.RqTotal.Inc()
	host.Local(q.up.Loop()).Stats.RqTotal.Inc()
	host.Outlier.Outcome(q.up.Loop(), outlier.Connected, 0)
	t.connected(fresh)
	if len(q.hedge.racing) > 1 && !t.branched {
		t.inject() // Another may have written its own into the same head.
	}
	if err := t.write(); err != nil {
		return outcome{err: err, reset: t.resetBy(err)}
	}
	return t.receive()
}

// dial returns an exchange with the host; for the payload of a CONNECT that ends here,
// on a connection of its own.
func (t *try) dial() (x pool.Exchange, fresh bool, err error) {
	q, task, o := t.q, t.q.loop.Task(), t.connectOptions()
	if !q.raw {
		return pool.Connect(q.up, task, t.host, o)
	}
	var hello func(c *pool.Conn) []byte
	if p := q.route.Forward.Connect.ProxyProtocol; p != nil {
		hello = func(c *pool.Conn) []byte {
			b, _ := p.Append(nil, c.Info, &q.s.Info)
			return b
		}
	}
	x, err = pool.ConnectRaw(q.up, task, t.host, o, hello)
	return x, true, err
}

// endsHere reports whether the route takes the request's payload out of HTTP.
func (q *request) endsHere() bool {
	c := q.route.Forward.Connect
	if c == nil {
		return false
	}
	switch string(q.s.Request.Header.Get(header.Method)) {
	case "CONNECT":
		return q.s.Upgrade
	case "POST":
		return c.AllowPost
	}
	return false
}

// note writes down which host is tried.
func (t *try) note() {
	q := t.q
	t.tell()
	q.tried = append(q.tried, t.host.Address)
	q.s.Info.Upstream.HostsAttempted = q.tried
	if q.retry.enabled() {
		q.pick.Attempted = append(q.pick.Attempted, t.host)
	}
}

// tell says in the log which host and connection it is.
func (t *try) tell() {
	u, h := &t.q.s.Info.Upstream, t.host
	u.HostName, u.HostAddress, u.HostMetadata, u.Locality = h.Hostname, h.Address, h.Metadata, h.Locality
	if t.client == nil {
		return
	}
	u.Remote = h.Address
	if c := t.client.Connection(); c != nil {
		u.Local, u.Remote = c.Local, c.Remote
		u.TLS = c.TLS
		u.Protocol = t.client.Protocol()
		u.ConnectionID = c.ID
	}
}

func (t *try) connected(fresh bool) {
	q, i := t.q, &t.q.s.Info
	t.tell()
	now := q.loop.Now()
	if fresh {
		i.Timing.UpstreamConnect, i.Timing.UpstreamConnected = t.begun-q.start, now-q.start
	}
	i.Upstream.PoolReady = time.Duration(now - t.begun)
	i.Timing.UpstreamFirstTx = now - q.start
	if d := q.limits.duration.Or(q.cluster.HTTP.MaxStreamDuration); d > 0 {
		t.duration.Set(int64(d))
	}
}

// write sends the request: all of it if its body is there, otherwise the head,
// with the body following from a task of its own.
func (t *try) write() error {
	if t.q.raw {
		return nil // The payload itself goes upstream.
	}
	m, upgrade := t.message(), t.q.s.Upgrade
	connect := string(m.Header.Get(header.Method)) == "CONNECT"
	t.ask = codec.Request{Upgrade: upgrade && !connect}
	err := t.client.Open(m, &t.ask)
	if err != nil {
		return err
	}
	switch {
	case upgrade:
		t.sent()
		return t.client.Flush()
	case m.Body == nil:
		err = t.client.Flush()
		t.sent()
		return err
	}
	done, err := t.client.SendReady(m, inlineBody)
	if err != nil {
		return err
	}
	if done {
		t.sent()
		return nil
	}
	t.upload.start(false)
	return nil
}

// inlineBody is how much of a body that is there already goes out before the
// response is looked for.
const inlineBody = 64 << 10

// sent notes that the request is complete: the response's time begins.
func (t *try) sent() {
	q := t.q
	now := q.loop.Now()
	t.complete = true
	if q.ended == 0 {
		q.ended = now
	}
	if d := q.limits.perTry; d > 0 && !t.passed && !t.tunnel {
		t.perTry.Set(int64(d))
	}
	if d := q.limits.tryIdle; d > 0 {
		t.heard, t.heardAt = t.client.Traffic(), now
		t.silence.Set(max(int64(d)/4, int64(time.Millisecond)))
	}
	since := max(now-q.start, 1) // The loop's clock may stand; 0 would be never.
	q.s.Info.Timing.RequestEnd, q.s.Info.Timing.UpstreamLastTx = since, since
	if len(q.shadows) > 0 {
		q.cast()
	}
	q.limit()
}

// receive reads the response's head; interim responses go to the client.
func (t *try) receive() outcome {
	q, s := t.q, t.q.s
	if q.raw {
		return t.openTunnel()
	}
	for interim := 0; ; interim++ {
		t.head.Reset()
		if err := t.client.ReadResponse(&t.response, &t.head); err != nil {
			return outcome{err: err, reset: t.resetBy(err)}
		}
		status := t.client.Head().Status
		if status >= 200 || status == 101 {
			return t.received(status)
		}
		q.up.Stats.Rq1xx.Inc()
		if interim >= maxInterim {
			q.up.Stats.CxProtocolError.Inc()
			return outcome{err: codec.ErrInterim, reset: resetProtocol}
		}
		if status == 100 && !s.Request.Header.Has(header.Expect) {
			continue // Nobody downstream waits for it.
		}
		q.choose(t)
		if err := s.Inform(&t.head); err != nil {
			return outcome{err: stream.ErrDownstreamGone, reset: resetStream}
		}
	}
}

// maxInterim bounds the interim responses to one request.
const maxInterim = 100

func (t *try) received(status int) outcome {
	q := t.q
	t.status = status
	q.s.Info.Timing.UpstreamFirstRx = max(q.loop.Now()-q.start, 1)
	if t.reports != nil && t.reports.Report(t.host, &t.head) {
		t.reports = nil // What the trailers may say is a second report.
	}
	if t.response.Body == nil {
		q.s.Info.Timing.UpstreamLastRx = q.s.Info.Timing.UpstreamFirstRx
	}
	t.host.Believe(q.up.Loop(), status, &t.head, stream.IsGRPC(q.s.Request.Header.Get(header.ContentType)))
	q.s.Info.Status, q.s.Info.StatusDetails = status, "via_upstream"
	if t.branched {
		var err error
		if status, err = t.comeBack(); err != nil || q.s.Replied() {
			return outcome{err: err, reset: filterReset(err)}
		}
	}
	if t.client.Head().Tunnel {
		t.tunnel = true
		q.s.Tunnel = &t.upload
	}
	return outcome{status: status}
}

// openTunnel answers CONNECT itself and lets the payload through.
func (t *try) openTunnel() outcome {
	q := t.q
	t.head.Reset()
	t.head.Add(header.Status, "200")
	t.response = stream.Message{Header: &t.head, Length: -1, Body: t.client.Tunnel()}
	t.tunnel = true
	t.sent()
	if q.s.Upgrade {
		q.s.Tunnel = &t.upload
	} else {
		t.upload.start(true)
	}
	return outcome{status: 200}
}

// judge counts a response as the host's success or error. That of a gRPC call shows
// by its grpc-status, which may be in the trailers.
func (t *try) judge(status int) {
	ok := status < 500
	if ok && stream.IsGRPC(t.q.s.Request.Header.Get(header.ContentType)) {
		if t.response.Body != nil {
			t.deferred, t.trailer = true, t.response.Trailer
			return
		}
		ok = grpcOK(&t.head)
	}
	t.count(ok)
}

func (t *try) count(ok bool) {
	st := &t.host.Local(t.q.up.Loop()).Stats
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

// maxDrain is how much of a response that is not wanted is read so that its
// connection can be kept.
const maxDrain = 64 << 10

// drain reads what is there of a response that is not wanted.
func (t *try) drain() {
	b := t.response.Body
	if t.client == nil || b == nil {
		return
	}
	for n := 0; n < maxDrain && b.Ready(); {
		p, err := b.Next()
		n += len(p)
		if err == io.EOF {
			t.leave()
			return
		}
		if err != nil {
			return
		}
	}
}

// abandon drops what was begun, so that it can be begun anew.
func (t *try) abandon() {
	q := t.q
	t.stopUpload()
	t.stopBranch()
	t.complete = false // Whatever came of it, the connection carries no other.
	t.leave()
	t.endBranch()
	t.stopLimits()
	q.s.Info.Status, q.s.Info.StatusDetails, t.status = 0, "", 0
	t.response, t.tunnel, t.cut, t.racer.blamed = stream.Message{}, false, nil, false
	q.s.Tunnel = nil
	q.replay.rewind()
	t.forget(false)
}

// settle counts how the exchange ended.
func (t *try) settle() {
	q := t.q
	if t.client == nil || t.tunnel {
		return
	}
	st := q.up.Stats
	done := t.passed && t.client.ResponseDone()
	if t.deferred {
		t.count(done && grpcOK(t.trailer))
	}
	if tm := &q.s.Info.Timing; done && tm.UpstreamLastRx == 0 {
		// The last piece was read right before it was passed on.
		tm.UpstreamLastRx = q.loop.Now() - q.start
		if sent := tm.DownstreamLastTx; sent > 0 {
			tm.UpstreamLastRx = min(tm.UpstreamLastRx, sent)
		}
	}
	switch {
	case done:
		if q.ended > 0 {
			st.RqTime.Record(uint64(q.loop.Now()-q.ended) / uint64(time.Millisecond))
		}
	case t.passed:
		q.w.stats.ResetAfter.Inc()
		if q.failed == nil && t.cut == nil && (t.client.HungUp() || t.client.Broken()) {
			st.RqRxReset.Inc()
			t.host.Outlier.Outcome(q.up.Loop(), outlier.Failed, 0)
		} else {
			st.RqTxReset.Inc()
		}
	}
}

// leave gives the connection back, or closes it if the exchange was not finished.
func (t *try) leave() {
	q := t.q
	if t.counted {
		t.counted = false
		q.cluster.Resources(q.priority()).Requests.Release()
		q.up.Stats.RqActive.Dec()
		t.host.AddRequests(-1)
	}
	if t.client == nil {
		return
	}
	info := &q.s.Info.Upstream
	head, body, _ := t.client.Sent()
	if z := q.up.Sizes; z != nil {
		z.Record(t.message().Header, &t.head, body, t.client.Received())
	}
	if b := q.up.Budgets; b != nil {
		upstream.Used(&b.PerTry, time.Duration(q.loop.Now()-t.begun), q.limits.perTry)
	}
	size := uint64(t.client.Head().Size)
	info.HeaderSent += uint64(head)
	info.WireSent += uint64(head) + body
	info.HeaderReceived += size
	info.WireReceived += size + t.client.Received()
	t.client.Release(t.complete)
	t.client = nil
}
