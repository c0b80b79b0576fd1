// SPDX-License-Identifier: Apache-2.0

package router

import (
	"errors"
	"time"

	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// What a time limit interrupts a request with.
var (
	errTimeout error = &stream.Error{
		Status: 504, Flags: streaminfo.UpstreamRequestTimeout, Details: "response_timeout", Body: "upstream request timeout",
	}
	errTryTimeout error = &stream.Error{
		Status: 504, Flags: streaminfo.UpstreamRequestTimeout, Details: "upstream_per_try_timeout", Body: "upstream request timeout",
	}
)

// limits are a request's time limits; 0 is none.
type limits struct {
	total, perTry time.Duration
	// expected is what the host is told that it has.
	expected time.Duration
}

// timeouts takes the route's limits and what the request's headers ask instead.
// The headers are the proxy's and do not go upstream.
func (q *request) timeouts(h *header.Map) limits {
	f := q.route.Forward
	l := limits{total: f.Timeout}
	if f.Retry != nil {
		l.perTry = f.Retry.PerTryTimeout
	}
	if f.GRPCTimeoutMax.Set && stream.IsGRPC(h.Get(header.ContentType)) {
		l.total = grpcTimeout(h, f.GRPCTimeoutMax.Value, f.GRPCTimeoutOffset.Or(0))
	}
	if q.w.f.respectTimeout {
		if d, ok := milliseconds(h, header.XEnvoyExpectedRqTimeoutMs); ok {
			l.total = d
		}
	} else if d, ok := milliseconds(h, header.XEnvoyUpstreamRqTimeoutMs); ok {
		l.total = d
	}
	h.Del(header.XEnvoyUpstreamRqTimeoutMs)
	if d, ok := milliseconds(h, header.XEnvoyUpstreamRqPerTryTimeoutMs); ok {
		l.perTry = d
	}
	h.Del(header.XEnvoyUpstreamRqPerTryTimeoutMs)
	if l.total > 0 && l.perTry >= l.total {
		l.perTry = 0
	}
	l.expected = l.total
	if l.perTry > 0 {
		l.expected = l.perTry
	}
	return l
}

// milliseconds reads a header that holds a whole number of milliseconds.
func milliseconds(h *header.Map, n header.Name) (time.Duration, bool) {
	v := h.Get(n)
	if len(v) == 0 || len(v) > 12 {
		return 0, false
	}
	ms := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		ms = ms*10 + int64(c-'0')
	}
	return time.Duration(ms) * time.Millisecond, true
}

// grpcTimeout reads grpc-timeout: at most eight digits and a unit.
func grpcTimeout(h *header.Map, most, offset time.Duration) time.Duration {
	v := h.Get(header.GRPCTimeout)
	d := parseGRPCTimeout(v)
	if d > 0 && offset > 0 && offset < d {
		d -= offset
	}
	if most > 0 && (d == 0 || d > most) {
		return most
	}
	return d
}

func parseGRPCTimeout(v []byte) time.Duration {
	if len(v) < 2 || len(v) > 9 {
		return 0
	}
	n := int64(0)
	for _, c := range v[:len(v)-1] {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	units := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}
	return time.Duration(n) * units[v[len(v)-1]]
}

func isTimeout(err error) bool { return errors.Is(err, errTimeout) }

// streamError tells an error of the stream itself in the words of its owner.
func streamError(err error) error {
	var up *uploadError
	var src *h1.SourceError
	cause := err
	switch {
	case errors.As(err, &up):
		cause = up.err
	case errors.As(err, &src):
		cause = src.Err
	default:
		return err
	}
	var bad *h1.Error
	var own *stream.Error
	var interrupted *engine.Interrupted
	if errors.As(cause, &bad) || errors.As(cause, &own) || errors.As(cause, &interrupted) {
		return err
	}
	return stream.ErrDownstreamGone
}
