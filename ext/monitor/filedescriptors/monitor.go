// SPDX-License-Identifier: Apache-2.0

// Package filedescriptors measures the open files and sockets of the process against its
// limit (weir.resource_monitors.file_descriptors, an extension of Weir's own).
package filedescriptors

import (
	"os"

	"golang.org/x/sys/unix"
)

type monitor struct {
	most  uint64 // 0 is the system's limit alone
	open  func() (uint64, error)
	limit func() (uint64, error)
}

// Pressure returns the open descriptors as a share of the limit.
func (m *monitor) Pressure() (float64, error) {
	most, err := m.limit()
	if err != nil {
		return 0, err
	}
	if m.most > 0 {
		most = min(most, m.most)
	}
	n, err := m.open()
	if err != nil {
		return 0, err
	}
	return float64(n) / float64(most), nil
}

// limit is how many descriptors the system lets the process have.
func limit() (uint64, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	return max(r.Cur, 1), nil
}

const list = "/proc/self/fd"

// countOpen counts the descriptors. Kernels from 6.2 on tell the number as the size of the
// directory, which is quick however many there are; others are read name by name.
func countOpen() (uint64, error) {
	if info, err := os.Stat(list); err == nil && info.Size() > 0 {
		return uint64(info.Size()), nil
	}
	d, err := os.Open(list)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return uint64(max(len(names)-1, 0)), err // One of them is the directory's own.
}
