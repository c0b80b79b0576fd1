// SPDX-License-Identifier: Apache-2.0

package router

import (
	"errors"
	"time"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/outlier"
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

// attempt makes one try. A request that no host has looked at is sent again at once,
// if nothing of its body is lost: one on an idle connection that the host had closed
// meanwhile, if it is one that may be sent twice; and any that the host itself says it
// has not looked at (RFC 9113 §8.7).
func (q *request) attempt() outcome {
	for unseen, refused := 0, false; ; unseen++ {
		out := q.once()
		if out.err == nil || unseen >= maxUnseen || !q.unseen(&out) {
			q.blame(&out)
			return out
		}
		if remote, ok := errors.AsType[*codec.ResetError](out.err); ok && !remote.GoAway {
			if refused {
				q.blame(&out)
				return out // A host that has too much to do: that is for the retry policy.
			}
			refused = true // It may be that it had not yet told how much it takes.
		}
		q.abandon()
	}
}

// maxUnseen bounds how many dead connections one try gets over.
const maxUnseen = 16

func (q *request) unseen(out *outcome) bool {
	if q.client == nil {
		return false
	}
	if q.s.Request.Body != nil && !q.s.Upgrade && (q.replay.src == nil || !q.replay.rewindable()) {
		return false // Some of it may be gone.
	}
	switch out.reset {
	case resetRefused:
		return true
	case resetTermination:
		_, _, begun := q.client.Sent()
		return q.client.Unseen() && (!begun || idempotent(q.s.Request.Header.Get(header.Method)))
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

func (q *request) once() outcome {
	t, st := q.s.Task(), q.up.Stats
	q.begun = q.loop.Now()
	host, failure := q.up.Pick(&q.pick)
	if host == nil {
		st.CxNoneHealthy.Inc()
		return outcome{err: q.noHost(failure), reset: resetNoHost}
	}
	q.host = host
	q.note(host)
	if f := q.route.Forward; f.AutoHostRewrite && host.Hostname != "" {
		q.route.RewriteHost(q.s.Request.Header, host.Hostname, !q.w.f.suppress)
	}
	if out, passed := q.enter(); !passed {
		return out
	}
	x, fresh, err := q.dial(t, host)
	if err != nil {
		return outcome{err: err, reset: connectReset(err)}
	}
	if !q.cluster.Resources(q.priority()).Requests.TryAcquire() {
		st.RqPendingOverflow.Inc()
		x.Unused()
		return outcome{err: pool.ErrOverflow, reset: resetOverflow}
	}
	q.client, q.counted = x, true
	st.RqActive.Inc()
	host.AddRequests(1)
	st.RqTotal.Inc()
	host.Local(q.up.Loop()).Stats.RqTotal.Inc()
	host.Outlier.Outcome(q.up.Loop(), outlier.Connected, 0)
	q.connected(fresh)
	q.armTry()
	if err := q.send(); err != nil {
		return outcome{err: err, reset: q.receiveReset(err)}
	}
	return q.receive()
}

// dial returns an exchange with the host; for the payload of a CONNECT that ends here,
// on a connection of its own.
func (q *request) dial(t *engine.Task, h *upstream.Host) (x pool.Exchange, fresh bool, err error) {
	o := q.connectOptions()
	if !q.raw {
		return pool.Connect(q.up, t, h, o)
	}
	var hello func(c *pool.Conn) []byte
	if p := q.route.Forward.Connect.ProxyProtocol; p != nil {
		hello = func(c *pool.Conn) []byte {
			b, _ := p.Append(nil, c.Info, &q.s.Info)
			return b
		}
	}
	x, err = pool.ConnectRaw(q.up, t, h, o, hello)
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
func (q *request) note(h *upstream.Host) {
	u := &q.s.Info.Upstream
	u.HostName, u.HostAddress, u.HostMetadata, u.Locality = h.Hostname, h.Address, h.Metadata, h.Locality
	q.tried = append(q.tried, h.Address)
	u.HostsAttempted = q.tried
	if q.retry.enabled() {
		q.pick.Attempted = append(q.pick.Attempted, h)
	}
}

func (q *request) connected(fresh bool) {
	i := &q.s.Info
	i.Upstream.Remote = q.host.Address
	if c := q.client.Connection(); c != nil {
		i.Upstream.Local, i.Upstream.Remote = c.Local, c.Remote
		i.Upstream.TLS = c.TLS
		i.Upstream.Protocol = q.client.Protocol()
		i.Upstream.ConnectionID = c.ID
	}
	now := q.loop.Now()
	if fresh {
		i.Timing.UpstreamConnect, i.Timing.UpstreamConnected = q.begun-q.start, now-q.start
	}
	i.Upstream.PoolReady = time.Duration(now - q.begun)
	i.Timing.UpstreamFirstTx = now - q.start
}

// send sends the request: all of it if its body is there, otherwise the head,
// with the body following from a task of its own.
func (q *request) send() error {
	if q.raw {
		return nil // The payload itself goes upstream.
	}
	m, upgrade := q.message(), q.s.Upgrade
	connect := string(m.Header.Get(header.Method)) == "CONNECT"
	q.ask = codec.Request{Upgrade: upgrade && !connect}
	err := q.client.Open(m, &q.ask)
	if err != nil {
		return err
	}
	switch {
	case upgrade:
		q.sent()
		return q.client.Flush()
	case m.Body == nil:
		err = q.client.Flush()
		q.sent()
		return err
	}
	done, err := q.client.SendReady(m, inlineBody)
	if err != nil {
		return err
	}
	if done {
		q.sent()
		return nil
	}
	q.upload.start(false)
	return nil
}

// inlineBody is how much of a body that is there already goes out before the
// response is looked for.
const inlineBody = 64 << 10

// sent notes that the request is complete: the response's time begins.
func (q *request) sent() {
	now := q.loop.Now()
	q.complete = true
	if q.ended == 0 {
		q.ended = now
	}
	if d := q.limits.perTry; d > 0 && !q.passed && !q.tunnel {
		q.try.Set(int64(d))
	}
	since := max(now-q.start, 1) // The loop's clock may stand; 0 would be never.
	q.s.Info.Timing.RequestEnd, q.s.Info.Timing.UpstreamLastTx = since, since
	if len(q.shadows) > 0 {
		q.cast()
	}
	if q.limits.total > 0 && !q.total.Active() && !q.tunnel {
		q.total.Set(int64(q.limits.total))
	}
}

// receive reads the response's head; interim responses go to the client.
func (q *request) receive() outcome {
	s := q.s
	if q.raw {
		return q.openTunnel()
	}
	for interim := 0; ; interim++ {
		q.head.Reset()
		if err := q.client.ReadResponse(&s.Response, &q.head); err != nil {
			return outcome{err: err, reset: q.receiveReset(err)}
		}
		status := q.client.Head().Status
		if status >= 200 || status == 101 {
			return q.received(status)
		}
		q.up.Stats.Rq1xx.Inc()
		if interim >= maxInterim {
			q.up.Stats.CxProtocolError.Inc()
			return outcome{err: errInterim, reset: resetProtocol}
		}
		if status == 100 && !s.Request.Header.Has(header.Expect) {
			continue // Nobody downstream waits for it.
		}
		if err := s.Inform(&q.head); err != nil {
			return outcome{err: stream.ErrDownstreamGone, reset: resetStream}
		}
	}
}

// maxInterim bounds the interim responses to one request.
const maxInterim = 100

var errInterim = errors.New("too many interim responses")

func (q *request) received(status int) outcome {
	q.s.Info.Timing.UpstreamFirstRx = max(q.loop.Now()-q.start, 1)
	if r := q.pick.Reports; r != nil {
		r.Report(q.host, &q.head)
	}
	if q.s.Response.Body == nil {
		q.s.Info.Timing.UpstreamLastRx = q.s.Info.Timing.UpstreamFirstRx
	}
	q.judge(status)
	believe(q.up.Loop(), q.host, status, &q.head, stream.IsGRPC(q.s.Request.Header.Get(header.ContentType)))
	q.s.Info.Status, q.s.Info.StatusDetails = status, "via_upstream"
	if q.branched {
		var err error
		if status, err = q.comeBack(); err != nil || q.s.Replied() {
			return outcome{err: err, reset: filterReset(err)}
		}
	}
	if q.client.Head().Tunnel {
		q.tunnel = true
		q.s.Tunnel = &q.upload
	}
	return outcome{status: status}
}

// openTunnel answers CONNECT itself and lets the payload through.
func (q *request) openTunnel() outcome {
	q.head.Reset()
	q.head.Add(header.Status, "200")
	q.s.Response = stream.Message{Header: &q.head, Length: -1, Body: q.client.Tunnel()}
	q.tunnel = true
	q.sent()
	q.s.Info.Status, q.s.Info.StatusDetails = 200, "via_upstream"
	if q.s.Upgrade {
		q.s.Tunnel = &q.upload
	} else {
		q.upload.start(true)
	}
	return outcome{status: 200}
}

// abandon drops the try at hand so that another can be made.
func (q *request) abandon() {
	q.stopUpload()
	q.complete = false // Whatever came of it, the connection carries no other.
	q.leave()
	q.endBranch()
	q.stopTry()
	q.complete = false
	q.s.Info.Status, q.s.Info.StatusDetails = 0, ""
	q.s.Tunnel = nil
	q.replay.rewind()
	q.forget(false)
}

func (q *request) noHost(f upstream.Failure) error {
	e := &stream.Error{Status: 503, Flags: streaminfo.NoHealthyUpstream, Details: f.String(), Body: "no healthy upstream", Header: q.localHead}
	if d := &q.s.Destination; q.pick.OverrideStrict && d.Status != 0 {
		e.Status = d.Status
	}
	if f == upstream.DroppedOverload {
		e.Flags, e.Body = streaminfo.DropOverload, "drop overload"
		e.Header = func(h *header.Map) {
			if !q.w.f.suppress {
				h.Set(dropOverload, "true")
			}
			q.localHead(h)
		}
	}
	return e
}

var dropOverload = header.NewName("x-envoy-drop-overload")

// localHead adds to a reply made here what the router tells of the tries.
func (q *request) localHead(h *header.Map) {
	if vh := q.route.VirtualHost; vh != nil && vh.IncludeAttemptCountInResponse && !q.w.f.suppress {
		h.SetInt(header.XEnvoyAttemptCount, int64(q.s.Info.Attempts))
	}
}

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

// receiveReset sorts an error of the exchange.
func (q *request) receiveReset(err error) reset {
	var bad *codec.Error
	var src *codec.SourceError
	var remote *codec.ResetError
	var interrupted *engine.Interrupted
	switch {
	case errors.As(err, &src), errors.As(err, &interrupted):
	case errors.As(err, &bad):
		q.up.Stats.CxProtocolError.Inc()
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
