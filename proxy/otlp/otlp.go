// SPDX-License-Identifier: Apache-2.0

// Package otlp sends log records, spans and metrics to an OpenTelemetry collector by OTLP,
// over gRPC or HTTP, through a cluster.
//
// Records are encoded where they are made, in the wire format of Protocol Buffers: a
// batch is their bytes one after the other, and whoever makes a record needs no message
// and no allocation. How they are collected and sent is the matter of package batch, whose
// [batch.Options] Export makes.
package otlp

import (
	"encoding/binary"
	"encoding/hex"

	"weir.dev/weir/internal/wire"
	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/upstream/call"
)

// Field numbers: of opentelemetry.proto.logs.v1.LogRecord, common.v1.AnyValue, KeyValue and
// InstrumentationScope, and of what surrounds them in both services.
const (
	recordTime, recordBody, recordAttributes, recordTraceID, recordSpanID, recordObserved = 1, 5, 6, 9, 10, 11
	anyString, anyBool, anyInt, anyDouble, anyArray, anyList, anyBytes                    = 1, 2, 3, 4, 5, 6, 7
	pairKey, pairValue                                                                    = 1, 2
	records                                                                               = 2 // of ScopeLogs, ScopeSpans, ScopeMetrics
)

// A Value is an AnyValue: of nil, string, bool, int64, float64, []byte, []Value and
// []Pair. Format, if not nil, prints a string instead.
type Value struct {
	Of     any
	Format *format.Format
}

// A Pair is a KeyValue.
type Pair struct {
	Key   string
	Value Value
}

// AppendPair appends a KeyValue as a field; its formats are asked of c.
func AppendPair(dst []byte, field uint64, p *Pair, c *format.Context) []byte {
	return wire.Message(dst, field, func(dst []byte) []byte {
		return AppendValue(wire.Bytes(dst, pairKey, p.Key), pairValue, &p.Value, c)
	})
}

// AppendValue appends an AnyValue as a field.
func AppendValue(dst []byte, field uint64, v *Value, c *format.Context) []byte {
	return wire.Message(dst, field, func(dst []byte) []byte { return v.append(dst, c) })
}

func (v *Value) append(dst []byte, c *format.Context) []byte {
	if v.Format != nil {
		return wire.Message(dst, anyString, func(dst []byte) []byte {
			from := len(dst)
			return wire.Mend(v.Format.Append(dst, *c), from)
		})
	}
	switch x := v.Of.(type) {
	case string:
		return wire.Text(dst, anyString, x)
	case []byte:
		return wire.Bytes(dst, anyBytes, x)
	case bool:
		return wire.Bool(dst, anyBool, x)
	case int64:
		return wire.Uint(dst, anyInt, uint64(x))
	case float64:
		return wire.Double(dst, anyDouble, x)
	case []Value:
		return wire.Message(dst, anyArray, func(dst []byte) []byte {
			for i := range x {
				dst = AppendValue(dst, 1, &x[i], c)
			}
			return dst
		})
	case []Pair:
		return wire.Message(dst, anyList, func(dst []byte) []byte {
			for i := range x {
				dst = AppendPair(dst, 1, &x[i], c)
			}
			return dst
		})
	}
	return dst
}

// A Record is a log record.
type Record struct {
	// Time is when what it tells of happened, Observed when it was made; nanoseconds
	// since 1970.
	Time, Observed int64
	Body           *Value // nil: none
	Attributes     []Pair
	// Extra are attributes of this record alone.
	Extra []Pair
	// TraceID and SpanID are in hexadecimal, or empty.
	TraceID, SpanID []byte
}

// Append appends the record for an exporter; its formats are asked of c.
func (r *Record) Append(dst []byte, c *format.Context) []byte {
	return wire.Message(dst, records, func(dst []byte) []byte {
		dst = wire.Uint64(dst, recordTime, uint64(r.Time))
		if r.Body != nil {
			dst = AppendValue(dst, recordBody, r.Body, c)
		}
		for i := range r.Attributes {
			dst = AppendPair(dst, recordAttributes, &r.Attributes[i], c)
		}
		for i := range r.Extra {
			dst = AppendPair(dst, recordAttributes, &r.Extra[i], c)
		}
		dst = appendHex(dst, recordTraceID, r.TraceID)
		dst = appendHex(dst, recordSpanID, r.SpanID)
		return wire.Uint64(dst, recordObserved, uint64(r.Observed))
	})
}

// appendHex appends an ID; one that is none is left out.
func appendHex(dst []byte, field uint64, id []byte) []byte {
	var b [16]byte
	if len(id) == 0 || len(id) > 2*len(b) {
		return dst
	}
	n, err := hex.Decode(b[:], id)
	if err != nil {
		return dst
	}
	return wire.Bytes(dst, field, b[:n])
}

// Resource encodes a Resource with attributes, which an exporter sends with each batch.
func Resource(attributes []Pair) []byte {
	var dst []byte
	for i := range attributes {
		dst = AppendPair(dst, 1, &attributes[i], nil)
	}
	return dst
}

// Methods of the services of OTLP.
const (
	ExportLogs    = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
	ExportSpans   = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	ExportMetrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
)

// Export returns how records of a resource, which is encoded by [Resource], go to a
// service: by a method of gRPC, or by HTTP if method is "". Scope, if not "", is the name
// of what has made them, and version its version.
func Export(service *call.Service, method string, resource []byte, scope, version string) batch.Options {
	return batch.Options{
		Service: service, Method: method, Type: "application/x-protobuf", Rejected: rejected,
		Request: func(dst, records []byte) []byte {
			return wire.Message(dst, 1, func(dst []byte) []byte {
				dst = wire.Bytes(dst, 1, resource)
				dst, at := wire.Begin(dst, 2)
				if scope != "" {
					dst = wire.Message(dst, 1, func(dst []byte) []byte { return wire.Bytes(wire.Bytes(dst, 1, scope), 2, version) })
				}
				return wire.End(append(dst, records...), at)
			})
		},
	}
}

// rejected reads of a response how many records its server did not take: field 1 of
// partial_success (1).
func rejected(b []byte) uint64 {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return 0
		}
		b = b[n:]
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return 0
		}
		b = b[n:]
		switch key {
		case 1<<3 | wire.Length: // Within it the count comes first.
			if v > uint64(len(b)) {
				return 0
			}
			inner := b[:v]
			if k, n := binary.Uvarint(inner); n > 0 && k == 1<<3|wire.Varint {
				count, _ := binary.Uvarint(inner[n:])
				return count
			}
			return 0
		default:
			return 0
		}
	}
	return 0
}
