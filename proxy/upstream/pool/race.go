// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/upstream"
)

// attemptDelay is how long one of a host's addresses is waited for before the next is
// tried beside it (RFC 8305 §5, Envoy's 300 ms).
const attemptDelay = 300 * time.Millisecond

// errOutrun ends the attempts at other addresses once one has succeeded.
var errOutrun = errors.New("another address was faster")

// A race dials the addresses of one host, each a little after the one before or as soon
// as that has failed, until one connects. A host that hangs at one of its addresses so
// costs the delay and not the connect timeout.
type race struct {
	task    *engine.Task // who waits
	cluster *upstream.Cluster
	timeout time.Duration
	runners []*runner
	winner  *runner
	over    bool
}

// runner is one attempt, on a task of its own.
type runner struct {
	race *race
	addr address.Addr
	task *engine.Task // while it dials
	sock *engine.Conn
	err  error
}

// Run dials.
func (r *runner) Run(t *engine.Task) {
	if r.race.over {
		return
	}
	r.task = t
	o := dialOptions(r.race.cluster, r.addr)
	o.Timeout = r.race.timeout
	r.sock, r.err = t.Dial(r.addr, o)
	r.task = nil
	switch {
	case !r.race.over:
		r.race.task.Wake()
	case r.sock != nil:
		r.sock.Close()
	}
}

// run returns the first connection, or the error of the first address if none came.
func (r *race) run(addrs []address.Addr) (*engine.Conn, address.Addr, error) {
	loop, end := r.task.Loop(), engine.Nano()+int64(r.timeout)
	due := true
	var timer engine.Timer
	timer.Init(loop, func() { due = true; r.task.Wake() })
	defer timer.Release()
	defer r.stop()
	for {
		running := 0
		for _, x := range r.runners {
			switch {
			case x.sock != nil:
				r.winner = x
				return x.sock, x.addr, nil
			case x.err == nil:
				running++
			}
		}
		next := len(r.runners)
		switch {
		case next < len(addrs) && (due || running == 0):
			due = false
			r.timeout = time.Duration(max(end-engine.Nano(), 1))
			x := &runner{race: r, addr: addrs[next]}
			r.runners = append(r.runners, x)
			loop.Go(x)
			timer.Set(int64(attemptDelay))
		case running == 0:
			return nil, addrs[0], r.runners[0].err
		}
		if err := r.task.Wait(); err != nil {
			return nil, addrs[0], err
		}
	}
}

// stop ends the attempts that are still under way.
func (r *race) stop() {
	r.over = true
	for _, x := range r.runners {
		switch {
		case x.task != nil:
			x.task.Interrupt(errOutrun)
		case x.sock != nil && x != r.winner:
			x.sock.Close()
		}
	}
}

// order is in which order a host's addresses are tried: count of the family that goes
// first, one of the other, and so on (RFC 8305 §4). Each family keeps its own order.
func order(h *upstream.Host, o upstream.HappyEyeballs) []address.Addr {
	all := append([]address.Addr{h.Address}, h.Addresses...)
	v4First := h.Address.Addr().Is4()
	if o.First != upstream.FamilyAuto {
		v4First = o.First == upstream.FamilyV4Only
	}
	var first, other []address.Addr
	for _, a := range all {
		if a.Addr().Is4() == v4First {
			first = append(first, a)
		} else {
			other = append(other, a)
		}
	}
	out := all[:0]
	for len(first)+len(other) > 0 {
		n := min(len(first), int(max(o.FirstCount, 1)))
		out, first = append(out, first[:n]...), first[n:]
		n = min(len(other), 1)
		out, other = append(out, other[:n]...), other[n:]
	}
	return out
}
