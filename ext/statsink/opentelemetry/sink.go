// SPDX-License-Identifier: Apache-2.0

// Package opentelemetry is the sink envoy.stat_sinks.open_telemetry: statistics as metrics of OpenTelemetry, which are sent
// to a collector. How they are written and get there is the matter of proxy/otlp.
package opentelemetry

import (
	"context"

	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/otlp"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stats/sink"
)

// size is about how many bytes of metrics a request has at most. Servers of gRPC take 4 MiB.
const size = 1 << 20

// Sink sends metrics.
type Sink struct {
	exporter                       *batch.Exporter
	prefix                         string // "" or ending in a dot
	points                         int    // of a request; 0 is any number
	counterDeltas, histogramDeltas bool
	attributes, extracted          bool // tags are attributes; names are without them
}

var _ sink.Sink = (*Sink)(nil)

// Flush implements sink.Sink.
func (k *Sink) Flush(ctx context.Context, s *sink.Snapshot) {
	x := otlp.Metrics{
		Time: s.Time.UnixNano(), Began: s.Began.UnixNano(), Since: s.Since.UnixNano(),
		CounterDeltas: k.counterDeltas, HistogramDeltas: k.histogramDeltas,
	}
	for i := range s.Metrics {
		m := &s.Metrics[i]
		name, tags := m.Name, []stats.Tag(nil)
		if k.extracted {
			name = m.Extracted
		}
		if k.attributes {
			tags = m.Tags
		}
		x.Add(k.prefix+name, m, tags)
	}
	// Who does not take one is not waited for with the others.
	x.Batches(k.points, size, func(batch []byte, points int) bool {
		return k.exporter.Send(ctx, batch, uint64(points))
	})
}

// Close implements sink.Sink. Nothing is kept from one snapshot to the next.
func (k *Sink) Close() {}
