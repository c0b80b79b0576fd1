// SPDX-License-Identifier: Apache-2.0

package bell

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n, next atomic.Int64
		next.Store(int64(2 * time.Second))
		b := New(time.Second, func() time.Duration { n.Add(1); return time.Duration(next.Load()) })
		want := func(runs int64) {
			t.Helper()
			synctest.Wait()
			if n.Load() != runs {
				t.Errorf("ran %d times, want %d", n.Load(), runs)
			}
		}
		time.Sleep(1500 * time.Millisecond)
		want(1)
		b.Ring()
		want(2)
		time.Sleep(1900 * time.Millisecond)
		want(2)
		next.Store(-1)
		time.Sleep(time.Hour)
		want(3)
		b.Ring()
		want(4)
		b.Close()
		b.Close()
		b.Ring()
		want(4)
	})
}

// TestNoRingIsLost has many ring for work that the function takes.
func TestNoRingIsLost(t *testing.T) {
	var work, did atomic.Int64
	done := make(chan struct{})
	const all = 4 * 2000
	b := New(-1, func() time.Duration {
		if did.Add(work.Swap(0)) == all {
			close(done)
		}
		return -1
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range all / 4 {
				work.Add(1)
				b.Ring()
			}
		})
	}
	wg.Wait()
	<-done
	b.Close()
}
