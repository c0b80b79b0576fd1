// SPDX-License-Identifier: Apache-2.0

package route

import (
	"testing"
	"time"
)

func TestRetryInterval(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		base, most time.Duration
		retry      int
		want       time.Duration
	}{
		{25 * ms, 250 * ms, 1, 25 * ms},
		{25 * ms, 250 * ms, 2, 50 * ms},
		{25 * ms, 250 * ms, 4, 200 * ms},
		{25 * ms, 250 * ms, 5, 250 * ms},
		{25 * ms, 250 * ms, 1000000, 250 * ms},
		{ms, ms, 1, ms},
		{ms, ms, 9, ms},
		{time.Hour, 1<<63 - 1, 1000, 1<<63 - 1},
	} {
		if got := RetryInterval(c.base, c.most, c.retry); got != c.want {
			t.Errorf("retry %d of %s to %s: %s, want %s", c.retry, c.base, c.most, got, c.want)
		}
	}
}
