// SPDX-License-Identifier: Apache-2.0

package previouspriorities

import "weir.dev/weir/proxy/upstream"

// every is after how many tries the load is computed anew. It is the whole of the
// plugin: what it decides follows from the hosts that were tried.
type every int

// Load implements upstream.PriorityOverride: priorities that were tried take no load.
// Once all that have hosts to use were, it begins anew.
func (n every) Load(set *upstream.PrioritySet, base *upstream.PriorityLoad, attempted []*upstream.Host) *upstream.PriorityLoad {
	size := int(n)
	load := base
	healthy, degraded := set.HealthPercent, set.DegradedPercent
	var left, spare []uint32 // Percent healthy and degraded where nobody was sent yet.
	for ; len(attempted) >= size; attempted = attempted[size:] {
		if left == nil {
			left, spare = append(left, healthy...), append(spare, degraded...)
		}
		for _, h := range attempted[:size] {
			if i := set.PriorityOf(h); i >= 0 {
				left[i], spare[i] = 0, 0
			}
		}
		if load = upstream.SpreadLoad(left, spare); load == nil {
			load, left, spare = base, nil, nil
		}
	}
	return load
}
