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

func (o *Options) accept(name string, v *sample) bool {
	return (!o.UsedOnly || v.used) && (o.Filter == nil || o.Filter.MatchString(name)) && (o.Only == nil || *o.Only == v.kind)
}

// inOrder calls yield for what a text or JSON answer shows, in Envoy's order: text readouts, then counters and gauges, then
// histograms, each by name.
func (s *Store) inOrder(o Options, yield func(*Metric) error) error {
	a := s.answer()
	for _, pass := range []func(Kind) bool{
		func(k Kind) bool { return k == KindText },
		func(k Kind) bool { return k == KindCounter || k == KindGauge },
		func(k Kind) bool { return k == KindHistogram },
	} {
		if err := a.metrics(pass, o, yield); err != nil {
			return err
		}
	}
	return nil
}

// gathered is how much of an answer is written at once.
const gathered = 64 << 10

// flush writes b if it is large enough, and returns what is left of it.
func flush(w io.Writer, b []byte) ([]byte, error) {
	if len(b) < gathered {
		return b, nil
	}
	_, err := w.Write(b)
	return b[:0], err
}

// WriteText writes the answer of Envoy's /stats: one "name: value" a line. It has little of it in memory at once.
func (s *Store) WriteText(w io.Writer, o Options) error {
	var b []byte
	err := s.inOrder(o, func(m *Metric) (err error) {
		b = append(b, m.Name...)
		switch m.Kind {
		case KindText:
			b = append(append(append(b, `: "`...), m.Text...), '"')
		case KindCounter:
			b = strconv.AppendUint(append(b, ": "...), m.Count, 10)
		case KindGauge:
			b = strconv.AppendInt(append(b, ": "...), m.Level, 10)
		case KindHistogram:
			b = m.appendText(b, o.Histograms)
		}
		b, err = flush(w, append(b, '\n'))
		return err
	})
	if err != nil {
		return err
	}
	_, err = w.Write(b)
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

// WriteJSON writes the answer of Envoy's /stats?format=json. It has little of it in memory at once.
func (s *Store) WriteJSON(w io.Writer, o Options) error {
	b := []byte(`{"stats":[`)
	begin, end := histogramsObject(o.Histograms)
	first, histograms := true, false
	err := s.inOrder(o, func(m *Metric) (err error) {
		if !first {
			b = append(b, ',')
		}
		if m.Kind == KindHistogram && !histograms {
			b, histograms = append(b, begin...), true
		}
		first = false
		b = appendQuoted(append(b, `{"name":`...), m.Name)
		switch m.Kind {
		case KindText:
			b = appendQuoted(append(b, `,"value":`...), m.Text)
		case KindCounter:
			b = strconv.AppendUint(append(b, `,"value":`...), m.Count, 10)
		case KindGauge:
			b = strconv.AppendInt(append(b, `,"value":`...), m.Level, 10)
		case KindHistogram:
			b = m.appendObject(b, o.Histograms)
		}
		b, err = flush(w, append(b, '}'))
		return err
	})
	if err != nil {
		return err
	}
	if histograms {
		b = append(b, end...)
	}
	_, err = w.Write(append(b, "]}"...))
	return err
}

// histogramsObject is what stands around all histograms, which are one object, as in Envoy.
func histogramsObject(mode HistogramMode) (begin, end string) {
	switch mode {
	case Cumulative, Disjoint:
		return `{"histograms":[`, "]}"
	case Detailed:
		return `{"histograms":` + string(append(appendPercentiles([]byte(`{"supported_percentiles":`)), `,"details":[`...)), "]}}"
	case Quantiles, Summary:
	}
	return `{"histograms":` + string(append(appendPercentiles([]byte(`{"supported_quantiles":`)), `,"computed_quantiles":[`...)), "]}}"
}

// appendObject writes a histogram after its name.
func (m *Metric) appendObject(b []byte, mode HistogramMode) []byte {
	switch mode {
	case Cumulative:
		return m.appendBucketObjects(b, Buckets.cumulative)
	case Disjoint:
		return m.appendBucketObjects(b, Buckets.disjoint)
	case Detailed:
		b = appendDetailObjects(append(b, `,"totals":`...), m.Cumulative)
		b = appendDetailObjects(append(b, `,"intervals":`...), m.Interval)
		return m.appendQuantileObjects(append(b, `,"percentiles":`...))
	case Quantiles, Summary:
	}
	return m.appendQuantileObjects(append(b, `,"values":`...))
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
