// SPDX-License-Identifier: Apache-2.0

package overload

import "weir.dev/weir/proxy/stats"

// trigger is what the pressure of one resource does to a gate.
type trigger struct {
	resource *resource
	// from and to are between which pressures the state goes from 0 to 1; a threshold is
	// where they are the same.
	from, to float64
	state    float64
}

// see takes a pressure.
func (t *trigger) see(pressure float64) {
	switch {
	case pressure >= t.to:
		t.state = 1
	case pressure <= t.from:
		t.state = 0
	default:
		t.state = (pressure - t.from) / (t.to - t.from)
	}
}

// gate is an action or a load shed point: its level is the highest state of its
// triggers.
type gate struct {
	name     string
	triggers []trigger
	level    Level
	active   *stats.Gauge // nil of a load shed point
	percent  *stats.Gauge

	changed []func(level float64)
	while   []func(level float64)
}

// see takes the pressure of a resource and reports whether the level changed.
func (g *gate) see(r *resource, pressure float64) bool {
	before, highest := g.level.Value(), 0.0
	for i := range g.triggers {
		t := &g.triggers[i]
		if t.resource == r {
			t.see(pressure)
		}
		highest = max(highest, t.state)
	}
	g.level.Set(highest)
	now := g.level.Value()
	g.percent.Set(int64(100 * now))
	if g.active != nil {
		active := int64(0)
		if g.level.Saturated() {
			active = 1
		}
		g.active.Set(active)
	}
	return now != before
}
