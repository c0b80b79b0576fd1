// SPDX-License-Identifier: Apache-2.0

package router

import (
	"cmp"

	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/trace"
	"weir.dev/weir/proxy/upstream"
)

// trace begins the span of a try that has its host, unless tries have none, and tells the
// host of the trace.
func (t *try) trace() {
	q := t.q
	of := q.s.Span
	if of == nil {
		return
	}
	if !t.spanned && (q.w.f.spawns || of.Spawns()) {
		t.span.Reset()
		t.span.Attempt(of, observed(q.cluster))
		t.spanned = true
	}
	t.inject()
}

// inject writes the context of the span into the request's head.
func (t *try) inject() {
	if s := t.current(); s != nil {
		s.Inject(t.q.s.Request.Header)
	}
}

// current is the span that what is sent belongs to; nil is none.
func (t *try) current() *trace.Span {
	if t.spanned {
		return &t.span
	}
	return t.q.s.Span
}

// endSpan ends the span of the try; flags tell what went wrong with it.
func (t *try) endSpan(flags streaminfo.Flags) {
	if !t.spanned {
		return
	}
	t.spanned = false
	q := t.q
	a := trace.Attempt{
		Cluster: q.cluster.Name, Observed: q.cluster.AltStatName, Status: t.status, Flags: flags, Retry: max(q.s.Info.Attempts-1, 0),
	}
	if t.host != nil {
		a.Host = t.host.Address
	}
	if t.status > 0 {
		a.Response, a.Trailer = &t.head, t.response.Trailer
	}
	t.span.FinishAttempt(&a, &q.s.Info, q.route)
}

// flags are those of a try that another follows.
func (out *outcome) flags() streaminfo.Flags {
	switch out.reset {
	case noReset:
		return 0
	case resetTry:
		return streaminfo.UpstreamRequestTimeout
	case resetStream:
		return streaminfo.DownstreamConnectionTermination
	}
	return reasons[out.reset].flags
}

func observed(c *upstream.Cluster) string { return cmp.Or(c.AltStatName, c.Name) }
