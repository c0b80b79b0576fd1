// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// noBackOff is a runtime that switches the back-off off.
type noBackOff struct{ match.NoRuntime }

func (noBackOff) Generation() uint64 { return 1 }

func (noBackOff) Int(key string) (int64, bool) { return 0, key == "upstream.base_connect_backoff_ms" }

// four is a cluster of the hosts 1 to 4 in the test's hand.
func four(t *testing.T, fields string, runtime breaker.Runtime) (*rig, *hand, *upstream.Cluster) {
	t.Helper()
	r, hd := rigWith(t, 2, runtime), &hand{}
	done := update(t, r, dnsCluster(t, hd, fields))
	hd.tell(0, at(1), at(2), at(3), at(4))
	<-done
	return r, hd, r.Get("c")
}

// share counts who is picked on both loops, n times each.
func share(c *upstream.Cluster, n int) map[byte]int {
	got := map[byte]int{}
	for loop := range 2 {
		for range n {
			h, _ := c.Worker(loop).Pick(&upstream.PickContext{})
			got[h.Address.Addr().As4()[3]]++
		}
	}
	return got
}

func lose(c *upstream.Cluster, hosts ...byte) {
	for _, n := range hosts {
		c.Set().ByAddress(at(n).Address).Unreachable()
	}
}

// TestHostsBackOff: a host to which connections fail is passed over, but for one request
// at the end of each back-off, which are each twice as long, until it is reached.
func TestHostsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, c := four(t, "", nil)
		bad := c.Set().ByAddress(at(2).Address)
		for range 5 { // What fails at once counts once.
			bad.Unreachable()
		}
		for _, d := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
			d *= time.Millisecond
			time.Sleep(d * 79 / 100)
			if got := share(c, 50); got[2] != 0 {
				t.Fatalf("within a back-off of %v picks went %v", d, got)
			}
			time.Sleep(d * 42 / 100)
			if got := share(c, 50); got[2] != 1 {
				t.Fatalf("after a back-off of %v picks went %v, want one trial", d, got)
			}
			bad.Unreachable() // As the trial shows, which has begun the next back-off.
		}
		if n := c.Worker(0).Stats.LBConnectBackoff.Value(); n == 0 {
			t.Error("lb_connect_backoff is 0")
		}
		bad.Reached()
		if got := share(c, 50); got[2] < 20 {
			t.Errorf("once it is reached again picks went %v", got)
		}
		bad.Unreachable()
		time.Sleep(79 * time.Millisecond)
		if got := share(c, 50); got[2] != 0 {
			t.Errorf("after another failure picks went %v", got)
		}
		time.Sleep(42 * time.Millisecond)
		if got := share(c, 50); got[2] != 1 {
			t.Errorf("the first back-off after another failure is not as short as the first: %v", got)
		}
	})
}

// TestNoBackOff: where it would do harm, or is not asked for, requests go as they would.
func TestNoBackOff(t *testing.T) {
	even := func(t *testing.T, c *upstream.Cluster) {
		t.Helper()
		if got := share(c, 40); got[2] != 20 || len(got) != 4 {
			t.Errorf("picks went %v", got)
		}
	}
	t.Run("most hosts fail", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, hd, c := four(t, "", nil)
			lose(c, 1, 2)
			if got := share(c, 40); got[3] != 40 || got[4] != 40 {
				t.Errorf("picks went %v", got)
			}
			lose(c, 3)
			even(t, c)
			// A host that leaves is counted no more, even if it fails later.
			left := c.Set().ByAddress(at(3).Address)
			hd.tell(0, at(1), at(2), at(4), at(5))
			left.Unreachable()
			if got := share(c, 40); got[4] != 40 || got[5] != 40 {
				t.Errorf("after the third has left picks went %v", got)
			}
		})
	})
	t.Run("outlier detection decides", func(t *testing.T) {
		_, _, c := four(t, `"outlier_detection":{},`, nil)
		lose(c, 2)
		even(t, c)
	})
	t.Run("switched off", func(t *testing.T) {
		_, _, c := four(t, "", noBackOff{})
		lose(c, 2)
		even(t, c)
	})
	t.Run("panic is off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, c := four(t, `"common_lb_config":{"healthy_panic_threshold":{"value":0}},`, nil)
			lose(c, 1, 2, 3)
			if got := share(c, 40); got[4] != 80 {
				t.Errorf("picks went %v", got)
			}
		})
	})
}
