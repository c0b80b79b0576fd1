// SPDX-License-Identifier: Apache-2.0

// Package fixedheap measures the memory of the process against a fixed amount of it
// (envoy.resource_monitors.fixed_heap).
package fixedheap

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// monitor measures the memory that Go's runtime has from the system and is in use. What
// was not collected yet looks as if it were in use. So that garbage alone never makes the
// proxy turn requests away, and that it recovers once they are gone, there is a collection
// before a pressure is believed that is high.
type monitor struct {
	most   func() uint64
	memory memory
	now    func() time.Time

	collected time.Time // when the last collection made here was over
	took      time.Duration
}

// memory is that of the process.
type memory interface {
	// used is what is in use, garbage included.
	used() uint64
	collect()
}

const (
	// high is from which pressure on garbage is collected before it is believed.
	high = 0.75
	// rest is the least time between two collections, and restFor how many times longer
	// than the one before took: together they bound what the truth may cost to a tenth of
	// the time.
	rest    = time.Second
	restFor = 10
)

// Pressure returns the memory in use as a share of what there may be.
func (m *monitor) Pressure() (float64, error) {
	most := float64(m.most())
	p := float64(m.memory.used()) / most
	if p < high {
		return p, nil
	}
	if begun := m.now(); begun.Sub(m.collected) >= max(rest, restFor*m.took) {
		m.memory.collect()
		m.collected = m.now()
		m.took = m.collected.Sub(begun)
		p = float64(m.memory.used()) / most
	}
	return p, nil
}

// goMemory is the memory of Go's runtime: all that it has mapped, stacks and its own
// structures included, but for what it has given back and for what is free. It is what
// Envoy's monitor counts of tcmalloc's.
type goMemory struct{}

func (goMemory) used() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64() - s[2].Value.Uint64()
}

func (goMemory) collect() { runtime.GC() }
