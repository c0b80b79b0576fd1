// SPDX-License-Identifier: Apache-2.0

// Package opentelemetry is the tracer envoy.tracers.opentelemetry: the context of a trace in
// the headers of W3C Trace Context, and spans that are sent to an OpenTelemetry collector.
package opentelemetry

import (
	"encoding/binary"
	"math"

	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/otlp"
	"weir.dev/weir/proxy/trace"
)

// Tracer is a compiled OpenTelemetryConfig.
type Tracer struct {
	exporter *batch.Exporter // nil: spans are reported to nobody
	sampler  sampler         // nil: what was decided, or what the client has
}

// Begin implements trace.Tracer.
func (t *Tracer) Begin(s *trace.Span, h *header.Map, traced bool) {
	parent := s.ExtractW3C(h)
	if !parent {
		s.NewTrace(true)
		s.Sampled, s.Local = traced, true
	}
	s.NewID()
	if t.sampler != nil {
		s.Sampled = t.sampler.samples(s, parent)
	}
}

// Inject implements trace.Tracer. Baggage is passed on as it came.
func (t *Tracer) Inject(s *trace.Span, h *header.Map) { s.InjectW3C(h) }

// Report implements trace.Tracer.
func (t *Tracer) Report(s *trace.Span) {
	if t.exporter == nil {
		return
	}
	t.exporter.Make(func(dst []byte) []byte { return otlp.AppendSpan(dst, s) })
}

// A sampler decides in the place of the connection manager.
type sampler interface {
	samples(s *trace.Span, parent bool) bool
}

// always samples every request.
type always struct{}

func (always) samples(*trace.Span, bool) bool { return true }

// ratio samples by the trace's identity, so that all who ask decide alike: as
// OpenTelemetry's own libraries do, by the last eight bytes.
type ratio struct{ below uint64 }

func newRatio(share float64) ratio {
	if share >= 1 {
		return ratio{math.MaxUint64}
	}
	return ratio{uint64(share * (1 << 63))}
}

func (r ratio) samples(s *trace.Span, _ bool) bool {
	return binary.BigEndian.Uint64(s.Trace[8:])>>1 < r.below
}

// parentBased takes the client's decision where there is one.
type parentBased struct{ root sampler }

func (p parentBased) samples(s *trace.Span, parent bool) bool {
	if parent {
		return s.Sampled
	}
	return p.root.samples(s, false)
}
