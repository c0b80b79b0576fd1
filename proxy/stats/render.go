// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"regexp"
	"strconv"
	"unicode/utf8"
)

// Options choose what is rendered and how; the zero value is everything in Envoy's default form. They are the query
// parameters of Envoy's /stats.
type Options struct {
	// UsedOnly leaves out what was never written (usedonly).
	UsedOnly bool
	// Filter leaves out names in which it finds nothing (filter); nil passes all.
	Filter *regexp.Regexp
	// Only leaves out other kinds (type); nil passes all. Prometheus output does not regard it, as in Envoy.
	Only *Kind
	// Histograms is how histograms are shown (histogram_buckets).
	Histograms HistogramMode
	// TextReadouts adds text readouts to Prometheus output, as gauges of value 0 with the text as a label (text_readouts).
	TextReadouts bool
}

// A HistogramMode is a form in which histograms are shown.
type HistogramMode uint8

// The forms of histograms. For Prometheus output there are two: Summary writes summaries, all others write histograms.
const (
	// Quantiles shows P0 to P100, of the last interval and of all values. It is the default of text and JSON.
	Quantiles HistogramMode = iota
	// Cumulative counts the values up to each bound.
	Cumulative
	// Disjoint counts the values between bounds.
	Disjoint
	// Detailed shows the buckets as they were recorded, and the quantiles.
	Detailed
	// Summary is Quantiles, and for Prometheus the interval's quantiles.
	Summary
)

func (o Options) accept(name string, v sample) bool {
	return (!o.UsedOnly || v.used) && (o.Filter == nil || o.Filter.MatchString(name)) && (o.Only == nil || *o.Only == v.kind)
}

// sorted is what a text or JSON answer shows, in Envoy's order: text readouts, then counters and gauges, then histograms,
// each by name.
func (s *Store) sorted(o Options) (plain, histograms []Metric) {
	var numbers []Metric
	for _, m := range s.snapshot(false, o.accept) {
		switch m.Kind {
		case KindText:
			plain = append(plain, m)
		case KindHistogram:
			histograms = append(histograms, m)
		case KindCounter, KindGauge:
			numbers = append(numbers, m)
		}
	}
	return append(plain, numbers...), histograms
}

// WriteText writes the answer of Envoy's /stats: one "name: value" a line.
func (s *Store) WriteText(w io.Writer, o Options) error {
	plain, histograms := s.sorted(o)
	var b []byte
	for _, m := range plain {
		b = append(append(b, m.Name...), ": "...)
		switch m.Kind {
		case KindText:
			b = append(append(append(b, '"'), m.Text...), '"')
		case KindCounter:
			b = strconv.AppendUint(b, m.Count, 10)
		case KindGauge, KindHistogram:
			b = strconv.AppendInt(b, m.Level, 10)
		}
		b = append(b, '\n')
	}
	for _, m := range histograms {
		b = append(b, m.Name...)
		b = append(m.appendText(b, o.Histograms), '\n')
	}
	_, err := w.Write(b)
	return err
}

// appendText writes a histogram after its name.
func (m *Metric) appendText(b []byte, mode HistogramMode) []byte {
	if !m.Used {
		return append(b, ": No recorded values"...)
	}
	switch mode {
	case Cumulative:
		return m.appendBuckets(append(b, ": "...), Buckets.cumulative)
	case Disjoint:
		return m.appendBuckets(append(b, ": "...), Buckets.disjoint)
	case Detailed:
		b = appendDetail(append(b, ":\n  totals="...), m.Cumulative)
		b = appendDetail(append(b, "\n  intervals="...), m.Interval)
		return m.appendQuantiles(append(b, "\n  summary="...))
	case Quantiles, Summary:
	}
	return m.appendQuantiles(append(b, ": "...))
}

func (m *Metric) appendQuantiles(b []byte) []byte {
	shown := shownQuantiles()
	interval, all := m.Interval.Quantiles(shown), m.Cumulative.Quantiles(shown)
	for i, q := range shown {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendShort(append(b, 'P'), 100*q)
		b = appendFloat(append(b, '('), interval[i])
		b = appendFloat(append(b, ','), all[i])
		b = append(b, ')')
	}
	return b
}

func (m *Metric) appendBuckets(b []byte, count func(Buckets, []float64) []uint64) []byte {
	interval, all := count(m.Interval, m.Bounds), count(m.Cumulative, m.Bounds)
	for i, bound := range m.Bounds {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendShort(append(b, 'B'), bound)
		b = strconv.AppendUint(append(b, '('), interval[i], 10)
		b = strconv.AppendUint(append(b, ','), all[i], 10)
		b = append(b, ')')
	}
	return b
}

func appendDetail(b []byte, list Buckets) []byte {
	for i, s := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(appendFloat(b, s.Lower), ',')
		b = append(appendFloat(b, s.Width), ':')
		b = strconv.AppendUint(b, s.Count, 10)
	}
	return b
}

// appendFloat writes the shortest number that reads back the same, without exponent up to 1e16.
func appendFloat(b []byte, v float64) []byte {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return append(b, "nan"...)
	case a != 0 && a < 1e-4 || a >= 1e16:
		return strconv.AppendFloat(b, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}

// appendShort writes six digits, as C's %g.
func appendShort(b []byte, v float64) []byte { return strconv.AppendFloat(b, v, 'g', 6, 64) }

// WriteJSON writes the answer of Envoy's /stats?format=json.
func (s *Store) WriteJSON(w io.Writer, o Options) error {
	plain, histograms := s.sorted(o)
	b := []byte(`{"stats":[`)
	for i, m := range plain {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendQuoted(append(b, `{"name":`...), m.Name), `,"value":`...)
		switch m.Kind {
		case KindText:
			b = appendQuoted(b, m.Text)
		case KindCounter:
			b = strconv.AppendUint(b, m.Count, 10)
		case KindGauge, KindHistogram:
			b = strconv.AppendInt(b, m.Level, 10)
		}
		b = append(b, '}')
	}
	if len(histograms) > 0 {
		if len(plain) > 0 {
			b = append(b, ',')
		}
		b = appendHistograms(b, histograms, o.Histograms)
	}
	_, err := w.Write(append(b, "]}"...))
	return err
}

// appendHistograms writes all histograms as one object, as Envoy does.
func appendHistograms(b []byte, list []Metric, mode HistogramMode) []byte {
	b = append(b, `{"histograms":`...)
	end := "]}"
	switch mode {
	case Cumulative, Disjoint:
		b = append(b, '[')
	case Detailed:
		b = append(appendPercentiles(append(b, `{"supported_percentiles":`...)), `,"details":[`...)
		end = "]}}"
	case Quantiles, Summary:
		b = append(appendPercentiles(append(b, `{"supported_quantiles":`...)), `,"computed_quantiles":[`...)
		end = "]}}"
	}
	for i := range list {
		m := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(append(b, `{"name":`...), m.Name)
		switch mode {
		case Cumulative:
			b = m.appendBucketObjects(b, Buckets.cumulative)
		case Disjoint:
			b = m.appendBucketObjects(b, Buckets.disjoint)
		case Detailed:
			b = appendDetailObjects(append(b, `,"totals":`...), m.Cumulative)
			b = appendDetailObjects(append(b, `,"intervals":`...), m.Interval)
			b = m.appendQuantileObjects(append(b, `,"percentiles":`...))
		case Quantiles, Summary:
			b = m.appendQuantileObjects(append(b, `,"values":`...))
		}
		b = append(b, '}')
	}
	return append(b, end...)
}

func appendPercentiles(b []byte) []byte {
	for i, q := range shownQuantiles() {
		b = append(b, "[,"[min(i, 1)])
		b = appendShort(b, 100*q)
	}
	return append(b, ']')
}

func (m *Metric) appendQuantileObjects(b []byte) []byte {
	interval, all := m.Interval.Quantiles(shownQuantiles()), m.Cumulative.Quantiles(shownQuantiles())
	for i := range all {
		b = append(b, "[,"[min(i, 1)])
		b = appendNumber(append(b, `{"cumulative":`...), all[i])
		b = append(appendNumber(append(b, `,"interval":`...), interval[i]), '}')
	}
	return append(b, ']')
}

func (m *Metric) appendBucketObjects(b []byte, count func(Buckets, []float64) []uint64) []byte {
	interval, all := count(m.Interval, m.Bounds), count(m.Cumulative, m.Bounds)
	b = append(b, `,"buckets":[`...)
	for i, bound := range m.Bounds {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNumber(append(b, `{"upper_bound":`...), bound)
		b = strconv.AppendUint(append(b, `,"interval":`...), interval[i], 10)
		b = append(strconv.AppendUint(append(b, `,"cumulative":`...), all[i], 10), '}')
	}
	return append(b, ']')
}

func appendDetailObjects(b []byte, list Buckets) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNumber(append(b, `{"lower_bound":`...), s.Lower)
		b = appendNumber(append(b, `,"width":`...), s.Width)
		b = append(strconv.AppendUint(append(b, `,"count":`...), s.Count, 10), '}')
	}
	return append(b, ']')
}

// appendNumber writes a JSON number, null for what is none.
func appendNumber(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, "null"...)
	}
	return appendFloat(b, v)
}

// appendQuoted writes a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendQuoted(b []byte, s string) []byte {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] != '"' && s[i] != '\\' && s[i] < utf8.RuneSelf
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		panic("BUG: a string has no JSON form")
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}
