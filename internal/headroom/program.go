// SPDX-License-Identifier: Apache-2.0

package headroom

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
)

// releaseProgram lets go of the pages of the program itself that are mapped but do not change: those that only a start or
// a large change of configuration runs through are most of them. What is run again is mapped again, from the kernel's
// page cache.
func releaseProgram() {
	if !fixed() {
		return
	}
	for _, m := range programMaps() {
		// One that cannot be released stays as it was.
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, syscall.MADV_DONTNEED)
	}
}

// fixed tells whether the program runs where it was linked: only then nothing was written to the pages that do not change.
func fixed() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-buildmode" {
			return s.Value == "exe"
		}
	}
	return false
}

// mapping is a part of the address space.
type mapping struct{ from, to uintptr }

// programMaps are the parts that map the program's file and cannot be written to. It returns nothing where it cannot be
// known, as on a system without /proc.
func programMaps() []mapping {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil
	}
	var out []mapping
	// 00400000-01e5b000 r-xp 00000000 fe:00 247026      /usr/bin/weir
	for line := range bytes.Lines(maps) {
		f := bytes.Fields(line)
		if len(f) != 6 || string(f[5]) != exe || bytes.ContainsRune(f[1], 'w') {
			continue
		}
		low, high, _ := bytes.Cut(f[0], []byte("-"))
		from, err1 := strconv.ParseUint(string(low), 16, 64)
		to, err2 := strconv.ParseUint(string(high), 16, 64)
		if err1 == nil && err2 == nil && from < to {
			out = append(out, mapping{uintptr(from), uintptr(to)})
		}
	}
	return out
}
