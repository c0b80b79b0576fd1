// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// limiter bounds how often a server is asked (rate_limit_settings). The zero limiter
// bounds nothing.
type limiter struct {
	tokens, most, rate float64
	last               time.Time
}

func newLimiter(r *corev3.RateLimitSettings) limiter {
	if r == nil {
		return limiter{}
	}
	l := limiter{most: 100, rate: 10}
	if v := r.GetMaxTokens(); v != nil {
		l.most = float64(max(1, v.GetValue()))
	}
	if v := r.GetFillRate(); v != nil {
		l.rate = v.GetValue()
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
