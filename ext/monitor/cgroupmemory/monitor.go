// SPDX-License-Identifier: Apache-2.0

// Package cgroupmemory measures the memory of the process's control group against the
// group's limit (envoy.resource_monitors.cgroup_memory).
package cgroupmemory

// group is the control group.
type group interface {
	Memory() (uint64, error)
	MemoryLimit() (limit uint64, ok bool, err error)
}

type monitor struct {
	group group
	most  uint64 // 0 is the group's limit alone
}

// Pressure returns the memory in use as a share of the limit: the group's, or the one that
// is configured if that is lower. Without any there is no pressure.
func (m *monitor) Pressure() (float64, error) {
	used, err := m.group.Memory()
	if err != nil {
		return 0, err
	}
	limit, ok, err := m.group.MemoryLimit()
	if err != nil {
		return 0, err
	}
	if !ok || m.most > 0 && m.most < limit {
		limit = m.most
	}
	if limit == 0 {
		return 0, nil
	}
	return float64(used) / float64(limit), nil
}
