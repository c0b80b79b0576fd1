// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"encoding/binary"
	"math"

	"weir.dev/weir/internal/wire"
	"weir.dev/weir/proxy/stats"
)

// Field numbers of opentelemetry.proto.metrics.v1.Metric, of what it holds, and of data points.
const (
	metricName, metricGauge, metricSum, metricHistogram                           = 1, 5, 7, 9
	dataPoints, dataTemporality, dataMonotonic                                    = 1, 2, 3
	pointStart, pointTime, pointInt, pointAttributes                              = 2, 3, 6, 7
	pointCount, pointTotal, pointBuckets, pointBounds, pointHistAttributes        = 4, 5, 6, 7, 9
	temporalityDelta, temporalityCumulative                                uint64 = 1, 2
)

// Metrics gathers the data points of one time by the metrics that they are of. It is for one
// use.
type Metrics struct {
	// Time is when the points were measured, Began since when they are counted, Since the
	// time of those before; nanoseconds since 1970.
	Time, Began, Since int64
	// CounterDeltas and HistogramDeltas have what came since Since told, and not since Began.
	CounterDeltas, HistogramDeltas bool

	metrics map[metricKey]*metric
	order   []*metric
}

// metricKey tells metrics apart: names of several statistics may become one, though they are
// of different kinds.
type metricKey struct {
	name string
	kind stats.Kind
}

// metric is the points of a metric, each as a field of what holds them.
type metric struct {
	metricKey
	points []byte
	ends   []int // where each of them ends
}

// Add adds a point of a statistic to the metric that is called name. Texts are left out.
func (x *Metrics) Add(name string, m *stats.Metric, attributes []stats.Tag) {
	if m.Kind == stats.KindText {
		return
	}
	key := metricKey{name, m.Kind}
	to := x.metrics[key]
	if to == nil {
		if x.metrics == nil {
			x.metrics = map[metricKey]*metric{}
		}
		to = &metric{metricKey: key}
		x.metrics[key], x.order = to, append(x.order, to)
	}
	dst, at := wire.Begin(to.points, dataPoints)
	switch m.Kind {
	case stats.KindCounter:
		n := m.Count
		if x.CounterDeltas {
			n = m.Delta
		}
		dst = x.times(dst, x.CounterDeltas)
		dst = appendTags(wire.Uint64(dst, pointInt, n), pointAttributes, attributes)
	case stats.KindGauge:
		dst = wire.Uint64(dst, pointTime, uint64(x.Time))
		dst = appendTags(wire.Uint64(dst, pointInt, uint64(m.Level)), pointAttributes, attributes)
	case stats.KindHistogram:
		values := m.Cumulative
		if x.HistogramDeltas {
			values = m.Interval
		}
		dst = appendBuckets(x.times(dst, x.HistogramDeltas), values, m.Bounds)
		dst = appendTags(dst, pointHistAttributes, attributes)
	case stats.KindText:
	}
	to.points = wire.End(dst, at)
	to.ends = append(to.ends, len(to.points))
}

func (x *Metrics) times(dst []byte, delta bool) []byte {
	start := x.Began
	if delta {
		start = x.Since
	}
	return wire.Uint64(wire.Uint64(dst, pointStart, uint64(start)), pointTime, uint64(x.Time))
}

// appendBuckets appends what a histogram has below its bounds, and above the last.
func appendBuckets(dst []byte, values stats.Buckets, bounds []float64) []byte {
	all := values.Count()
	dst = wire.Double(wire.Uint64(dst, pointCount, all), pointTotal, values.Sum())
	dst = binary.AppendUvarint(wire.Key(dst, pointBuckets, wire.Length), uint64(8*(len(bounds)+1)))
	below := uint64(0)
	for _, b := range bounds {
		n := values.Below(b)
		dst = binary.LittleEndian.AppendUint64(dst, n-below)
		below = n
	}
	dst = binary.LittleEndian.AppendUint64(dst, all-below)
	dst = binary.AppendUvarint(wire.Key(dst, pointBounds, wire.Length), uint64(8*len(bounds)))
	for _, b := range bounds {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(b))
	}
	return dst
}

func appendTags(dst []byte, field uint64, tags []stats.Tag) []byte {
	for _, t := range tags {
		var pair, value int
		dst, pair = wire.Begin(dst, field)
		dst, value = wire.Begin(wire.Text(dst, pairKey, t.Name), pairValue)
		dst = wire.End(wire.End(wire.Text(dst, anyString, t.Value), value), pair)
	}
	return dst
}

// Batches calls yield with the metrics for an exporter, in batches of at most points data
// points (0: any number) and about size bytes, until it returns false; a batch is yield's
// until then.
func (x *Metrics) Batches(points, size int, yield func(batch []byte, points int) bool) {
	var batch []byte
	held := 0
	for _, m := range x.order {
		for from := 0; from < len(m.ends); {
			if held > 0 && (held == points || len(batch) >= size) {
				if !yield(batch, held) {
					return
				}
				batch, held = batch[:0], 0
			}
			to := m.upTo(from, points-held, size-len(batch))
			batch = x.append(batch, m, from, to)
			held += to - from
			from = to
		}
	}
	if held > 0 {
		yield(batch, held)
	}
}

// upTo is where a part of a metric ends that begins with the point at from, and has at least
// one point, at most points of them unless that is not above 0, and about size bytes.
func (m *metric) upTo(from, points, size int) int {
	begin, to := 0, from+1
	if from > 0 {
		begin = m.ends[from-1]
	}
	for to < len(m.ends) && to-from != points && m.ends[to]-begin <= size {
		to++
	}
	return to
}

// append appends some points of a metric as a metric.
func (x *Metrics) append(dst []byte, m *metric, from, to int) []byte {
	begin := 0
	if from > 0 {
		begin = m.ends[from-1]
	}
	var field uint64
	var delta, monotonic bool
	switch m.kind {
	case stats.KindCounter:
		field, delta, monotonic = metricSum, x.CounterDeltas, true
	case stats.KindHistogram:
		field, delta = metricHistogram, x.HistogramDeltas
	case stats.KindGauge, stats.KindText:
		field = metricGauge
	}
	dst, whole := wire.Begin(dst, records)
	dst, data := wire.Begin(wire.Text(dst, metricName, m.name), field)
	dst = append(dst, m.points[begin:m.ends[to-1]]...)
	if field != metricGauge {
		temporality := temporalityCumulative
		if delta {
			temporality = temporalityDelta
		}
		dst = wire.Uint(dst, dataTemporality, temporality)
	}
	if monotonic {
		dst = wire.Bool(dst, dataMonotonic, true)
	}
	return wire.End(wire.End(dst, data), whole)
}
