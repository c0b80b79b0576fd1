// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"math"
	"time"

	"weir.dev/weir/proxy/upstream"
)

// SlowStart raises a new or recovered host's weight step by step (Envoy's
// slow_start_config). The zero value does nothing.
type SlowStart struct {
	// Window is how long it takes.
	Window time.Duration
	// Aggression shapes the growth: the weight's factor is (age/Window)^(1/Aggression).
	// 1 is linear.
	Aggression float64
	// MinFactor is the least factor, 0.1 by default in Envoy's configuration.
	MinFactor float64
}

// Factor is what a host's weight is multiplied by at a moment.
func (s *SlowStart) Factor(h *upstream.Host, now time.Time) float64 {
	if s.Window <= 0 {
		return 1
	}
	age := max(now.Sub(h.HealthySince()), time.Millisecond)
	if age >= s.Window {
		return 1
	}
	f := float64(age) / float64(s.Window)
	if s.Aggression > 0 && s.Aggression != 1 {
		f = math.Pow(f, 1/s.Aggression)
	}
	return max(f, s.MinFactor)
}

// Any tells whether a host is in its slow start at a moment.
func (s *SlowStart) Any(hosts []*upstream.Host, now time.Time) bool {
	if s.Window <= 0 {
		return false
	}
	for _, h := range hosts {
		if now.Sub(h.HealthySince()) < s.Window {
			return true
		}
	}
	return false
}
