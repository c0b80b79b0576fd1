// SPDX-License-Identifier: Apache-2.0

// Package proc reads what the kernel accounts to processes, from /proc, and starts processes on a chosen core.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of /proc/PID/stat: USER_HZ, which Linux fixes at 100 per second on every architecture that Go has.
const tick = 10 * time.Millisecond

// A Stat is what one line of /proc/PID/stat says, as proc_pid_stat(5) numbers its fields.
type Stat struct {
	// PID and Parent are fields 1 and 4.
	PID, Parent int
	// CPU is fields 14 to 17: user and system time of all threads, living and ended, and of the children that were
	// waited for. It is known to 10 ms.
	CPU time.Duration
}

// ParseStat reads the content of /proc/PID/stat.
func ParseStat(b []byte) (Stat, error) {
	// Field 2 is the command in brackets; it may hold anything, brackets and spaces too, so the last bracket counts.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return Stat{}, fmt.Errorf("stat line %.60q has no command in brackets", b)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:open])))
	if err != nil {
		return Stat{}, fmt.Errorf("stat line's process id: %w", err)
	}
	f := strings.Fields(string(b[end+1:])) // f[0] is field 3
	if len(f) < 15 {
		return Stat{}, fmt.Errorf("stat line has %d fields, want at least 17", len(f)+2)
	}
	st := Stat{PID: pid}
	if st.Parent, err = strconv.Atoi(f[1]); err != nil {
		return Stat{}, fmt.Errorf("stat line's parent: %w", err)
	}
	for _, s := range f[11:15] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return Stat{}, fmt.Errorf("stat line's times: %w", err)
		}
		st.CPU += time.Duration(n) * tick
	}
	return st, nil
}

// Tree is the process root and all its living descendants, root first.
func Tree(root int) ([]Stat, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	children := make(map[int][]Stat)
	var out []Stat
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			continue // It has ended since.
		}
		st, err := ParseStat(b)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p, err)
		}
		if st.PID == root {
			out = append(out, st)
		}
		children[st.Parent] = append(children[st.Parent], st)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("process %d has ended", root)
	}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i].PID]...)
	}
	return out, nil
}

// CPU is the time that the tree below root has used.
func CPU(root int) (time.Duration, error) {
	tree, err := Tree(root)
	var sum time.Duration
	for _, st := range tree {
		sum += st.CPU
	}
	return sum, err
}

// RSS is the resident memory of the tree below root in bytes. Pages that its processes share count once for each.
func RSS(root int) (int64, error) {
	tree, err := Tree(root)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, st := range tree {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", st.PID))
		if err != nil {
			continue // It has ended since.
		}
		n, err := parseRSS(string(b))
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", st.PID, err)
		}
		sum += n
	}
	return sum, nil
}

// parseRSS finds VmRSS in the content of /proc/PID/status, in bytes; 0 for a zombie, which has none.
func parseRSS(status string) (int64, error) {
	for line := range strings.SplitSeq(status, "\n") {
		rest, ok := strings.CutPrefix(line, "VmRSS:")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read VmRSS: %w", err)
		}
		return n << 10, nil
	}
	return 0, nil
}

// Busy is how long core has not been idle since boot, from /proc/stat: all processes, interrupts and the time that a
// hypervisor took away.
func Busy(core int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read the cores' times: %w", err)
	}
	return parseBusy(string(b), core)
}

func parseBusy(stat string, core int) (time.Duration, error) {
	for line := range strings.SplitSeq(stat, "\n") {
		f := strings.Fields(line)
		if len(f) < 9 || f[0] != fmt.Sprintf("cpu%d", core) {
			continue
		}
		var sum int64
		for i, s := range f[1:9] { // user nice system idle iowait irq softirq steal
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("times of core %d: %w", core, err)
			}
			if i != 3 && i != 4 {
				sum += n
			}
		}
		return time.Duration(sum) * tick, nil
	}
	return 0, fmt.Errorf("the machine has no core %d", core)
}

// StartOn starts cmd on one core: it and all that it starts can run nowhere else. The process gets SIGKILL if this one
// dies first.
func StartOn(cmd *exec.Cmd, core int) error {
	// The mask belongs to the thread that forks, and the child inherits it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return fmt.Errorf("read the core mask: %w", err)
	}
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("bind to core %d: %w", core, err)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	err := cmd.Start()
	if back := unix.SchedSetaffinity(0, &old); back != nil {
		return fmt.Errorf("restore the core mask: %w", back)
	}
	return err
}
