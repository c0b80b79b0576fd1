// SPDX-License-Identifier: Apache-2.0

package ratelimit

import (
	"fmt"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/trace"
	"weir.dev/weir/proxy/upstream/call"
)

// method is envoy.service.ratelimit.v3.RateLimitService's only one.
const method = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

func (s *Service) askRemote(t *engine.Task, q *Question, info *streaminfo.Stream, span *trace.Span) error {
	k := s.remote.BeginUnary(method)
	defer k.End()
	k.Tell(info)
	k.Trace(span)
	k.Body = appendRequest(k.Body, q)
	data, err := k.Unary(t)
	switch {
	case err == nil:
		q.Err = q.Answer.decode(data)
	case call.Abandoned(err):
		return err
	default:
		q.Err = err
	}
	return nil
}

// Numbers of the fields of RateLimitRequest and of RateLimitDescriptor, in which those of
// what it holds are those of their places.
const (
	fieldDomain, fieldDescriptors, fieldHits             = 1, 2, 3
	fieldEntries, fieldLimit, fieldAddend, fieldNegative = 1, 2, 3, 4
	fieldKey, fieldValue                                 = 1, 2
	fieldRequests, fieldUnit                             = 1, 2
)

// appendRequest appends a RateLimitRequest.
func appendRequest(b []byte, q *Question) []byte {
	b = protowire.AppendTag(b, fieldDomain, protowire.BytesType)
	b = protowire.AppendString(b, q.Domain)
	for i := range q.Descriptors {
		d := &q.Descriptors[i]
		b = protowire.AppendTag(b, fieldDescriptors, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeOf(d)))
		b = appendDescriptor(b, d)
	}
	if q.Hits > 0 {
		b = appendNumber(b, fieldHits, uint64(q.Hits))
	}
	return b
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func appendDescriptor(b []byte, d *Descriptor) []byte {
	for _, e := range d.Entries {
		b = protowire.AppendTag(b, fieldEntries, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeOfEntry(e)))
		b = protowire.AppendTag(b, fieldKey, protowire.BytesType)
		b = protowire.AppendString(b, e.Key)
		b = protowire.AppendTag(b, fieldValue, protowire.BytesType)
		b = protowire.AppendBytes(b, e.Value)
	}
	if d.Unit != "" {
		b = protowire.AppendTag(b, fieldLimit, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeOfLimit(d)))
		b = appendNumber(b, fieldRequests, uint64(d.RequestsPerUnit))
		b = appendNumber(b, fieldUnit, unitNumber(d))
	}
	if d.Counted {
		b = protowire.AppendTag(b, fieldAddend, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(protowire.SizeTag(1)+protowire.SizeVarint(d.Hits)))
		b = appendNumber(b, 1, d.Hits)
	}
	if d.Negative {
		b = appendNumber(b, fieldNegative, 1)
	}
	return b
}

func unitNumber(d *Descriptor) uint64 { return uint64(typev3.RateLimitUnit_value[d.Unit]) }

func sizeOfEntry(e Entry) int {
	return protowire.SizeTag(fieldKey) + protowire.SizeBytes(len(e.Key)) + protowire.SizeTag(fieldValue) + protowire.SizeBytes(len(e.Value))
}

func sizeOfLimit(d *Descriptor) int {
	return protowire.SizeTag(fieldRequests) + protowire.SizeVarint(uint64(d.RequestsPerUnit)) + protowire.SizeTag(fieldUnit) + protowire.SizeVarint(unitNumber(d))
}

func sizeOf(d *Descriptor) int {
	n := 0
	for _, e := range d.Entries {
		n += protowire.SizeTag(fieldEntries) + protowire.SizeBytes(sizeOfEntry(e))
	}
	if d.Unit != "" {
		n += protowire.SizeTag(fieldLimit) + protowire.SizeBytes(sizeOfLimit(d))
	}
	if d.Counted {
		n += protowire.SizeTag(fieldAddend) + protowire.SizeBytes(protowire.SizeTag(1)+protowire.SizeVarint(d.Hits))
	}
	if d.Negative {
		n += protowire.SizeTag(fieldNegative) + protowire.SizeVarint(1)
	}
	return n
}

// decode reads a RateLimitResponse.
func (a *Answer) decode(data []byte) error {
	var m ratelimitv3.RateLimitResponse
	if err := proto.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("the answer is no RateLimitResponse: %w", err)
	}
	switch m.GetOverallCode() {
	case ratelimitv3.RateLimitResponse_OK:
	case ratelimitv3.RateLimitResponse_OVER_LIMIT:
		a.Over = true
	default:
		return fmt.Errorf("the answer's overall_code is %s", m.GetOverallCode())
	}
	for _, s := range m.GetStatuses() {
		out := Status{Over: s.GetCode() == ratelimitv3.RateLimitResponse_OVER_LIMIT, Remaining: s.GetLimitRemaining()}
		if l := s.GetCurrentLimit(); l != nil {
			out.Limited, out.Requests, out.Name = true, l.GetRequestsPerUnit(), l.GetName()
			out.Window = window(l)
		}
		if d := s.GetDurationUntilReset(); d != nil {
			out.Reset = max(0, d.AsDuration())
		}
		a.Statuses = append(a.Statuses, out)
	}
	for _, h := range m.GetResponseHeadersToAdd() {
		a.ResponseHeaders = appendField(a.ResponseHeaders, h.GetKey(), h.GetValue(), h.GetRawValue())
	}
	for _, h := range m.GetRequestHeadersToAdd() {
		a.RequestHeaders = appendField(a.RequestHeaders, h.GetKey(), h.GetValue(), h.GetRawValue())
	}
	a.Body = append(a.Body[:0], m.GetRawBody()...)
	if d := m.GetDynamicMetadata(); d != nil {
		a.Metadata = d.AsMap()
	}
	return nil
}

// appendField appends a field that may stand in a head; one that may not is left out, as
// whoever gets the head would refuse it.
func appendField(list []Field, name, value string, raw []byte) []Field {
	if len(raw) > 0 {
		value = string(raw)
	}
	if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return list
	}
	return append(list, Field{name, value})
}

func window(l *ratelimitv3.RateLimitResponse_RateLimit) time.Duration {
	const day = 24 * time.Hour
	var unit time.Duration
	switch l.GetUnit() {
	case ratelimitv3.RateLimitResponse_RateLimit_SECOND:
		unit = time.Second
	case ratelimitv3.RateLimitResponse_RateLimit_MINUTE:
		unit = time.Minute
	case ratelimitv3.RateLimitResponse_RateLimit_HOUR:
		unit = time.Hour
	case ratelimitv3.RateLimitResponse_RateLimit_DAY:
		unit = day
	case ratelimitv3.RateLimitResponse_RateLimit_WEEK:
		unit = 7 * day
	case ratelimitv3.RateLimitResponse_RateLimit_MONTH:
		unit = 30 * day
	case ratelimitv3.RateLimitResponse_RateLimit_YEAR:
		unit = 365 * day
	}
	if m := l.GetUnitMultiplier().GetValue(); m > 1 {
		unit *= time.Duration(min(m, 1000))
	}
	return unit
}
