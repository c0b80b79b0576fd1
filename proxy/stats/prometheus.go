// SPDX-License-Identifier: Apache-2.0

package stats

import (
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
	families := map[Kind]map[string][]Metric{}
	for _, m := range s.snapshot(true, o.accept) {
		if families[m.Kind] == nil {
			families[m.Kind] = map[string][]Metric{}
		}
		name := "envoy_" + promName(m.Extracted)
		families[m.Kind][name] = append(families[m.Kind][name], m)
	}
	var b []byte
	for _, kind := range []Kind{KindCounter, KindGauge, KindText, KindHistogram} {
		if kind == KindText && !o.TextReadouts {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(families[kind])) {
			b = appendFamily(b, name, kind, families[kind][name], o.Histograms)
		}
	}
	_, err := w.Write(b)
	return err
}

func appendFamily(b []byte, name string, kind Kind, list []Metric, mode HistogramMode) []byte {
	what := kind.String()
	switch {
	case kind == KindText:
		what = "gauge"
	case kind == KindHistogram && mode == Summary:
		what = "summary"
	}
	b = append(append(append(b, "# TYPE "...), name...), ' ')
	b = append(append(b, what...), '\n')
	for i := range list {
		m := &list[i]
		labels := promLabels(m.Tags)
		switch kind {
		case KindCounter:
			b = strconv.AppendUint(appendSeries(b, name, "", labels), m.Count, 10)
		case KindGauge:
			b = strconv.AppendInt(appendSeries(b, name, "", labels), m.Level, 10)
		case KindText:
			b = append(appendSeries(b, name, "", promLabels(append(slices.Clip(m.Tags), Tag{"text_value", m.Text}))), '0')
		case KindHistogram:
			b = m.appendPrometheus(b, name, labels, mode)
			continue
		}
		b = append(b, '\n')
	}
	return b
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

// promLabels writes tags as labels, without braces.
func promLabels(tags []Tag) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
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
		b.WriteString(strings.ToValidUTF8(escape.Replace(t.Value), "\uFFFD"))
		b.WriteByte('"')
	}
	return b.String()
}
