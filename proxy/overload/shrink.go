// SPDX-License-Identifier: Apache-2.0

package overload

import (
	"runtime/debug"
	"runtime/metrics"
	"time"

	"weir.dev/weir/proxy/stats"
)

// shrinker gives free memory back to the system while its action is saturated.
type shrinker struct {
	level    *Level
	interval time.Duration
	most     uint64 // bytes that may stay free
	trim     func() // has others give up what they keep for use again
	count    *stats.Counter

	// For tests.
	free    func() uint64
	release func()
}

func (s *shrinker) run(stop <-chan struct{}) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			s.look()
		}
	}
}

func (s *shrinker) look() {
	if !s.level.Saturated() {
		return
	}
	s.trim()
	if s.free() > s.most {
		s.release()
		s.count.Inc()
	}
}

// freeMemory is what Go's heap has mapped and does not use: what is free, and what is
// garbage or would be once it is collected.
func freeMemory() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	free, objects, live := sample[0].Value.Uint64(), sample[1].Value.Uint64(), sample[2].Value.Uint64()
	return free + objects - min(live, objects)
}

func releaseMemory() { debug.FreeOSMemory() }
