// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/trace"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/proxy/upstream/outlier"
	"weir.dev/weir/proxy/upstream/pool"
)

// shadow is a copy of a request for another cluster. It is sent once the
// request itself has been, on a task of its own, and its response is dropped:
// it never delays or fails the original.
type shadow struct {
	up      *upstream.Worker
	header  header.Map
	request stream.Message
	trailer header.Map
	body    []byte
	size    int // counted among those of the worker
	w       *worker
	timeout time.Duration
	// protocol is the client's.
	protocol streaminfo.Protocol
	span     *trace.Span // nil: nothing is traced
	status   int         // of the response; 0 if there is none
}

// mirror makes the copies that the route's policies ask for.
func (q *request) mirror() {
	q.shadows = q.shadows[:0]
	s := q.s
	if s.Upgrade {
		return
	}
	mirrors := q.mirrors()
	for i := range mirrors {
		m := &mirrors[i]
		if !m.Fraction.Enabled(q.w.f.runtime, s.Random) {
			continue
		}
		c := q.w.f.clusters.Get(m.ClusterName(s.Request.Header))
		if c == nil {
			continue
		}
		sh := &shadow{up: c.Worker(q.loop.ID()), timeout: q.limits.total, protocol: s.Info.Protocol}
		s.Request.Header.CopyTo(&sh.header)
		m.FinalizeRequest(&sh.header, &s.Info)
		if s.Span != nil {
			sh.span = new(trace.Span)
			sh.span.Child(s.Span, "mirror")
			sh.span.Sampled = sh.span.Sampled && !m.Untraced
			sh.span.State = bytes.Clone(s.Span.State)
			sh.span.Inject(&sh.header)
		}
		q.shadows = append(q.shadows, sh)
	}
}

// What copies may take: of memory, for each loop, and of time where the route has no
// time-out. Copies beyond that are left out, so that a host which is slow to take them
// costs no more than that.
const (
	maxShadowBytes = 8 << 20
	maxShadowTime  = time.Minute
)

// cast sends the copies on their way. A request too large to be kept has none.
func (q *request) cast() {
	for i, sh := range q.shadows {
		q.shadows[i] = nil
		m := &q.s.Request
		if m.Body != nil && (q.replay.over || !q.replay.done) {
			continue
		}
		sh.w, sh.size = q.w, sh.header.Size()+len(q.replay.kept)
		if q.w.shadowed+sh.size > maxShadowBytes {
			q.up.Stats.RetryOrShadowAbandoned.Inc()
			continue
		}
		q.w.shadowed += sh.size
		if m.Body != nil {
			sh.body = append([]byte(nil), q.replay.kept...)
			if m.Trailer != nil {
				m.Trailer.CopyTo(&sh.trailer)
			}
		}
		sh.up.Hold()
		q.loop.Go(sh)
	}
	q.shadows = q.shadows[:0]
}

// Run sends the copy and reads its response to the end.
func (sh *shadow) Run(t *engine.Task) {
	if sh.timeout <= 0 {
		sh.timeout = maxShadowTime
	}
	t.SetDeadline(int64(sh.timeout), errTimeout)
	defer func() {
		sh.w.shadowed -= sh.size
		sh.up.Drop()
	}()
	st := sh.up.Stats
	host, _ := sh.up.Pick(&upstream.PickContext{Headers: &sh.header})
	defer func() { sh.endSpan(host) }()
	if host == nil {
		st.CxNoneHealthy.Inc()
		return
	}
	m := &sh.request
	m.Header = &sh.header
	if sh.body != nil {
		m.Body, m.Length = stream.NewBytes(sh.body), int64(len(sh.body))
		if sh.trailer.Len() > 0 {
			m.Trailer, m.Length = &sh.trailer, -1
			sh.header.Del(header.ContentLength)
		}
	}
	if chain := host.Cluster.HTTP.Filters; chain != nil {
		b := sh.branch(t, host)
		chain = chain.Pin()
		defer chain.Unpin()
		defer b.End(chain)
		if chain.Enter(b) != nil || b.Replied() {
			return
		}
		m = &b.Request
	}
	x, _, err := pool.Connect(sh.up, t, host, sh.connectOptions(host))
	if err != nil {
		sh.blame(host, err)
		return
	}
	res := &sh.up.Cluster().Resources(breaker.Default).Requests
	if !res.TryAcquire() {
		st.RqPendingOverflow.Inc()
		x.Unused()
		return
	}
	st.RqActive.Inc()
	host.AddRequests(1)
	defer func() {
		res.Release()
		st.RqActive.Dec()
		host.AddRequests(-1)
	}()
	st.RqTotal.Inc()
	host.Local(sh.up.Loop()).Stats.RqTotal.Inc()
	host.Outlier.Outcome(sh.up.Loop(), outlier.Connected, 0)
	err = sh.exchange(x, host, m)
	sh.blame(host, err)
	if !x.ResponseDone() {
		st.RqTxReset.Inc()
	}
	x.Release(err == nil)
}

// connectOptions says what the copy asks of its connection. It is the proxy's own:
// no PROXY protocol header tells of the client.
func (sh *shadow) connectOptions(h *upstream.Host) *pool.Options {
	o := &pool.Options{Downstream: sh.protocol}
	var asked upstream.TransportOptions
	if h.Transport.Transport != nil && asked.FromHead(sh.up.Cluster(), &sh.header) {
		o.Transport = &asked
	}
	return o
}

// blame tells outlier detection of a copy that failed.
func (sh *shadow) blame(h *upstream.Host, err error) {
	switch {
	case err == nil, errors.Is(err, pool.ErrOverflow):
	case errors.Is(err, errTimeout):
		h.Outlier.Outcome(sh.up.Loop(), outlier.TimedOut, http.StatusGatewayTimeout)
	default:
		h.Outlier.Outcome(sh.up.Loop(), outlier.Failed, 0)
	}
}

// endSpan ends the span of the copy.
func (sh *shadow) endSpan(h *upstream.Host) {
	if sh.span == nil {
		return
	}
	var at address.Addr
	if h != nil {
		at = h.Address
	}
	sh.span.FinishCall(sh.up.Cluster().Name, at, sh.status, sh.status == 0 || sh.status >= http.StatusInternalServerError)
}

func (sh *shadow) exchange(c pool.Exchange, host *upstream.Host, req *stream.Message) error {
	if err := c.Open(req, &codec.Request{}); err != nil {
		return err
	}
	if req.Body == nil {
		if err := c.Flush(); err != nil {
			return err
		}
	} else if err := c.SendBody(req); err != nil {
		return err
	}
	var resp stream.Message
	var h header.Map
	if err := codec.ReadFinal(c, &resp, &h); err != nil {
		return err
	}
	sh.status = c.Head().Status
	sh.up.Stats.Response(sh.status)
	host.Believe(sh.up.Loop(), c.Head().Status, &h, stream.IsGRPC(sh.header.Get(header.ContentType)))
	for resp.Body != nil {
		if _, err := resp.Body.Next(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	return nil
}
