// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"math/rand/v2"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// limiter bounds how often something is done. The zero limiter bounds nothing.
type limiter struct {
	tokens, most, rate float64
	last               time.Time
}

// newLimiter bounds how often a server is asked (rate_limit_settings).
func newLimiter(r *corev3.RateLimitSettings) limiter {
	if r == nil {
		return limiter{}
	}
	const (
		most, rate = 100, 10
		slowest    = 1. / (365 * 24 * 60 * 60) // As Envoy has it: once a year.
	)
	l := limiter{most: most, rate: rate}
	if v := r.GetMaxTokens(); v != nil {
		l.most = float64(max(1, v.GetValue()))
	}
	if v := r.GetFillRate(); v != nil {
		l.rate = max(slowest, v.GetValue())
	}
	l.tokens = l.most
	return l
}

// take takes a token and returns how long to wait until there is one.
func (l *limiter) take(now time.Time) time.Duration {
	if l.rate <= 0 {
		return 0
	}
	if !l.last.IsZero() {
		l.tokens = min(l.most, l.tokens+now.Sub(l.last).Seconds()*l.rate)
	}
	l.last = now
	l.tokens--
	if l.tokens >= 0 {
		return 0
	}
	return time.Duration(-l.tokens / l.rate * float64(time.Second))
}

// pauses are how long to wait before the next try: each a random time, up to a limit that
// doubles with each.
type pauses struct{ base, most time.Duration }

// backoffOf is what envoy_grpc.retry_policy says, or as Envoy does without one.
func backoffOf(api *corev3.ApiConfigSource, service int) pauses {
	out := pauses{500 * time.Millisecond, 30 * time.Second}
	if service >= len(api.GetGrpcServices()) {
		return out
	}
	b := api.GetGrpcServices()[service].GetEnvoyGrpc().GetRetryPolicy().GetRetryBackOff()
	base := b.GetBaseInterval().AsDuration()
	if base < time.Millisecond {
		return out
	}
	out = pauses{base, b.GetMaxInterval().AsDuration()}
	if out.most <= 0 {
		out.most = 10 * base
	}
	return out
}

// after is the wait after a number of tries that came to nothing.
func (b pauses) after(tries uint) time.Duration {
	limit := b.base
	for ; tries > 0 && limit < b.most; tries-- {
		limit = min(2*limit, b.most)
	}
	return rand.N(max(1, min(limit, b.most)))
}
