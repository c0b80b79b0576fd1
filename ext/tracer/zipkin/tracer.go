// SPDX-License-Identifier: Apache-2.0

// Package zipkin is the tracer envoy.tracers.zipkin: the context of a trace in the headers
// of B3, and spans that are sent to a Zipkin collector, version 2, in JSON or in Protocol
// Buffers.
package zipkin

import (
	"encoding/binary"
	"time"

	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/trace"
)

// Tracer is a compiled ZipkinConfig.
type Tracer struct {
	wide, timed    bool // 128 bits; with a timestamp
	shared, splits bool
	w3c            bool // traceparent, too
	service        string
	encode         func(dst []byte, s *trace.Span, service string) []byte
	exporter       *batch.Exporter
}

// Begin implements trace.Tracer.
func (t *Tracer) Begin(s *trace.Span, h *header.Map, traced bool) {
	s.SetName(h.Get(header.Authority))
	if t.splits {
		s.Kind = trace.Server
	}
	in := extract(h)
	if in.valid {
		t.join(s, &in)
	} else if !t.w3c || !s.ExtractW3C(h) {
		s.NewTrace(t.wide)
		if t.timed {
			at := 8
			if t.wide {
				at = 0
			}
			binary.BigEndian.PutUint32(s.Trace[at:], uint32(time.Now().Unix()))
		}
		s.NewID()
		if !t.wide && !t.timed { // As Envoy has it, and others expect it of Zipkin's.
			copy(s.ID[:], s.Trace[8:])
		}
		s.Sampled, s.Local = traced, true
	} else {
		s.NewID()
		return
	}
	switch {
	case in.decided:
		s.Sampled, s.Local = in.sampled, false
	case in.valid:
		s.Sampled = traced
	}
}

// join makes the span part of the trace of the client's: the same span as there, as far as
// both sides share one, or a child of it.
func (t *Tracer) join(s *trace.Span, in *incoming) {
	s.Trace, s.Wide = in.trace, in.wide
	if t.shared && s.Kind == trace.Server {
		s.ID, s.Parent, s.Shared = in.id, in.parent, true
		return
	}
	s.NewID()
	s.Parent = in.id
}

// Inject implements trace.Tracer.
func (t *Tracer) Inject(s *trace.Span, h *header.Map) {
	inject(s, h)
	if t.w3c {
		s.InjectW3C(h)
	}
}

// Report implements trace.Tracer.
func (t *Tracer) Report(s *trace.Span) {
	if t.exporter == nil {
		return
	}
	t.exporter.Make(func(dst []byte) []byte { return t.encode(dst, s, t.service) })
}
