// SPDX-License-Identifier: Apache-2.0

// Package leader has one of several replicas lead, by a lease that it holds and renews:
// the protocol of client-go's leaderelection, without the types of all of Kubernetes.
//
// Clocks need not agree: a lease is over when it has not changed for as long as it lasts,
// by the clock of who looks. Who leads stops before that, by its own.
package leader

import (
	"cmp"
	"context"
	"log/slog"
	"time"
)

// A Record is what a lease says.
type Record struct {
	// Holder leads; "" is nobody.
	Holder string
	// Lasts is how long the lease holds without being renewed.
	Lasts time.Duration
	// Version changes with the lease; "" before there is one.
	Version string
}

// A Lease is kept where all replicas see it.
type Lease interface {
	// Get returns the record; the zero one if there is none.
	Get(ctx context.Context) (Record, error)
	// Put writes a record whose Version is that of the one it replaces, and returns it as
	// it is then. The error may be that it is another by now.
	Put(ctx context.Context, r Record) (Record, error)
}

// An Elector is one replica.
type Elector struct {
	Lease Lease
	// Identity tells it from others.
	Identity string
	// Lasts is how long the lease holds without being renewed: as long others wait for a
	// leader that has died. The default is 15 s.
	Lasts time.Duration
	// Every is how often the lease is looked at or renewed. The default is 2 s.
	Every time.Duration
	Log   *slog.Logger
}

// What of a lease's time a leader leads on that cannot renew it.
const margin = 2.0 / 3

// Run has lead run while this replica leads, until ctx ends. lead's own ctx ends when it
// leads no more; Run waits for it to return, and gives the lease back.
func (e *Elector) Run(ctx context.Context, lead func(ctx context.Context)) {
	lasts, every := cmp.Or(e.Lasts, 15*time.Second), cmp.Or(e.Every, 2*time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var seen Record
	var since time.Time
	told := ""
	for {
		r, err := e.Lease.Get(ctx)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				e.Log.Warn("cannot see who leads", "error", err)
			}
		case r != seen:
			seen, since = r, time.Now()
		}
		if err == nil && r.Holder != told && r.Holder != e.Identity {
			told = r.Holder
			e.Log.Info("another replica leads", "leader", cmp.Or(r.Holder, "nobody"))
		}
		if err == nil && (r.Holder == "" || r.Holder == e.Identity || time.Since(since) > r.Lasts) {
			at := time.Now()
			if won, err := e.Lease.Put(ctx, Record{e.Identity, lasts, r.Version}); err == nil {
				e.hold(ctx, won, at, lasts, every, lead)
				told = ""
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// hold leads for as long as the lease, which was written at a time, can be renewed.
func (e *Elector) hold(ctx context.Context, own Record, at time.Time, lasts, every time.Duration, lead func(context.Context)) {
	e.Log.Info("leads", "identity", e.Identity)
	leading, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); lead(leading) }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	limit := time.Duration(float64(lasts) * margin)
	for lost := false; !lost; {
		select {
		case <-ctx.Done():
			lost = true
			continue
		case <-tick.C:
		}
		now := time.Now()
		asking, cancel := context.WithDeadline(ctx, at.Add(limit))
		r, err := e.Lease.Get(asking)
		if err == nil && r.Holder != e.Identity {
			lost = true
		} else if err == nil {
			r, err = e.Lease.Put(asking, Record{e.Identity, lasts, r.Version})
		}
		cancel()
		if err == nil {
			own, at = r, now
		}
		lost = lost || time.Since(at) >= limit
	}
	stop()
	<-done
	if ctx.Err() == nil {
		e.Log.Warn("leads no more: the lease could not be renewed in time, or another replica has it")
		return
	}
	// Others need not wait for it to run out.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), every)
	defer cancel()
	if _, err := e.Lease.Put(last, Record{"", time.Second, own.Version}); err != nil {
		e.Log.Warn("the lease is not given back: others wait until it has run out", "error", err)
	}
}
