// SPDX-License-Identifier: Apache-2.0

package call

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/proxy/upstream/outlier"
	"weir.dev/weir/proxy/upstream/pool"
)

// Errors of a call. Others are of the connection or of the protocol spoken on it.
var (
	ErrTimeout   = errors.New("no response in time")
	ErrNoCluster = errors.New("there is no such cluster")
	ErrNoHost    = errors.New("has no healthy host")
	ErrOverflow  = errors.New("too many requests are in flight to the cluster")
	ErrTooLarge  = errors.New("the response is too large")
)

// Abandoned reports whether a call ended because of the task that made it, such as that
// its stream is over, and not because of the service.
func Abandoned(err error) bool {
	_, ok := errors.AsType[*engine.Interrupted](err)
	return ok
}

// Do makes the call and reads the response whole. It waits on t, which runs; when that is
// interrupted the call is broken off, and the error is the interrupt.
func (k *Call) Do(t *engine.Task) error {
	name := k.client.service.Cluster
	c := k.client.clusters.Get(name)
	if c == nil {
		return fmt.Errorf("cluster %q: %w", name, ErrNoCluster)
	}
	return k.do(t, c.Worker(t.Loop().ID()))
}

func (k *Call) do(t *engine.Task, w *upstream.Worker) error {
	w.Hold()
	defer w.Drop()
	if k.Timeout > 0 {
		k.task = t
		k.timer.Init(t.Loop(), k.expire)
		k.timer.Set(int64(k.Timeout))
		defer k.onTime(t)
	}
	began := t.Loop().Now()
	err := k.tries(t, w)
	k.endSpan(err)
	took := time.Duration(t.Loop().Now() - began)
	switch {
	case err == nil:
		w.Stats.RqTime.Record(uint64(took / time.Millisecond))
	case errors.Is(err, ErrTimeout), k.Timeout > 0 && took >= k.Timeout && !Abandoned(err): // gRPC's servers know the time, too.
		w.Stats.RqTimeout.Inc()
		if k.host != nil {
			k.host.Local(w.Loop()).Stats.RqTimeout.Inc()
		}
		return ErrTimeout // It is no interrupt of the stream's.
	}
	return err
}

// endSpan ends the span of the call.
func (k *Call) endSpan(err error) {
	if !k.spans {
		return
	}
	k.spans = false
	var at address.Addr
	if k.host != nil {
		at = k.host.Address
	}
	failed := err != nil || k.Status >= http.StatusInternalServerError
	if !failed && stream.IsGRPC(k.Request.Get(header.ContentType)) {
		failed = k.outcome() != nil
	}
	k.span.FinishCall(k.client.service.Cluster, at, k.Status, failed)
}

// late ends a call that takes too long. What has ended the stream goes first.
func (k *Call) late() {
	if k.task != nil && k.task.Pending() == nil {
		k.task.Interrupt(ErrTimeout)
	}
}

// onTime stops the clock.
func (k *Call) onTime(t *engine.Task) {
	k.task = nil
	k.timer.Release()
	if t.Pending() == ErrTimeout { //nolint:errorlint // This very one.
		t.Clear()
	}
}

// tries makes tries until one is the last.
func (k *Call) tries(t *engine.Task, w *upstream.Worker) error {
	r := k.client.service.Retry
	for n := 1; ; n++ {
		again, err := k.try(t, w)
		if r == nil || n > r.Max || !again {
			return err
		}
		limit := &w.Cluster().Resources(breaker.Default).Retries
		if !limit.TryAcquire() {
			w.Stats.RqRetryOverflow.Inc()
			return err
		}
		w.Stats.RqRetry.Inc()
		pause := time.Duration(rand.Int64N(int64(route.RetryInterval(r.Base, r.Most, n))))
		err = t.Sleep(pause)
		limit.Release()
		if err != nil {
			return err
		}
	}
}

// maxUnseen bounds how many connections that their host had closed meanwhile one try gets
// over.
const maxUnseen = 16

// try sends the request once or, if it was sent on connections on which nobody can have
// looked at it, until somebody does. It reports whether the retry policy asks for another.
func (k *Call) try(t *engine.Task, w *upstream.Worker) (again bool, err error) {
	for unseen := 0; ; unseen++ {
		f := k.once(t, w)
		final := k.stream != nil && !k.stream.repeatable()
		if f.err == nil || Abandoned(f.err) {
			on := k.retryOn()
			return f.err == nil && !final && on != 0 && on.Response(k.Status, &k.Response), f.err
		}
		if f.unseen && !final && unseen < maxUnseen {
			continue
		}
		if k.host != nil && !f.overflow {
			k.host.Outlier.Outcome(w.Loop(), outlier.Failed, 0)
		}
		switch on := k.retryOn(); {
		case final || f.overflow || k.host == nil:
			return false, f.err
		case f.connect:
			return on.Connect(), f.err
		default:
			return on.Reset(f.refused, f.begun), f.err
		}
	}
}

func (k *Call) retryOn() route.RetryOn {
	if r := k.client.service.Retry; r != nil {
		return r.On
	}
	return 0
}

// failure is why one exchange failed, if err is not nil.
type failure struct {
	err      error
	connect  bool // before there was a connection
	overflow bool // of a breaker
	refused  bool // the host has said that it did not look at the request
	unseen   bool // nor can it have
	begun    bool // something was sent
}

// once makes one exchange.
func (k *Call) once(t *engine.Task, w *upstream.Worker) failure {
	st, h := w.Stats, &k.Request
	k.pick.Headers = h
	k.pick.Skip, k.pick.MaxAttempts = nil, 0
	if len(k.pick.Attempted) > 0 {
		k.pick.Skip, k.pick.MaxAttempts = k.tried, elsewhere
	}
	host, _ := w.Pick(&k.pick)
	if k.host = host; host == nil {
		st.CxNoneHealthy.Inc()
		return failure{err: fmt.Errorf("cluster %q %w", w.Cluster().Name, ErrNoHost)}
	}
	k.pick.Attempted = append(k.pick.Attempted, host)
	o := pool.Options{Downstream: streaminfo.HTTP2}
	h.Set(header.Scheme, "http")
	if host.Transport.Transport != nil {
		h.Set(header.Scheme, "https")
		if k.secure.FromHead(w.Cluster(), h) {
			o.Transport = &k.secure
		}
	}
	x, _, err := pool.Connect(w, t, host, &o)
	if errors.Is(err, pool.ErrOverflow) {
		return failure{err: ErrOverflow, overflow: true}
	}
	if err != nil {
		return failure{err: err, connect: true}
	}
	requests := &w.Cluster().Resources(breaker.Default).Requests
	if !requests.TryAcquire() {
		st.RqPendingOverflow.Inc()
		x.Unused()
		return failure{err: ErrOverflow, overflow: true}
	}
	st.RqActive.Inc()
	host.AddRequests(1)
	defer func() {
		requests.Release()
		st.RqActive.Dec()
		host.AddRequests(-1)
	}()
	st.RqTotal.Inc()
	host.Local(w.Loop()).Stats.RqTotal.Inc()
	host.Outlier.Outcome(w.Loop(), outlier.Connected, 0)
	sent, err := k.exchange(t, x)
	f := failure{err: err}
	if err == nil {
		k.answered(w, host)
	} else {
		k.failed(w, x, &f)
	}
	x.Release(sent && err == nil)
	return f
}

// elsewhere is how often a host is picked anew for a retry.
const elsewhere = 8

// tried reports whether a retry should rather go to another host.
func (k *Call) tried(h *upstream.Host) bool {
	return h.Cluster != nil && !h.Cluster.Sticky && slices.ContainsFunc(k.pick.Attempted, h.Same)
}

// answered counts a response.
func (k *Call) answered(w *upstream.Worker, host *upstream.Host) {
	w.Stats.Response(k.Status)
	host.Believe(w.Loop(), k.Status, &k.Response, stream.IsGRPC(k.Request.Get(header.ContentType)))
	st := &host.Local(w.Loop()).Stats
	if k.Status < http.StatusInternalServerError {
		st.RqSuccess.Inc()
	} else {
		st.RqError.Inc()
	}
}

// failed says of an exchange how it went wrong, and counts it.
func (k *Call) failed(w *upstream.Worker, x pool.Exchange, f *failure) {
	_, _, f.begun = x.Sent()
	remote, reset := errors.AsType[*codec.ResetError](f.err)
	f.refused = reset && remote.Refused
	f.unseen = reset && remote.GoAway || !reset && !errors.Is(f.err, ErrTooLarge) && x.Unseen()
	switch {
	case reset || x.HungUp() && !Abandoned(f.err):
		w.Stats.RqRxReset.Inc()
	case !x.ResponseDone():
		w.Stats.RqTxReset.Inc()
	}
	if k.host != nil && !Abandoned(f.err) {
		k.host.Local(w.Loop()).Stats.RqError.Inc()
	}
}

// exchange makes the exchange that the call is.
func (k *Call) exchange(t *engine.Task, x pool.Exchange) (sent bool, err error) {
	if k.stream != nil {
		return k.stream.converse(t, x)
	}
	return k.converse(x)
}

// converse sends the request and reads the response whole. sent tells that the request
// was sent to its end.
func (k *Call) converse(x pool.Exchange) (sent bool, err error) {
	k.Trailer.Reset()
	k.Content = k.Content[:0]
	request := stream.Message{Header: &k.Request}
	var body stream.Bytes
	if k.Body != nil {
		body = *stream.NewBytes(k.Body)
		request.Body, request.Length = &body, int64(len(k.Body))
	}
	if err = x.Open(&request, &codec.Request{}); err != nil {
		return false, err
	}
	if k.Body == nil {
		err = x.Flush()
	} else {
		err = x.SendBody(&request)
	}
	if err != nil && (Abandoned(err) || x.Unseen()) {
		return false, err
	}
	var resp stream.Message
	if failed := codec.ReadFinal(x, &resp, &k.Response); failed != nil {
		// A host may answer without having taken the body; this one has not.
		if err != nil && !Abandoned(failed) {
			failed = err
		}
		return false, failed
	}
	k.Status = x.Head().Status
	sent = err == nil
	k.Response.Own()
	if resp.Body == nil {
		return sent, nil
	}
	if k.Content, err = stream.Collect(resp.Body, k.Content, k.Limit); errors.Is(err, stream.ErrTooLarge) {
		return sent, fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, k.Limit)
	}
	if err == nil && resp.Trailer != nil {
		resp.Trailer.CopyTo(&k.Trailer)
	}
	return sent, err
}
