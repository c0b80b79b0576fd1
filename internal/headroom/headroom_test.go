// SPDX-License-Identifier: Apache-2.0

package headroom

import (
	"runtime/debug"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestWanted(t *testing.T) {
	start := time.Now()
	const mib = 1 << 20
	for _, tt := range []struct {
		name  string
		after time.Duration
		made  uint64
		marks uint64
		want  int
	}{
		{"calm", time.Minute, mib, 8 * mib, 20},
		{"a quarter of a second's garbage", time.Second, 64 * mib, 8 * mib, 200},
		{"no more than the bound", time.Second, 4096 * mib, 8 * mib, 400},
		{"the bound in a large heap", time.Second, 4096 * mib, 64 * mib, 50},
		{"a heap in which the bound is less than lean", time.Second, 4096 * mib, 1024 * mib, 20},
		{"a heap below the runtime's least", time.Second, 4096 * mib, mib, 800},
		{"no time between", 0, mib, mib, 33},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeeper(20, 32*mib)
			k.percent = 33
			got := k.wanted(reading{at: start, made: 5}, reading{at: start.Add(tt.after), made: 5 + tt.made, marks: tt.marks})
			if got != tt.want {
				t.Errorf("%d %%, want %d", got, tt.want)
			}
		})
	}
}

// A heap in which garbage is made gets room within the bound, and loses it in calm.
func TestFollowsGarbage(t *testing.T) {
	const lean, most = 20, 8 << 20
	changes := make(chan int, 1000)
	found := debug.SetGCPercent(100)
	defer debug.SetGCPercent(found)
	stop := keep(lean, most, func(percent int) { changes <- percent })
	var sink [16][]byte
	given := 0
	for i := 0; given == 0; i++ {
		sink[i%len(sink)] = make([]byte, 64<<10)
		select {
		case given = <-changes:
		default:
		}
	}
	if given <= lean || given > 100*most/minHeap {
		t.Errorf("%d %% of the live heap for garbage: want more than %d, at most %d", given, lean, 100*most/minHeap)
	}
	for given != lean {
		given = <-changes // The test's time limit is the check.
	}
	stop()
	stop()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("left %d %%, found 100", got)
	}
	clear(sink[:])
}

// Room that is little more than the least goes in calm, too.
func TestCalmTakesTheLast(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	k := newKeeper(20, 8<<20)
	defer k.stop()
	k.changed = func(int) {}
	k.before = 100
	k.last = sample()
	k.set(35)
	for range calmLooks {
		k.look()
	}
	if k.percent != k.lean {
		t.Errorf("%d %% after all was calm, want %d", k.percent, k.lean)
	}
}
