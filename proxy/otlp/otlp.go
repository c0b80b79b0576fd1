// SPDX-License-Identifier: Apache-2.0

// Package otlp sends log records and spans to an OpenTelemetry collector by OTLP, over
// gRPC or HTTP, through a cluster.
//
// Records are encoded where they are made, in the wire format of Protocol Buffers: a
// batch is their bytes one after the other, and whoever makes a record needs no message
// and no allocation. An [Exporter] collects them, and sends them when there are enough or
// after a while; what does not fit is dropped and counted. It has no goroutine while there
// is nothing to send.
package otlp

import (
	"encoding/binary"
	"encoding/hex"
	"math"

	"weir.dev/weir/proxy/format"
)

// Wire types of Protocol Buffers.
const (
	varint  = 0
	fixed64 = 1
	length  = 2
	fixed32 = 5
)

// Field numbers: of opentelemetry.proto.logs.v1.LogRecord, common.v1.AnyValue, KeyValue and
// InstrumentationScope, and of what surrounds them in both services.
const (
	recordTime, recordBody, recordAttributes, recordTraceID, recordSpanID, recordObserved = 1, 5, 6, 9, 10, 11
	anyString, anyBool, anyInt, anyDouble, anyArray, anyList, anyBytes                    = 1, 2, 3, 4, 5, 6, 7
	pairKey, pairValue                                                                    = 1, 2
	records                                                                               = 2 // of ScopeLogs, ScopeSpans
)

func tag(dst []byte, field, wire uint64) []byte { return binary.AppendUvarint(dst, field<<3|wire) }

func appendBytes[T string | []byte](dst []byte, field uint64, v T) []byte {
	dst = binary.AppendUvarint(tag(dst, field, length), uint64(len(v)))
	return append(dst, v...)
}

func appendFixed64(dst []byte, field, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(tag(dst, field, fixed64), v)
}

// appendMessage appends a message whose bytes f appends.
func appendMessage(dst []byte, field uint64, f func([]byte) []byte) []byte {
	dst = tag(dst, field, length)
	// Room for a length of three bytes, which most need not: a varint may be padded.
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = f(dst)
	n := len(dst) - at - 4
	dst[at], dst[at+1], dst[at+2], dst[at+3] = byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)|0x80, byte(n>>21)&0x7f
	return dst
}

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
	return appendMessage(dst, field, func(dst []byte) []byte {
		return AppendValue(appendBytes(dst, pairKey, p.Key), pairValue, &p.Value, c)
	})
}

// AppendValue appends an AnyValue as a field.
func AppendValue(dst []byte, field uint64, v *Value, c *format.Context) []byte {
	return appendMessage(dst, field, func(dst []byte) []byte { return v.append(dst, c) })
}

func (v *Value) append(dst []byte, c *format.Context) []byte {
	if v.Format != nil {
		return appendMessage(dst, anyString, func(dst []byte) []byte { return v.Format.Append(dst, *c) })
	}
	switch x := v.Of.(type) {
	case string:
		return appendBytes(dst, anyString, x)
	case []byte:
		return appendBytes(dst, anyBytes, x)
	case bool:
		n := byte(0)
		if x {
			n = 1
		}
		return append(tag(dst, anyBool, varint), n)
	case int64:
		return binary.AppendUvarint(tag(dst, anyInt, varint), uint64(x))
	case float64:
		return appendFixed64(dst, anyDouble, math.Float64bits(x))
	case []Value:
		return appendMessage(dst, anyArray, func(dst []byte) []byte {
			for i := range x {
				dst = AppendValue(dst, 1, &x[i], c)
			}
			return dst
		})
	case []Pair:
		return appendMessage(dst, anyList, func(dst []byte) []byte {
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
	// TraceID and SpanID are in hexadecimal, or "".
	TraceID, SpanID string
}

// Append appends the record for an exporter; its formats are asked of c.
func (r *Record) Append(dst []byte, c *format.Context) []byte {
	return appendMessage(dst, records, func(dst []byte) []byte {
		dst = appendFixed64(dst, recordTime, uint64(r.Time))
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
		return appendFixed64(dst, recordObserved, uint64(r.Observed))
	})
}

// appendHex appends an ID; one that is none is left out.
func appendHex(dst []byte, field uint64, id string) []byte {
	var b [16]byte
	if len(id) == 0 || len(id) > 2*len(b) {
		return dst
	}
	n, err := hex.Decode(b[:], []byte(id))
	if err != nil {
		return dst
	}
	return appendBytes(dst, field, b[:n])
}

// Resource encodes a Resource with attributes, which an exporter sends with each batch.
func Resource(attributes []Pair) []byte {
	var dst []byte
	for i := range attributes {
		dst = AppendPair(dst, 1, &attributes[i], nil)
	}
	return dst
}

// request appends an export request: one resource, one scope, and the records.
func request(dst, resource, batch []byte) []byte {
	return appendMessage(dst, 1, func(dst []byte) []byte {
		dst = appendBytes(dst, 1, resource)
		return appendBytes(dst, 2, batch)
	})
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
		case 1<<3 | length: // Within it the count comes first.
			if v > uint64(len(b)) {
				return 0
			}
			inner := b[:v]
			if k, n := binary.Uvarint(inner); n > 0 && k == 1<<3|varint {
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
