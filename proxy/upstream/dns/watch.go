// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"weir.dev/weir/proxy/upstream"
)

const (
	// defaultRefresh is Envoy's dns_refresh_rate.
	defaultRefresh = 5 * time.Second
	// leastRefresh bounds how often a name is asked for, whatever is configured.
	leastRefresh = time.Millisecond
	// mostRefresh bounds how long a TTL is believed (a record may claim 68 years).
	mostRefresh = 24 * time.Hour
)

// Watch resolves a name again and again until ctx ends, and tells each answer or error.
// It waits after an answer for the refresh rate (or, if TTLs are respected and the
// answer has one, for that), and after an error for the failure rate, which doubles
// with each error in a row. An IP literal is told once.
func Watch(ctx context.Context, r Resolver, name string, c upstream.DNSConfig, tell func(Answer, error)) {
	failures := 0
	for {
		a, err := r.Lookup(ctx, name, c.Family)
		if ctx.Err() != nil {
			return
		}
		if err == nil && len(a.Addrs) == 0 {
			err = ErrEmpty
		}
		tell(a, err)
		wait := refresh(c, a)
		if err != nil {
			wait = backoff(c, failures)
			failures++
		} else {
			failures = 0
			if IsLiteral(name) {
				return
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// IsLiteral tells whether a name is an IP address.
func IsLiteral(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

func refresh(c upstream.DNSConfig, a Answer) time.Duration {
	wait := c.Refresh
	if wait <= 0 {
		wait = defaultRefresh
	}
	if c.RespectTTL && a.TTL > 0 {
		wait = max(min(a.TTL, mostRefresh), c.MinRefresh)
	}
	return max(wait+jitter(c.Jitter), leastRefresh)
}

func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return rand.N(most)
}

// backoff is between half and all of base * 2^failures, up to the maximum.
func backoff(c upstream.DNSConfig, failures int) time.Duration {
	if c.FailureBase <= 0 {
		return refresh(upstream.DNSConfig{Refresh: c.Refresh, Jitter: c.Jitter}, Answer{})
	}
	most := c.FailureMax
	if most <= 0 {
		most = 10 * c.FailureBase
	}
	wait := c.FailureBase
	for range min(failures, 40) {
		if wait >= most/2 {
			wait = most
			break
		}
		wait *= 2
	}
	wait = min(wait, most)
	return max(wait/2+jitter(wait/2+1), leastRefresh)
}
