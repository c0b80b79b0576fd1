// SPDX-License-Identifier: Apache-2.0

// Package statsd writes statistics as lines of statsd, with the tags of DogStatsD or Graphite if they are wanted, and sends
// them in datagrams. Which of that a sink does is the matter of ext/statsink.
//
// A line is PREFIX.NAME:VALUE|TYPE. Counters are what they have counted since the last time, gauges what they are, and
// values of histograms are timers, whatever their unit, as in Envoy.
package statsd

import (
	"strconv"

	"weir.dev/weir/proxy/stats"
)

// DefaultPrefix is what names begin with if nothing else is configured.
const DefaultPrefix = "envoy"

// MostValues is how many values of one histogram are told at once. Of more than that, as many that stand for all are told
// with the rate at which they were chosen.
const MostValues = 100

// Tagging says what is done with tags.
type Tagging uint8

const (
	// Untagged leaves names whole.
	Untagged Tagging = iota
	// AfterValue writes |#name:value,name:value, as DogStatsD reads it.
	AfterValue
	// AfterName writes ;name=value;name=value, as Graphite reads it.
	AfterName
)

// A Format is how lines are written.
type Format struct {
	// Prefix comes before each name; "" is DefaultPrefix.
	Prefix  string
	Tagging Tagging
	// Scaled has microseconds told as milliseconds (scale_histogram_units_to_milliseconds).
	Scaled bool
}

// A Writer makes lines of metrics. It is for one goroutine.
type Writer struct {
	format     Format
	head, tail []byte // of the metric at hand: what comes before a value, and after its type
	line, last []byte
}

// NewWriter returns a writer.
func NewWriter(f Format) *Writer {
	if f.Prefix == "" {
		f.Prefix = DefaultPrefix
	}
	return &Writer{format: f}
}

// Lines calls yield with each line of a metric, without its end; it is yield's until it returns.
func (w *Writer) Lines(m *stats.Metric, yield func(line []byte)) {
	switch m.Kind {
	case stats.KindCounter:
		w.begin(m)
		yield(append(strconv.AppendUint(w.line, m.Delta, 10), w.end("|c", 1)...))
	case stats.KindGauge:
		w.begin(m)
		// A number with a sign would be added to the gauge that the server has.
		yield(append(strconv.AppendInt(w.line, max(m.Level, 0), 10), w.end("|g", 1)...))
	case stats.KindHistogram:
		w.values(m, yield)
	case stats.KindText:
	}
}

// begin writes what comes before a value, and makes what comes after it.
func (w *Writer) begin(m *stats.Metric) {
	name := m.Name
	if w.format.Tagging != Untagged {
		name = m.Extracted
	}
	w.head = append(append(w.head[:0], w.format.Prefix...), '.')
	w.head = appendPlain(w.head, name, ":|")
	w.tail = w.tail[:0]
	switch w.format.Tagging {
	case AfterName:
		for _, t := range m.Tags {
			w.head = appendPlain(append(w.head, ';'), t.Name, ":|;=")
			w.head = appendPlain(append(w.head, '='), t.Value, ":|;")
		}
	case AfterValue:
		for i, t := range m.Tags {
			w.tail = append(w.tail, [...]string{"|#", ","}[min(i, 1)]...)
			w.tail = appendPlain(w.tail, t.Name, ":|,")
			w.tail = appendPlain(append(w.tail, ':'), t.Value, "|,")
		}
	case Untagged:
	}
	w.line = append(append(w.line[:0], w.head...), ':')
}

// end is what comes after a value that was chosen at a rate; 1 is of a value that stands for itself.
func (w *Writer) end(kind string, rate float64) []byte {
	w.last = append(w.last[:0], kind...)
	if rate < 1 {
		w.last = strconv.AppendFloat(append(w.last, "|@"...), rate, 'f', -1, 64)
	}
	w.last = append(w.last, w.tail...)
	return w.last
}

// values writes the values of a histogram's last interval.
func (w *Writer) values(m *stats.Metric, yield func([]byte)) {
	total := m.Interval.Count()
	if total == 0 {
		return
	}
	w.begin(m)
	at := len(w.line)
	most := min(total, MostValues)
	end := w.end("|ms", float64(most)/float64(total))
	// The i-th of them stands in the middle of its share of all, which are in order.
	bucket, below := 0, m.Interval[0].Count
	for i := range most {
		rank := min(uint64((float64(i)+0.5)*float64(total)/float64(most)), total-1)
		for rank >= below {
			bucket++
			below += m.Interval[bucket].Count
		}
		yield(append(w.value(w.line[:at], m.Interval[bucket], m.Unit), end...))
	}
}

// value appends a value of a bucket: its middle, or the one number in it.
func (w *Writer) value(dst []byte, b stats.Bucket, unit stats.Unit) []byte {
	v := b.Lower
	if b.Width > 1 {
		v += b.Width / 2
	}
	if w.format.Scaled && unit == stats.Microseconds {
		v /= 1000
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

// appendPlain appends a text, of which what would end it becomes "_".
func appendPlain(dst []byte, s, ends string) []byte {
	for i := range len(s) {
		c := s[i]
		for j := range len(ends) {
			if c == ends[j] {
				c = '_'
			}
		}
		if c <= ' ' || c == 0x7f {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}
