// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// WritePrometheus writes the answer of Envoy's /stats/prometheus, in Prometheus' text exposition format: every name with the
// prefix envoy_ and its tags as labels; counters, gauges, text readouts if asked for, histograms, each by name.
func (s *Store) WritePrometheus(w io.Writer, o Options) error {
	o.Only = nil
	a := s.answer()
	for _, kind := range []Kind{KindCounter, KindGauge, KindText, KindHistogram} {
		if kind == KindText && !o.TextReadouts {
			continue
		}
		families := map[string]*family{}
		err := a.metrics(func(k Kind) bool { return k == kind }, o, func(m *Metric) error {
			m.Extracted, m.Tags = a.rules.extract(m.Name)
			f := families[m.Extracted]
			if f == nil {
				f = &family{name: "envoy_" + promName(m.Extracted)}
				families[m.Extracted] = f
			}
			f.add(m, o.Histograms)
			return nil
		})
		if err != nil {
			return err
		}
		if err := writeFamilies(w, slices.SortedFunc(maps.Values(families), byName), kind, o.Histograms); err != nil {
			return err
		}
	}
	return nil
}

// A family is the series of one name, as they are written.
type family struct {
	name  string
	parts [][]byte // so that a large one is never copied
}

func byName(a, b *family) int { return strings.Compare(a.name, b.name) }

func (f *family) add(m *Metric, mode HistogramMode) {
	var b []byte
	last := len(f.parts) - 1
	if last >= 0 && len(f.parts[last]) < cap(f.parts[last])*7/8 {
		b, f.parts = f.parts[last], f.parts[:last]
	} else if last >= 0 {
		b = make([]byte, 0, gathered/4)
	}
	f.parts = append(f.parts, m.appendSeries(b, f.name, mode))
}

// writeFamilies writes families in the order of their names. Names that differ only in what Prometheus does not allow are
// one.
func writeFamilies(w io.Writer, list []*family, kind Kind, mode HistogramMode) error {
	what := kind.String()
	switch {
	case kind == KindText:
		what = "gauge"
	case kind == KindHistogram && mode == Summary:
		what = "summary"
	}
	for i, f := range list {
		if i == 0 || list[i-1].name != f.name {
			if _, err := fmt.Fprintf(w, "# TYPE %s %s\n", f.name, what); err != nil {
				return err
			}
		}
		for _, part := range f.parts {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		f.parts = nil
	}
	return nil
}

// appendSeries writes the lines of a metric.
func (m *Metric) appendSeries(b []byte, name string, mode HistogramMode) []byte {
	labels := promLabels(m.Tags)
	switch m.Kind {
	case KindCounter:
		b = strconv.AppendUint(appendSeries(b, name, "", labels), m.Count, 10)
	case KindGauge:
		b = strconv.AppendInt(appendSeries(b, name, "", labels), m.Level, 10)
	case KindText:
		b = append(appendSeries(b, name, "", promLabels(append(slices.Clip(m.Tags), Tag{"text_value", m.Text}))), '0')
	case KindHistogram:
		return m.appendPrometheus(b, name, labels, mode)
	}
	return append(b, '\n')
}

// appendPrometheus writes a histogram's lines; a summary's are those of the last interval, as in Envoy.
func (m *Metric) appendPrometheus(b []byte, name, labels string, mode HistogramMode) []byte {
	more := ""
	if labels != "" {
		more = labels + ","
	}
	all := m.Cumulative
	if mode == Summary {
		all = m.Interval
		for i, v := range all.Quantiles(shownQuantiles()) {
			q := string(appendFloat(nil, shownQuantiles()[i]))
			b = append(appendLong(appendSeries(b, name, "", more+`quantile="`+q+`"`), v), '\n')
		}
	} else {
		for i, n := range all.cumulative(m.Bounds) {
			b = appendSeries(b, name, "_bucket", more+`le="`+string(appendLong(nil, m.Bounds[i]))+`"`)
			b = append(strconv.AppendUint(b, n, 10), '\n')
		}
		b = appendSeries(b, name, "_bucket", more+`le="+Inf"`)
		b = append(strconv.AppendUint(b, all.Count(), 10), '\n')
	}
	b = append(appendLong(appendSeries(b, name, "_sum", labels), all.Sum()), '\n')
	return append(strconv.AppendUint(appendSeries(b, name, "_count", labels), all.Count(), 10), '\n')
}

func appendSeries(b []byte, name, suffix, labels string) []byte {
	b = append(append(b, name...), suffix...)
	return append(append(append(b, '{'), labels...), "} "...)
}

// appendLong writes up to 32 digits, as C's %.32g, which is what Envoy prints bounds and sums with.
func appendLong(b []byte, v float64) []byte {
	if v != v {
		return append(b, "nan"...)
	}
	return strconv.AppendFloat(b, v, 'g', 32, 64)
}

// promName makes a name of what Prometheus allows in one. It does not mind a leading digit, as a prefix always precedes it;
// a label's name comes from the configuration and gets an underscore before one.
func promName(s string) string {
	ok := func(c byte) bool {
		return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	for i := range len(s) {
		if !ok(s[i]) {
			b := []byte(s)
			for ; i < len(b); i++ {
				if !ok(b[i]) {
					b[i] = '_'
				}
			}
			return string(b)
		}
	}
	return s
}

var promEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// promLabels writes tags as labels, without braces.
func promLabels(tags []Tag) string {
	var b strings.Builder
	for i, t := range tags {
		if i > 0 {
			b.WriteByte(',')
		}
		name := promName(t.Name)
		if name == "" || name[0] >= '0' && name[0] <= '9' {
			b.WriteByte('_')
		}
		b.WriteString(name)
		b.WriteString(`="`)
		b.WriteString(strings.ToValidUTF8(promEscape.Replace(t.Value), "\uFFFD"))
		b.WriteByte('"')
	}
	return b.String()
}
