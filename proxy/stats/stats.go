// SPDX-License-Identifier: Apache-2.0

// Package stats counts what the data plane does, under Envoy's names.
//
// The hot path is one uncontended atomic add. A component registers a struct of [Counter], [Gauge] and [Histogram] fields
// with [Register]; each event loop writes its own copy of that struct (its shard), which lies on cache lines of its own, and
// never looks up a name. Names, tags, filters and output formats exist only when somebody reads:
//
//	type listenerStats struct {
//		CxTotal  stats.Counter   `stat:"downstream_cx_total"`
//		CxActive stats.Gauge     `stat:"downstream_cx_active"`
//		CxLength stats.Histogram `stat:"downstream_cx_length_ms,ms"`
//	}
//	s := stats.Register[listenerStats](store.Scope("listener.0.0.0.0_80."), loops)
//	s.At(loop).CxTotal.Inc()
//
// Several registrations under one name (a listener and its successor, two connection managers of one stat_prefix) are added
// up. When one of them is closed, what it counted stays as long as another holds the name.
//
// The package owns no goroutine. It does not send statistics anywhere: package sink has a [Reader] read a [Store] for those
// who do.
package stats

import (
	"sync/atomic"
)

// A Counter only grows. Its zero value is ready for use; it must not be copied. All methods may be called at any time from
// any goroutine and cost one atomic instruction; they are cheapest when one loop alone writes the counter.
type Counter struct{ v atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.v.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.v.Add(n) }

// Value is the count since the start or the last [Store.ResetCounters], of this shard alone.
func (c *Counter) Value() uint64 { return c.v.Load() }

// A Gauge goes up and down. What is shown under its name is the sum of its shards, so a shard may be negative (a connection
// counted by one loop and released by another). Its zero value is ready for use; it must not be copied.
type Gauge struct {
	v    atomic.Int64
	used atomic.Bool
}

// Inc adds one.
func (g *Gauge) Inc() { g.Add(1) }

// Dec subtracts one.
func (g *Gauge) Dec() { g.Add(-1) }

// Add adds d, which may be negative.
func (g *Gauge) Add(d int64) {
	g.v.Add(d)
	// Read before writing: after the first use the line is dirtied by the add alone.
	if !g.used.Load() {
		g.used.Store(true)
	}
}

// Set makes v the value of this shard. It has meaning only for gauges of a set with one shard and for those of
// [Scope.Gauge].
func (g *Gauge) Set(v int64) {
	g.v.Store(v)
	if !g.used.Load() {
		g.used.Store(true)
	}
}

// Value is the value of this shard alone.
func (g *Gauge) Value() int64 { return g.v.Load() }

// A Text is a statistic that is a string, Envoy's text readout. Its zero value is the empty string.
type Text struct{ v atomic.Pointer[string] }

// Set makes s the value.
func (t *Text) Set(s string) { t.v.Store(&s) }

// Value is the string last set, "" before.
func (t *Text) Value() string {
	if p := t.v.Load(); p != nil {
		return *p
	}
	return ""
}

// Codes counts HTTP status codes 100 to 599, one counter each, made when a class (1xx, 2xx ...) is first seen. Only codes
// that were counted have a name: the field's tag followed by the code, for example `stat:"upstream_rq_"` shows
// upstream_rq_503. Its zero value is ready for use.
type Codes struct {
	classes [5]atomic.Pointer[[100]Counter]
}

// Inc counts one response with the given status; a status outside 100 to 599 is not counted.
func (c *Codes) Inc(status int) {
	if p := c.at(status); p != nil {
		p.Inc()
	}
}

// Value is the count of one status of this shard alone.
func (c *Codes) Value(status int) uint64 {
	if status < 100 || status > 599 {
		return 0
	}
	if p := c.classes[status/100-1].Load(); p != nil {
		return p[status%100].Value()
	}
	return 0
}

func (c *Codes) at(status int) *Counter {
	if status < 100 || status > 599 {
		return nil
	}
	class := &c.classes[status/100-1]
	p := class.Load()
	if p == nil {
		class.CompareAndSwap(nil, new([100]Counter))
		p = class.Load()
	}
	return &p[status%100]
}

// A Kind says what a statistic is.
type Kind uint8

// The kinds of statistics.
const (
	KindCounter Kind = iota
	KindGauge
	KindHistogram
	KindText
)

// String is the kind in one lower-case word.
func (k Kind) String() string {
	switch k {
	case KindCounter:
		return "counter"
	case KindGauge:
		return "gauge"
	case KindHistogram:
		return "histogram"
	case KindText:
		return "text"
	}
	return "unknown"
}

// A Unit is the unit of a histogram's values. Values are recorded in it; no output scales them.
type Unit uint8

// The units of Envoy's histograms.
const (
	Unspecified Unit = iota
	Milliseconds
	Microseconds
	Bytes
	Percent
)

// parseUnit reads the part of a field tag after the comma.
func parseUnit(s string) (Unit, bool) {
	switch s {
	case "":
		return Unspecified, true
	case "ms":
		return Milliseconds, true
	case "us":
		return Microseconds, true
	case "bytes":
		return Bytes, true
	case "percent":
		return Percent, true
	}
	return Unspecified, false
}
