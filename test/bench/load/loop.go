// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"net/netip"
	"time"

	"weir.dev/weir/test/bench/epoll"
)

// A reader is told that there is something to read on its descriptor.
type reader interface {
	readable() error
}

// A loop waits for the sockets of one run and counts what they brought.
type loop struct {
	spec   Spec
	addr   netip.AddrPort
	poll   *epoll.Poller
	events []epoll.Event
	conns  []reader // by descriptor
	base   time.Time
	res    Result
}

// newLoop checks the spec. Connections are opened by the run.
func newLoop(spec Spec) (loop, error) {
	addr, err := netip.ParseAddrPort(spec.Addr)
	if err != nil {
		return loop{}, fmt.Errorf("load address: %w", err)
	}
	if spec.Conns < 1 {
		return loop{}, fmt.Errorf("load needs at least one connection, not %d", spec.Conns)
	}
	poll, err := epoll.New()
	if err != nil {
		return loop{}, err
	}
	return loop{spec: spec, addr: addr, poll: poll, base: time.Now(), events: make([]epoll.Event, 256)}, nil
}

// add waits for fd from now on; it closes it where that is impossible.
func (l *loop) add(fd int, r reader) error {
	if err := l.poll.Add(fd, epoll.In); err != nil {
		epoll.CloseFd(fd)
		return err
	}
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = r
	return nil
}

// remove closes fd.
func (l *loop) remove(fd int) {
	l.conns[fd] = nil
	epoll.CloseFd(fd)
}

func (l *loop) close() {
	for fd, r := range l.conns {
		if r != nil {
			epoll.CloseFd(fd)
		}
	}
	_ = l.poll.Close() // Nothing was written through it.
}

// now is the time since the client began.
func (l *loop) now() time.Duration { return time.Since(l.base) }

// turn waits no longer than timeout and handles what became ready.
func (l *loop) turn(timeout time.Duration) error {
	n, err := l.poll.Wait(l.events, timeout)
	if err != nil {
		return err
	}
	for i := range l.events[:n] {
		r := l.conns[l.events[i].Fd]
		if r == nil {
			continue
		}
		if err := r.readable(); err != nil {
			return err
		}
	}
	return l.verdict()
}

// verdict ends a run that has too many wrong answers to go on.
func (l *loop) verdict() error {
	if w := l.res.Wrong(); w > wrongLimit {
		return fmt.Errorf("more than %d wrong answers: %d with another status than 200, %d with another length than %d, %d broken off",
			wrongLimit, l.res.BadStatus, l.res.BadLength, l.spec.Length, l.res.Broken)
	}
	return nil
}

// closed warms up and measures, where every connection has sent its first request and sends the next by itself.
func (l *loop) closed(hooks Hooks) (Result, error) {
	for left := l.spec.Warmup - l.now(); left > 0; left = l.spec.Warmup - l.now() {
		if err := l.turn(left); err != nil {
			return l.res, err
		}
	}
	if err := l.begin(hooks.Start); err != nil {
		return l.res, err
	}
	start := l.now()
	for left := l.spec.Measure; left > 0; left = l.spec.Measure - (l.now() - start) {
		if err := l.turn(left); err != nil {
			return l.res, err
		}
	}
	l.res.Wall = l.now() - start
	return l.res, call(hooks.End)
}

// begin starts the counts of the measurement; what was wrong in the warm-up stays wrong.
func (l *loop) begin(hook func() error) error {
	l.res.Answered, l.res.Bytes, l.res.Reconnects = 0, 0, 0
	return call(hook)
}

func call(hook func() error) error {
	if hook == nil {
		return nil
	}
	return hook()
}
