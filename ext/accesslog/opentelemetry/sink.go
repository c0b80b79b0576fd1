// SPDX-License-Identifier: Apache-2.0

// Package opentelemetry is the access logger envoy.access_loggers.open_telemetry: records
// that are sent to an OpenTelemetry collector. How they get there is the matter of
// proxy/otlp.
package opentelemetry

import (
	"time"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/otlp"
	"weir.dev/weir/proxy/streaminfo"
)

// Sink makes a record of each stream.
type Sink struct {
	body       *otlp.Value // nil: none
	attributes []otlp.Pair
	states     []string // filter states that are logged, too
	exporter   *batch.Exporter
}

// Log implements accesslog.Sink.
func (k *Sink) Log(_ int, info *streaminfo.Stream, typ accesslog.Type) {
	start := info.Start
	if start.IsZero() && info.Conn != nil {
		start = info.Conn.Start
	}
	r := otlp.Record{
		Time: start.UnixNano(), Observed: time.Now().UnixNano(), Body: k.body, Attributes: k.attributes,
		TraceID: info.TraceID, SpanID: info.SpanID,
	}
	for _, name := range k.states {
		o, ok := info.FilterState[name]
		if !ok && info.Conn != nil {
			o, ok = info.Conn.FilterState[name]
		}
		if ok {
			r.Extra = append(r.Extra, otlp.Pair{Key: name, Value: otlp.Value{Of: o.Text}})
		}
	}
	c := format.Context{Stream: info, LogType: typ.String()}
	k.exporter.Make(func(dst []byte) []byte { return r.Append(dst, &c) })
}
