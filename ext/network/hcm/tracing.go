// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"weir.dev/weir/proxy/trace"
)

// beginTrace decides whether the request is traced and begins its span.
func (a *active) beginTrace() {
	c := a.conn.m.tracing
	if c == nil {
		return
	}
	h, i := a.Request.Header, &a.Info
	reason := c.Decide(h, a.Route(), a.Random)
	if i.HealthCheck {
		reason = trace.HealthCheck
	}
	i.TraceForced = reason == trace.ServiceForced
	st := a.conn.stats
	switch reason {
	case trace.HealthCheck:
		st.TracedHealthCheck.Inc()
	case trace.Sampling:
		st.TracedSampling.Inc()
	case trace.ServiceForced:
		st.TracedService.Inc()
	case trace.ClientForced:
		st.TracedClient.Inc()
	case trace.NotTraceable:
		st.NotTraceable.Inc()
	}
	a.span.Reset()
	a.Span = &a.span
	c.Begin(a.Span, h, i, a.Route(), reason.Traced())
	i.TraceID, i.SpanID = a.span.IDs()
}

// endTrace ends the span of the request.
func (a *active) endTrace() {
	if a.Span != nil {
		a.Span.FinishRequest(&a.Info, a.Route())
	}
}
