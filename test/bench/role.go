// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"weir.dev/weir/test/bench/backend"
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/proc"
)

// A job is what the load role is told to do.
type job struct {
	Load load.Spec
	// Park keeps the connections idle and reads memory, instead of reading CPU times under load.
	Park bool
	// Settle is how long the proxy may give memory back before it is read.
	Settle time.Duration
	// Proxy and Backend are the roots of their process trees.
	Proxy, Backend int
}

// An outcome is what the load role reports.
type outcome struct {
	load.Result
	// Err is why the run ended early; the rest is then worthless.
	Err string
	// The CPU times used during the measurement, and how long the two cores were busy with anything.
	ProxyCPU, BackendCPU, LoadCPU time.Duration
	ProxyCore, LoadCore           time.Duration
	// Before and After are the proxy's resident bytes without and with the idle connections.
	Before, After int64
}

// collectSeldom turns garbage collection off up to half a GiB: HTTP/1.1, WebSocket and UDP allocate nothing per request,
// and what HPACK and TLS allocate need not be looked through again and again.
func collectSeldom() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(512 << 20)
}

// backendRole serves until it is killed. Its first line of output is its address.
func backendRole(_ io.Reader, out io.Writer) error {
	collectSeldom()
	s, err := backend.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, s.Addr()); err != nil {
		return fmt.Errorf("tell the address: %w", err)
	}
	return s.Serve()
}

// loadRole does one job. It samples the proxy itself, so that the times fit the counts to the millisecond: another
// process would have to wait for its turn on a busy core.
func loadRole(in io.Reader, out io.Writer) error {
	collectSeldom()
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	// Arrivals of the open loop are tens of microseconds apart; the default slack of a timer is 50.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("make timers exact: %w", err)
	}
	o, err := j.run()
	if err != nil {
		o.Err = err.Error()
	}
	if err := json.NewEncoder(out).Encode(o); err != nil {
		return fmt.Errorf("write the outcome: %w", err)
	}
	return nil
}

func (j job) run() (outcome, error) {
	var o outcome
	var err error
	if j.Park {
		rss := func(to *int64) func() error {
			return func() (err error) {
				time.Sleep(j.Settle)
				*to, err = proc.RSS(j.Proxy)
				return err
			}
		}
		o.Result, err = load.Park(j.Load, rss(&o.Before), rss(&o.After))
		return o, err
	}
	hooks := load.Hooks{
		Start: func() error { return j.sample(&o, -1) },
		End:   func() error { return j.sample(&o, 1) },
	}
	o.Result, err = load.Run(j.Load, hooks)
	return o, err
}

// sample adds the times used so far, or subtracts them.
func (j job) sample(o *outcome, sign time.Duration) error {
	for _, s := range []struct {
		to   *time.Duration
		read func(int) (time.Duration, error)
		of   int
	}{
		{&o.ProxyCPU, proc.CPU, j.Proxy},
		{&o.BackendCPU, proc.CPU, j.Backend},
		{&o.LoadCPU, proc.CPU, os.Getpid()},
		{&o.ProxyCore, proc.Busy, proxyCore},
		{&o.LoadCore, proc.Busy, loadCore},
	} {
		d, err := s.read(s.of)
		if err != nil {
			return err
		}
		*s.to += sign * d
	}
	return nil
}
