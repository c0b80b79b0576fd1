// SPDX-License-Identifier: Apache-2.0

package zipkin

import (
	"encoding/hex"
	"strconv"

	"weir.dev/weir/internal/wire"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/trace"
)

// micros are the unit of Zipkin's times.
func micros(nanos int64) int64 { return nanos / 1000 }

// traceBytes are the bytes of the identity of a trace.
func traceBytes(s *trace.Span) []byte {
	if s.Wide {
		return s.Trace[:]
	}
	return s.Trace[8:]
}

// appendJSON appends a span as JSON of version 2, and the comma that ends it: the last is
// cut off when a batch is sent.
func appendJSON(dst []byte, s *trace.Span, service string) []byte {
	dst = append(dst, `{"traceId":"`...)
	dst = hex.AppendEncode(dst, traceBytes(s))
	dst = append(dst, `","id":"`...)
	dst = hex.AppendEncode(dst, s.ID[:])
	if s.Parent != (trace.SpanID{}) {
		dst = append(dst, `","parentId":"`...)
		dst = hex.AppendEncode(dst, s.Parent[:])
	}
	if s.Kind == trace.Client {
		dst = append(dst, `","kind":"CLIENT"`...)
	} else {
		dst = append(dst, `","kind":"SERVER"`...)
	}
	if s.Shared {
		dst = append(dst, `,"shared":true`...)
	}
	dst = append(dst, `,"name":`...)
	dst = format.AppendJSONValue(dst, string(s.Name()))
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, micros(s.Start), 10)
	dst = append(dst, `,"duration":`...)
	dst = strconv.AppendInt(dst, max(micros(s.End-s.Start), 1), 10)
	dst = append(dst, `,"localEndpoint":{"serviceName":`...)
	dst = format.AppendJSONValue(dst, service)
	dst = append(dst, `},"tags":{`...)
	first := true
	s.Tags(func(key string, value []byte) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(format.AppendJSONValue(dst, key), ':')
		dst = format.AppendJSONValue(dst, string(value))
	})
	dst = append(dst, '}')
	open := false
	s.Events(func(name string, at int64) {
		if open {
			dst = append(dst, ',')
		} else {
			dst = append(dst, `,"annotations":[`...)
		}
		open = true
		dst = append(dst, `{"timestamp":`...)
		dst = strconv.AppendInt(dst, micros(at), 10)
		dst = append(append(append(dst, `,"value":"`...), name...), `"}`...)
	})
	if open {
		dst = append(dst, ']')
	}
	return append(dst, "},"...)
}

// listJSON makes a list of spans in JSON.
func listJSON(dst, spans []byte) []byte {
	dst = append(dst, '[')
	if n := len(spans); n > 0 {
		dst = append(dst, spans[:n-1]...)
	}
	return append(dst, ']')
}

// Field numbers of zipkin.proto3.Span, its Endpoint and Annotation; values of its Kind.
const (
	fieldTrace, fieldParent, fieldID, fieldKind, fieldName, fieldTime, fieldDuration, fieldLocal, fieldAnnotations, fieldTags, fieldShared = 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13
	endpointService                                                                                                                        = 1
	annotationTime, annotationValue                                                                                                        = 1, 2
	mapKey, mapValue                                                                                                                       = 1, 2
	kindClient, kindServer                                                                                                                 = 1, 2
)

// appendProto appends a span as an element of zipkin.proto3.ListOfSpans, whose bytes those
// of several are.
func appendProto(dst []byte, s *trace.Span, service string) []byte {
	dst, at := wire.Begin(dst, 1)
	dst = wire.Bytes(dst, fieldTrace, traceBytes(s))
	if s.Parent != (trace.SpanID{}) {
		dst = wire.Bytes(dst, fieldParent, s.Parent[:])
	}
	dst = wire.Bytes(dst, fieldID, s.ID[:])
	kind := uint64(kindServer)
	if s.Kind == trace.Client {
		kind = kindClient
	}
	dst = wire.Uint(dst, fieldKind, kind)
	dst = wire.Text(dst, fieldName, s.Name())
	dst = wire.Uint64(dst, fieldTime, uint64(micros(s.Start)))
	dst = wire.Uint(dst, fieldDuration, uint64(max(micros(s.End-s.Start), 1)))
	dst = wire.Message(dst, fieldLocal, func(dst []byte) []byte { return wire.Bytes(dst, endpointService, service) })
	s.Events(func(name string, when int64) {
		dst = wire.Message(dst, fieldAnnotations, func(dst []byte) []byte {
			return wire.Bytes(wire.Uint64(dst, annotationTime, uint64(micros(when))), annotationValue, name)
		})
	})
	s.Tags(func(key string, value []byte) {
		dst = wire.Message(dst, fieldTags, func(dst []byte) []byte {
			return wire.Text(wire.Bytes(dst, mapKey, key), mapValue, value)
		})
	})
	if s.Shared {
		dst = wire.Bool(dst, fieldShared, true)
	}
	return wire.End(dst, at)
}

// listProto makes a ListOfSpans.
func listProto(dst, spans []byte) []byte { return append(dst, spans...) }
