// SPDX-License-Identifier: Apache-2.0

// Package admissioncontrol is Envoy's admission control filter
// (envoy.filters.http.admission_control): it refuses a share of the requests while
// too many of those before them have failed, so that whoever answers them can
// recover. Each event loop judges by what it has seen itself, as each of Envoy's
// threads does.
package admissioncontrol

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Stats are the filter's statistics (http.STAT_PREFIX.admission_control.*).
type Stats struct {
	Rejected stats.Counter `stat:"rq_rejected"`
	Success  stats.Counter `stat:"rq_success"`
	Failure  stats.Counter `stat:"rq_failure"`
}

// Filter is the filter in one chain.
type Filter struct {
	slot     stream.Slot
	runtime  match.Runtime
	criteria criteria

	enabled    match.RuntimeFlag
	aggression match.RuntimeNumber
	threshold  match.RuntimeNumber // percent
	maximum    match.RuntimeNumber // percent
	rps        match.RuntimeNumber

	windows []Window // by loop
	stats   *stats.Sharded[Stats]
}

// criteria say which responses are successes.
type criteria struct {
	http []span
	grpc uint32 // a bit for each status
}

// span is a range of statuses without its end.
type span struct{ start, end int32 }

// defaultGRPC are OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS,
// FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED and UNAUTHENTICATED.
const defaultGRPC = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<6 | 1<<9 | 1<<11 | 1<<12 | 1<<16

// httpSuccess judges the value of :status; one that cannot be read is a failure.
func (c *criteria) httpSuccess(status []byte) bool {
	code, err := strconv.Atoi(string(status))
	if err != nil {
		return false
	}
	for _, r := range c.http {
		if int64(code) >= int64(r.start) && int64(code) < int64(r.end) {
			return true
		}
	}
	return false
}

// grpcSuccess judges the value of grpc-status; one that cannot be read is a failure.
func (c *criteria) grpcSuccess(status []byte) bool {
	code, ok := stream.ParseGRPCStatus(status)
	return ok && code <= 16 && c.grpc>>code&1 == 1
}

// state is what becomes of one request.
type state struct{ admitted, trailers, success bool }

// Request refuses the request with the probability that the failures before it ask
// for.
func (f *Filter) Request(s *stream.Stream) error {
	if s.Info.HealthCheck || !f.enabled.Enabled(f.runtime) {
		return nil
	}
	loop := s.Task().Loop()
	if f.refuses(&f.windows[loop.ID()], loop.Now()) {
		f.stats.At(loop.ID()).Rejected.Inc()
		s.Reply(stream.Reply{Status: http.StatusServiceUnavailable, Details: "denied_by_admission_control"})
		return nil
	}
	stream.State[state](s, f.slot).admitted = true
	return nil
}

// accuracy is how finely the probability is drawn for.
const accuracy = 10_000

func (f *Filter) refuses(w *Window, now int64) bool {
	if limit := f.rps.Value(f.runtime); limit > 0 && w.Rate(now) < limit {
		return false
	}
	total, success := w.Counts(now)
	threshold := min(f.threshold.Value(f.runtime), 100) / 100
	p := Probability(total, success, threshold, f.aggression.Value(f.runtime), f.maximum.Value(f.runtime)/100)
	return p > 0 && p*accuracy > float64(rand.Uint64N(accuracy))
}

// Probability is that of a refusal after so many requests, of which so many were
// successes: max(0, (total - success/threshold) / (total + 1)) ^ (1/aggression), and
// never more than limit.
func Probability(total, success uint64, threshold, aggression, limit float64) float64 {
	if threshold <= 0 {
		return 0 // Any share of successes is enough.
	}
	p := (float64(total) - float64(success)/threshold) / float64(total+1)
	if p <= 0 {
		return 0
	}
	if aggression > 1 {
		p = math.Pow(p, 1/aggression)
	}
	return min(p, limit)
}

// Response judges the response, if its head tells enough.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	if !st.admitted {
		return nil
	}
	m := &s.Response
	switch v := m.Header.Get(header.GRPCStatus); {
	case !stream.IsGRPCResponse(m):
		st.success = f.criteria.httpSuccess(m.Header.Get(header.Status))
	case v != nil:
		st.success = f.criteria.grpcSuccess(v)
	default:
		st.trailers = m.Trailer != nil
	}
	return nil
}

// End counts the request. One that got no response that could be judged has failed.
func (f *Filter) End(s *stream.Stream) {
	st := stream.State[state](s, f.slot)
	if !st.admitted {
		return
	}
	if st.trailers {
		st.success = f.criteria.grpcSuccess(s.Response.Trailer.Get(header.GRPCStatus))
	}
	loop := s.Task().Loop()
	f.windows[loop.ID()].Record(loop.Now(), st.success)
	if count := f.stats.At(loop.ID()); st.success {
		count.Success.Inc()
	} else {
		count.Failure.Inc()
	}
}
