// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// CPUTime returns the processor time that the group has used so far.
func (g *Group) CPUTime() (time.Duration, error) {
	if !g.v2 {
		n, err := g.number("cpuacct", "cpuacct.usage")
		return time.Duration(n), err
	}
	text, err := g.file("cpu", "cpu.stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "usage_usec "); ok {
			n, err := strconv.ParseUint(v, 10, 63)
			if err != nil {
				return 0, fmt.Errorf("cpu.stat: usage_usec: %q is not a number", v)
			}
			return time.Duration(n) * time.Microsecond, nil
		}
	}
	return 0, errors.New("cpu.stat: there is no usage_usec")
}

// sharesPerCPU is what Kubernetes sets cpu.shares to for each processor that is requested.
const sharesPerCPU = 1024

// CPUs returns how many processors the group has, in parts of them too. In version 2 that
// is its quota, and no more than the processors it may run on; in version 1 it is its
// shares, as in Envoy.
func (g *Group) CPUs() (float64, error) {
	if !g.v2 {
		n, err := g.number("cpu", "cpu.shares")
		return float64(n) / sharesPerCPU, err
	}
	set, err := g.file("cpuset", "cpuset.cpus.effective")
	if err != nil {
		return 0, err
	}
	n, err := countCPUs(set)
	if err != nil {
		return 0, err
	}
	text, err := g.file("cpu", "cpu.max")
	if errors.Is(err, ErrNone) { // As in the root of all groups.
		return float64(n), nil
	}
	if err != nil {
		return 0, err
	}
	quota, period, _ := strings.Cut(text, " ")
	if quota == "max" {
		return float64(n), nil
	}
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || !(q > 0) || !(p > 0) {
		return 0, fmt.Errorf("cpu.max: %q is not a quota and a period", text)
	}
	return min(q/p, float64(n)), nil
}

// countCPUs counts the processors of a list such as 0-3,8.
func countCPUs(set string) (int, error) {
	n := 0
	for span := range strings.SplitSeq(set, ",") {
		from, to, isSpan := strings.Cut(span, "-")
		if !isSpan {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || b < a {
			return 0, fmt.Errorf("cpuset.cpus.effective: %q is not a list of processors", set)
		}
		n += int(b - a + 1)
	}
	return n, nil
}
