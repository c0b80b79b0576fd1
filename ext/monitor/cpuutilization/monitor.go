// SPDX-License-Identifier: Apache-2.0

// Package cpuutilization measures how busy the processors are
// (envoy.resource_monitors.cpu_utilization).
package cpuutilization

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// alpha is the weight of the newest measurement in the moving average, as in Envoy.
const alpha = 0.05

// A clock tells how much processor time was used, and how much there was, since some time
// in the past, in a unit of its own.
type clock interface {
	read() (used, all float64, err error)
}

type monitor struct {
	clock     clock
	used, all float64
	begun     bool
	average   float64
}

var errBackwards = errors.New("the time used has gone backwards, or no time has passed")

// Pressure returns the share of the processors' time that was used of late.
func (m *monitor) Pressure() (float64, error) {
	used, all, err := m.clock.read()
	if err != nil {
		return 0, err
	}
	before, since := m.used, m.all
	if !m.begun {
		m.used, m.all, m.begun = used, all, true
		return 0, nil
	}
	if used < before || all <= since {
		return 0, errBackwards
	}
	m.used, m.all = used, all
	m.average = alpha*(used-before)/(all-since) + (1-alpha)*m.average
	return m.average, nil
}

// host is all processors of the machine.
type host struct{ file string }

// read adds up user, nice and system time, and idle time to that, of the first line of
// /proc/stat.
func (h *host) read() (used, all float64, err error) {
	text, err := os.ReadFile(h.file)
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	f := strings.Fields(line)
	if len(f) < 5 || f[0] != "cpu" {
		return 0, 0, fmt.Errorf("%s: the first line is not that of all processors", h.file)
	}
	var times [4]float64
	for i := range times {
		n, err := strconv.ParseUint(f[i+1], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %q is not a number", h.file, f[i+1])
		}
		times[i] = float64(n)
	}
	used = times[0] + times[1] + times[2]
	return used, used + times[3], nil
}

// container is what the process's control group may use.
type container struct {
	group interface {
		CPUTime() (time.Duration, error)
		CPUs() (float64, error)
	}
	now  func() time.Time
	last time.Time
	all  float64
}

// read adds up what there was from one call to the next: a quota may change.
func (c *container) read() (used, all float64, err error) {
	t, err := c.group.CPUTime()
	if err != nil {
		return 0, 0, err
	}
	n, err := c.group.CPUs()
	if err != nil {
		return 0, 0, err
	}
	now := c.now()
	if !c.last.IsZero() {
		c.all += now.Sub(c.last).Seconds() * n
	}
	c.last = now
	return t.Seconds(), c.all, nil
}
