// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"math"
	"slices"
	"sync/atomic"
)

// A Histogram sorts values into the log-linear buckets of circllhist, which Envoy uses: two significant decimal digits, so
// ninety buckets a decade. Its zero value is ready for use and holds no buckets; a decade's 720 bytes come with the first
// value in it. It must not be copied. [Histogram.Record] is lock-free and may be called from any goroutine.
type Histogram struct{ p atomic.Pointer[bins] }

// bins holds 0 to 9 each by itself, then one table per decade: decades[0] is 10 to 99 by ones, decades[18] is from 1e19 by
// 1e18 up to the largest uint64.
type bins struct {
	// fresh tells that something was recorded since the last flush, and flushed what there was then, for who flushes.
	fresh   atomic.Bool
	flushed Buckets

	digits  [10]atomic.Uint64
	decades [19]atomic.Pointer[[90]atomic.Uint64]
}

// Record counts one value, in the histogram's unit.
func (h *Histogram) Record(v uint64) {
	b := h.p.Load()
	if b == nil {
		h.p.CompareAndSwap(nil, new(bins))
		b = h.p.Load()
	}
	b.add(v)
	if !b.fresh.Load() {
		b.fresh.Store(true)
	}
}

func (b *bins) add(v uint64) {
	if v < 10 {
		b.digits[v].Add(1)
		return
	}
	decade := 0
	for v >= 100 {
		v /= 10
		decade++
	}
	d := b.decades[decade].Load()
	if d == nil {
		b.decades[decade].CompareAndSwap(nil, new([90]atomic.Uint64))
		d = b.decades[decade].Load()
	}
	d[v-10].Add(1)
}

// A Bucket is one used bucket of a histogram: Count values v with Lower <= v < Lower+Width.
type Bucket struct {
	Lower, Width float64
	Count        uint64
}

// Buckets are used buckets in ascending order; nil is an empty histogram.
type Buckets []Bucket

// buckets reads what was recorded so far. Values recorded meanwhile may or may not be in it.
func (h *Histogram) buckets() Buckets {
	if b := h.p.Load(); b != nil {
		return b.read()
	}
	return nil
}

// flush returns what was recorded since the last flush. One goroutine at a time may call it.
func (h *Histogram) flush() Buckets {
	b := h.p.Load()
	if b == nil || !b.fresh.Load() {
		return nil
	}
	b.fresh.Store(false) // Before it is read: what comes meanwhile makes it fresh again.
	before := b.flushed
	b.flushed = b.read()
	return b.flushed.minus(before)
}

func (b *bins) read() Buckets {
	var out Buckets
	for i := range b.digits {
		if n := b.digits[i].Load(); n > 0 {
			w := 0.1 // circllhist keeps two digits, so 5 is the bucket from 5.0 to 5.1
			if i == 0 {
				w = 0
			}
			out = append(out, Bucket{float64(i), w, n})
		}
	}
	width := 1.0
	for i := range b.decades {
		if d := b.decades[i].Load(); d != nil {
			for j := range d {
				if n := d[j].Load(); n > 0 {
					out = append(out, Bucket{float64(j+10) * width, width, n})
				}
			}
		}
		width *= 10
	}
	return out
}

// merge adds two histograms.
func (a Buckets) merge(b Buckets) Buckets {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make(Buckets, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Lower < b[0].Lower:
			out, a = append(out, a[0]), a[1:]
		case a[0].Lower > b[0].Lower:
			out, b = append(out, b[0]), b[1:]
		default:
			s := a[0]
			s.Count += b[0].Count
			out, a, b = append(out, s), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// minus is what was recorded into a since it was b.
func (a Buckets) minus(b Buckets) Buckets {
	var out Buckets
	for _, s := range a {
		for len(b) > 0 && b[0].Lower < s.Lower {
			b = b[1:]
		}
		if len(b) > 0 && b[0].Lower == s.Lower {
			s.Count -= min(s.Count, b[0].Count)
		}
		if s.Count > 0 {
			out = append(out, s)
		}
	}
	return out
}

// Count is the number of values.
func (a Buckets) Count() uint64 {
	var n uint64
	for _, s := range a {
		n += s.Count
	}
	return n
}

// Sum is the sum of the values as far as two digits know it: each value counts as the middle of its bucket, as in Envoy.
func (a Buckets) Sum() float64 {
	var sum float64
	for _, s := range a {
		sum += (s.Lower + s.Width/2) * float64(s.Count)
	}
	return sum
}

// Below is the number of values in buckets that end at or below limit, which is what Envoy shows under le="limit".
func (a Buckets) Below(limit float64) uint64 {
	var n uint64
	for _, s := range a {
		if s.Lower+s.Width > limit {
			break
		}
		n += s.Count
	}
	return n
}

// Quantiles are the values below which the given shares (0 to 1, ascending) of all values lie, interpolated within a bucket
// as circllhist does; all NaN for an empty histogram.
func (a Buckets) Quantiles(q []float64) []float64 {
	out := make([]float64, len(q))
	total := float64(a.Count())
	if total == 0 {
		for i := range out {
			out[i] = math.NaN()
		}
		return out
	}
	at, lower, upper := 0, 0.0, float64(a[0].Count)
	for i, share := range q {
		want := total * share
		for at < len(a)-1 && upper < want {
			at++
			lower, upper = upper, upper+float64(a[at].Count)
		}
		b := a[at]
		switch want {
		case lower:
			out[i] = b.Lower
		case upper:
			out[i] = b.Lower + b.Width
		default:
			out[i] = b.Lower + (want-lower)/(upper-lower)*b.Width
		}
	}
	return out
}

// cumulative counts, for each bound, the values at or below it.
func (a Buckets) cumulative(bounds []float64) []uint64 {
	out := make([]uint64, len(bounds))
	for i, b := range bounds {
		out[i] = a.Below(b)
	}
	return out
}

// disjoint counts, for each bound, the values at or below it and above the one before.
func (a Buckets) disjoint(bounds []float64) []uint64 {
	out := a.cumulative(bounds)
	for i := len(out) - 1; i > 0; i-- {
		out[i] -= out[i-1]
	}
	return out
}

// Quantiles shown for a histogram, as in Envoy.
func shownQuantiles() []float64 {
	return []float64{0, 0.25, 0.5, 0.75, 0.90, 0.95, 0.99, 0.995, 0.999, 1}
}

// DefaultBuckets are the upper bounds Envoy shows for a histogram that no histogram_bucket_settings names.
func DefaultBuckets() []float64 {
	return slices.Clone([]float64{
		0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000,
		60000, 300000, 600000, 1800000, 3600000,
	})
}
