// SPDX-License-Identifier: Apache-2.0

// Package orca reads what hosts tell of their load with each response: the field
// endpoint-load-metrics of Open Request Cost Aggregation, in its text, JSON and binary
// forms (xds.data.orca.v3.OrcaLoadReport). It owns no policy: what a report is good for
// is the balancer's.
package orca

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"weir.dev/weir/proxy/header"
)

// A Report is one report. It may be used again.
type Report struct {
	CPU, Mem, Application float64
	// EPS and RPS are errors and requests per second.
	EPS, RPS float64
	// Metrics have names such as "named_metrics.queue", "utilization.disk" and
	// "request_cost.rows".
	Metrics []Metric
}

// A Metric is a value that the host has named.
type Metric struct {
	Name  string
	Value float64
}

// Errors of Parse.
var (
	// ErrNone: there is no report.
	ErrNone = errors.New("no load report")
	// ErrSeveral: reports in more than one form contradict each other.
	ErrSeveral = errors.New("more than one form of load report")
)

var (
	field       = header.NewName("endpoint-load-metrics")
	fieldJSON   = header.NewName("endpoint-load-metrics-json")
	fieldBinary = header.NewName("endpoint-load-metrics-bin")
)

// maxMetrics bounds what is kept of one report.
const maxMetrics = 256

// Has tells whether fields have a report at all.
func Has(h *header.Map) bool { return h.Has(field) || h.Has(fieldBinary) || h.Has(fieldJSON) }

// Parse reads the report of a response's head or trailer into r.
func (r *Report) Parse(h *header.Map) error {
	*r = Report{Metrics: r.Metrics[:0]}
	text, js, bin := h.Get(field), h.Get(fieldJSON), h.Get(fieldBinary)
	forms := 0
	for _, v := range [][]byte{text, js, bin} {
		if v != nil {
			forms++
		}
	}
	switch {
	case forms == 0:
		return ErrNone
	case forms > 1:
		return ErrSeveral
	case js != nil:
		return r.json(js)
	case bin != nil:
		return r.base64(bin)
	}
	form, rest, _ := bytes.Cut(text, []byte(" "))
	switch string(form) {
	case "JSON":
		return r.json(rest)
	case "BIN":
		return r.base64(bytes.TrimSpace(rest))
	case "TEXT":
		return r.text(rest)
	}
	for v := range h.Values(field) {
		if err := r.text(v); err != nil {
			return err
		}
	}
	return nil
}

// text reads pairs such as cpu_utilization=0.3,named_metrics.queue=7. Older hosts write
// a colon.
func (r *Report) text(b []byte) error {
	seen := 0
	for part := range bytes.SplitSeq(b, []byte(",")) {
		if part = bytes.TrimSpace(part); len(part) == 0 {
			continue
		}
		i := bytes.IndexAny(part, "=:")
		if i <= 0 {
			return fmt.Errorf("%q is not a name and a value", part)
		}
		v, err := strconv.ParseFloat(string(bytes.TrimSpace(part[i+1:])), 64)
		if err != nil {
			return fmt.Errorf("metric %q: %w", part[:i], err)
		}
		if seen++; seen > maxMetrics {
			return fmt.Errorf("there are more than %d metrics", maxMetrics)
		}
		if err := r.set(string(bytes.TrimSpace(part[:i])), v); err != nil {
			return err
		}
	}
	return nil
}

// set notes a value by the name of its field.
func (r *Report) set(name string, v float64) error {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Errorf("metric %q is not finite", name)
	}
	switch name {
	case "cpu_utilization":
		r.CPU = v
	case "mem_utilization":
		r.Mem = v
	case "application_utilization":
		r.Application = v
	case "eps":
		r.EPS = v
	case "rps_fractional":
		r.RPS = v
	case "rps":
		// Deprecated in favour of rps_fractional.
	default:
		group, key, ok := strings.Cut(name, ".")
		if !ok || key == "" || group != "named_metrics" && group != "utilization" && group != "request_cost" {
			return fmt.Errorf("metric %q is not known", name)
		}
		if len(r.Metrics) == maxMetrics {
			return fmt.Errorf("there are more than %d metrics", maxMetrics)
		}
		r.Metrics = append(r.Metrics, Metric{name, v})
	}
	return nil
}

// camel has the names of the fields as protobuf's JSON prefers them.
func camel(name string) string {
	switch name {
	case "cpuUtilization":
		return "cpu_utilization"
	case "memUtilization":
		return "mem_utilization"
	case "applicationUtilization":
		return "application_utilization"
	case "rpsFractional":
		return "rps_fractional"
	case "namedMetrics":
		return "named_metrics"
	case "requestCost":
		return "request_cost"
	}
	return name
}

func (r *Report) json(b []byte) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("load report: %w", err)
	}
	for k, raw := range m {
		k = camel(k)
		var v float64
		if json.Unmarshal(raw, &v) == nil {
			if err := r.set(k, v); err != nil {
				return err
			}
			continue
		}
		if k == "rps" {
			continue // 64-bit numbers are strings in protobuf's JSON.
		}
		var group map[string]float64
		if err := json.Unmarshal(raw, &group); err != nil {
			return fmt.Errorf("load report: %s: %w", k, err)
		}
		for name, v := range group {
			if err := r.set(k+"."+name, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Report) base64(b []byte) error {
	// gRPC leaves the padding out.
	b = bytes.TrimRight(b, "=")
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(b)))
	n, err := base64.RawStdEncoding.Decode(out, b)
	if err != nil {
		return fmt.Errorf("load report: %w", err)
	}
	return r.binary(out[:n])
}

var errBinary = errors.New("load report: not an OrcaLoadReport")

// names are the fields of OrcaLoadReport by number.
var names = [...]string{
	1: "cpu_utilization", 2: "mem_utilization", 3: "rps", 4: "request_cost", 5: "utilization",
	6: "rps_fractional", 7: "eps", 8: "named_metrics", 9: "application_utilization",
}

// Wire types of protobuf.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

func (r *Report) binary(b []byte) error {
	for len(b) > 0 {
		number, value, entry, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		if number >= uint64(len(names)) || names[number] == "" {
			continue
		}
		name := names[number]
		if entry == nil {
			if err := r.set(name, value); err != nil {
				return err
			}
			continue
		}
		key, v := "", 0.0
		for len(entry) > 0 {
			n, x, s, rest, err := next(entry)
			if err != nil {
				return err
			}
			entry = rest
			switch n {
			case 1:
				key = string(s)
			case 2:
				v = x
			}
		}
		if err := r.set(name+"."+key, v); err != nil {
			return err
		}
	}
	return nil
}

// next reads one field: a double, or bytes; text is nil unless it is bytes.
func next(b []byte) (number uint64, v float64, text, rest []byte, err error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, 0, nil, nil, errBinary
	}
	b = b[n:]
	size := 0
	switch tag & 7 {
	case wireVarint:
		if _, n = binary.Uvarint(b); n <= 0 {
			return 0, 0, nil, nil, errBinary
		}
		size = n
	case wireFixed64:
		size = 8
	case wireFixed32:
		size = 4
	case wireBytes:
		l, n := binary.Uvarint(b)
		if n <= 0 || l > uint64(len(b)-n) {
			return 0, 0, nil, nil, errBinary
		}
		return tag >> 3, 0, b[n : n+int(l) : n+int(l)], b[n+int(l):], nil
	default:
		return 0, 0, nil, nil, errBinary
	}
	if len(b) < size {
		return 0, 0, nil, nil, errBinary
	}
	if tag&7 == wireFixed64 {
		v = math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return tag >> 3, v, nil, b[size:], nil
}

// Max is the greatest of some metrics, 0 if there is none. Besides names as in Metrics it
// knows cpu_utilization, mem_utilization and application_utilization; an asterisk after
// the dot stands for all of a group.
func (r *Report) Max(names []string) float64 {
	most := 0.0
	for _, n := range names {
		switch n {
		case "cpu_utilization":
			most = max(most, r.CPU)
		case "mem_utilization":
			most = max(most, r.Mem)
		case "application_utilization":
			most = max(most, r.Application)
		default:
			group, all := strings.CutSuffix(n, "*")
			for i := range r.Metrics {
				if m := &r.Metrics[i]; m.Name == n || all && strings.HasPrefix(m.Name, group) {
					most = max(most, m.Value)
				}
			}
		}
	}
	return most
}
