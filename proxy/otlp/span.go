// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"weir.dev/weir/internal/wire"
	"weir.dev/weir/proxy/trace"
)

// Field numbers of opentelemetry.proto.trace.v1.Span, its Event and Status.
const (
	spanTrace, spanID, spanState, spanParent, spanName, spanKind, spanStart, spanEnd, spanAttributes, spanEvents, spanStatus, spanFlags = 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 16
	eventTime, eventName                                                                                                                = 1, 2
	statusCode, codeError                                                                                                               = 3, 2
)

// AppendSpan appends a span for an exporter.
func AppendSpan(dst []byte, s *trace.Span) []byte {
	dst, at := wire.Begin(dst, records)
	dst = wire.Bytes(dst, spanTrace, s.Trace[:])
	dst = wire.Bytes(dst, spanID, s.ID[:])
	if len(s.State) > 0 {
		dst = wire.Text(dst, spanState, s.State)
	}
	if s.Parent != (trace.SpanID{}) {
		dst = wire.Bytes(dst, spanParent, s.Parent[:])
	}
	dst = wire.Text(dst, spanName, s.Name())
	dst = wire.Uint(dst, spanKind, uint64(s.Kind))
	dst = wire.Uint64(dst, spanStart, uint64(s.Start))
	dst = wire.Uint64(dst, spanEnd, uint64(s.End))
	s.Tags(func(key string, value []byte) {
		var pair, any int
		dst, pair = wire.Begin(dst, spanAttributes)
		dst = wire.Bytes(dst, pairKey, key)
		dst, any = wire.Begin(dst, pairValue)
		dst = wire.End(wire.End(wire.Text(dst, anyString, value), any), pair)
	})
	s.Events(func(name string, when int64) {
		var event int
		dst, event = wire.Begin(dst, spanEvents)
		dst = wire.End(wire.Bytes(wire.Uint64(dst, eventTime, uint64(when)), eventName, name), event)
	})
	// A client's error is one to the client alone (OpenTelemetry's conventions for HTTP).
	if s.Failed || s.Status >= 500 || s.Status >= 400 && s.Kind == trace.Client {
		dst = wire.Message(dst, spanStatus, func(dst []byte) []byte { return wire.Uint(dst, statusCode, codeError) })
	}
	return wire.End(wire.Uint32(dst, spanFlags, 1), at)
}
