// SPDX-License-Identifier: Apache-2.0

// Package rls answers Envoys, and whoever else speaks
// envoy.service.ratelimit.v3.RateLimitService, what a limiter says.
package rls

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/control/limiter"
)

// Options of a Service.
type Options struct {
	// Metadata has responses carry dynamic metadata: what was asked, and the metadata of
	// limits that let the request pass.
	Metadata bool
	// LimitHeader, RemainingHeader and ResetHeader, if not empty, are fields that responses
	// to clients get; they tell of the limit that has least left.
	LimitHeader, RemainingHeader, ResetHeader string
}

// A Service answers by a limiter.
type Service struct {
	ratelimitv3.UnimplementedRateLimitServiceServer
	limiter *limiter.Limiter
	o       Options
}

// New returns a Service.
func New(l *limiter.Limiter, o Options) *Service { return &Service{limiter: l, o: o} }

// ShouldRateLimit answers one request.
func (s *Service) ShouldRateLimit(ctx context.Context, m *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	r := &limiter.Request{Domain: m.GetDomain(), Hits: uint64(m.GetHitsAddend()), Claims: make([]limiter.Claim, len(m.GetDescriptors()))}
	for i, d := range m.GetDescriptors() {
		c, err := claim(d)
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "descriptors[%d].%v", i, err)
		}
		r.Claims[i] = c
	}
	switch err := s.limiter.Wait(ctx, r); {
	case err == nil:
	case errors.Is(err, limiter.ErrUnavailable):
		return nil, status.Error(codes.Unavailable, err.Error())
	case ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	default:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	out := &ratelimitv3.RateLimitResponse{OverallCode: code(r.Over), Statuses: make([]*ratelimitv3.RateLimitResponse_DescriptorStatus, len(r.Statuses))}
	for i := range r.Statuses {
		out.Statuses[i] = statusOf(&r.Statuses[i])
	}
	out.ResponseHeadersToAdd = s.headers(r.Statuses)
	if s.o.Metadata {
		meta, err := metadata(m, r.Metadata)
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		out.DynamicMetadata = meta
	}
	return out, nil
}

func claim(d *commonratelimitv3.RateLimitDescriptor) (limiter.Claim, error) {
	c := limiter.Claim{Entries: make([]limiter.Entry, len(d.GetEntries())), Negative: d.GetIsNegativeHits()}
	for i, e := range d.GetEntries() {
		c.Entries[i] = limiter.Entry{Key: e.GetKey(), Value: []byte(e.GetValue())}
	}
	if h := d.GetHitsAddend(); h != nil {
		c.Hits, c.Counted = h.GetValue(), true
	}
	l := d.GetLimit()
	if l == nil {
		return c, nil
	}
	unit := limiter.Unit(l.GetUnit())
	if unit.Seconds() == 0 {
		return c, fmt.Errorf("limit.unit: %s is no unit", l.GetUnit())
	}
	multiplier := int64(1)
	if m := l.GetUnitMultiplier(); m.GetValue() > 0 {
		multiplier = int64(m.GetValue())
	}
	c.Limit = limiter.Limit{Requests: l.GetRequestsPerUnit(), Unit: unit, Seconds: unit.Seconds() * multiplier}
	return c, nil
}

func code(over bool) ratelimitv3.RateLimitResponse_Code {
	if over {
		return ratelimitv3.RateLimitResponse_OVER_LIMIT
	}
	return ratelimitv3.RateLimitResponse_OK
}

func statusOf(s *limiter.Status) *ratelimitv3.RateLimitResponse_DescriptorStatus {
	out := &ratelimitv3.RateLimitResponse_DescriptorStatus{Code: code(s.Over), LimitRemaining: s.Remaining}
	if s.Limited {
		out.CurrentLimit = &ratelimitv3.RateLimitResponse_RateLimit{Name: s.Name, RequestsPerUnit: s.Requests, Unit: ratelimitv3.RateLimitResponse_RateLimit_Unit(s.Unit)}
		out.DurationUntilReset = durationpb.New(s.Reset)
	}
	return out
}

// headers tells of the limit that has least left, of those that are used up the last.
func (s *Service) headers(list []limiter.Status) []*corev3.HeaderValue {
	var tightest *limiter.Status
	least := uint32(math.MaxUint32)
	for i := range list {
		if st := &list[i]; st.Over {
			tightest, least = st, 0
		} else if st.Limited && st.Remaining < least {
			tightest, least = st, st.Remaining
		}
	}
	if tightest == nil {
		return nil
	}
	var out []*corev3.HeaderValue
	for _, h := range []struct {
		name  string
		value uint64
	}{
		{s.o.LimitHeader, uint64(tightest.Requests)}, {s.o.RemainingHeader, uint64(tightest.Remaining)}, {s.o.ResetHeader, uint64(tightest.Reset.Seconds())},
	} {
		if h.name != "" {
			out = append(out, &corev3.HeaderValue{Key: h.name, Value: strconv.FormatUint(h.value, 10)})
		}
	}
	return out
}

// metadata is what Envoy's rate limit service tells of a request.
func metadata(m *ratelimitv3.RateLimitRequest, of map[string]any) (*structpb.Struct, error) {
	list := make([]any, 0, len(m.GetDescriptors()))
	for _, d := range m.GetDescriptors() {
		entries := make([]any, 0, len(d.GetEntries()))
		for _, e := range d.GetEntries() {
			entries = append(entries, e.GetKey()+"="+e.GetValue())
		}
		one := map[string]any{"entries": entries}
		if d.GetLimit() != nil {
			one["limit"] = d.GetLimit().String()
		}
		if h := d.GetHitsAddend(); h != nil {
			one["hitsAddend"] = float64(h.GetValue())
		}
		list = append(list, one)
	}
	fields := map[string]any{"domain": m.GetDomain(), "descriptors": list}
	if h := m.GetHitsAddend(); h != 0 {
		fields["hitsAddend"] = float64(h)
	}
	if len(of) > 0 {
		fields["metadata"] = of
	}
	out, err := structpb.NewStruct(fields)
	if err != nil {
		return nil, fmt.Errorf("dynamic metadata: %w", err)
	}
	return out, nil
}
