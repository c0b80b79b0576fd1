// SPDX-License-Identifier: Apache-2.0

// Package resource gives the resources that a configuration is delivered in, such as
// route configurations and endpoints, to the parts of the proxy that name them. Who
// needs a resource watches it; who has one, a snapshot or a client of a management
// server, sets it. Neither knows the other.
//
// A resource is known by where it comes from, its kind and its name. What is wrong is
// refused as a whole, and the last good value stays. The package starts no goroutine
// and never asks for anything by itself: it tells the names that are wanted.
package resource

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"weir.dev/weir/xds"
)

const (
	// Snapshot is the source of what comes with a snapshot.
	Snapshot = ""
	// ADS is the source of what comes over the aggregated stream of a management server.
	ADS = "ads"
)

// An ID tells one resource from all others.
type ID struct {
	// Source is where it comes from: what Key makes of a config source.
	Source string
	Kind   xds.Kind
	Name   string
}

// A Directory has the resources of one proxy. Its methods may be called from any
// goroutine; what a watch calls may watch other resources.
//
// Whoever holds a topic's mu may take the directory's, and not the other way round.
type Directory struct {
	log *slog.Logger
	// Aggregated tells that there is a management server for what is asked for by ADS;
	// otherwise it is found in snapshots. It is set before the first use.
	Aggregated bool
	// Delta tells that this server is asked for deltas. It is set with Aggregated.
	Delta bool

	authorities authorities

	mu       sync.Mutex
	topics   map[ID]*topic
	wanted   Wanted
	problems []xds.Problem
	closed   bool
	// asked are the resources that requests have asked for.
	asked  map[ID]*asked
	askers map[askers]int
	// servers are how the servers call themselves that are asked right now.
	servers map[stream]string
}

// NewDirectory returns an empty directory; a nil log is none.
func NewDirectory(log *slog.Logger) *Directory {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Directory{log: log, topics: map[ID]*topic{}}
}

// A Watch is one part's interest in one resource.
type Watch struct {
	d     *Directory
	t     *topic
	o     Options
	ready chan struct{}
	once  sync.Once
	timer *time.Timer
	// waits is how many others the watch still waits for, and then who is told that it
	// is ready; both are guarded by readying.
	readying sync.Mutex
	waits    int
	then     []func()
	// closed is guarded by the topic's mu.
	closed bool
}

// Pending returns a watch of nothing, which is ready once that function is called: it has a
// configuration wait for what is no resource. Kind and name say what that is. It is not
// closed.
func (d *Directory) Pending(kind, name string) (*Watch, func()) {
	w := &Watch{d: d, ready: make(chan struct{}), t: &topic{id: ID{Kind: xds.Kind(kind), Name: name}}}
	return w, w.setReady
}

// Ready is closed once the resource is there, or is known not to be there or to be
// wrong, or the config source's initial_fetch_timeout is over.
func (w *Watch) Ready() <-chan struct{} { return w.ready }

func (w *Watch) setReady() {
	w.once.Do(func() {
		if w.timer != nil {
			w.timer.Stop()
			w.timer = nil
		}
		var needs []*Watch
		if w.o.Needs != nil && !w.closed {
			needs = w.o.Needs()
		}
		w.readying.Lock()
		w.waits = 1 + len(needs)
		w.readying.Unlock()
		for _, n := range needs {
			n.whenReady(w.arrived)
		}
		w.arrived()
	})
}

// arrived counts one of what the watch waits for.
func (w *Watch) arrived() {
	w.readying.Lock()
	if w.waits--; w.waits > 0 {
		w.readying.Unlock()
		return
	}
	close(w.ready)
	then := w.then
	w.then = nil
	w.readying.Unlock()
	for _, f := range then {
		f()
	}
}

// whenReady has f called once the watch is ready.
func (w *Watch) whenReady(f func()) {
	w.readying.Lock()
	select {
	case <-w.ready:
		w.readying.Unlock()
		f()
	default:
		w.then = append(w.then, f)
		w.readying.Unlock()
	}
}

// Close ends the watch: nothing of it is called any more once Close has returned. A
// second Close does nothing.
func (w *Watch) Close() {
	w.t.mu.Lock()
	if w.closed {
		w.t.mu.Unlock()
		return
	}
	w.closed = true
	w.t.watches = slices.DeleteFunc(w.t.watches, func(o *Watch) bool { return o == w })
	w.t.forgetValue(w.o.Share)
	w.setReady()
	w.t.mu.Unlock()
	w.d.release(w.t)
}

// release lets go of a topic; who sets resources is told when nobody wants one any more.
func (d *Directory) release(t *topic) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.refs--; t.refs > 0 {
		return
	}
	if d.wanted != nil && !d.closed {
		d.wanted(t.id, t.source, false)
	}
	d.dropMembers(t.id)
	if !t.held {
		delete(d.topics, t.id)
	}
}

// Watched returns what is watched.
func (d *Directory) Watched() []ID {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []ID
	for id, t := range d.topics {
		if t.refs > 0 {
			out = append(out, id)
		}
	}
	return out
}

// Problems returns what was found wrong with resources when a watch of them began, and
// forgets it.
func (d *Directory) Problems() []xds.Problem {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.problems
	d.problems = nil
	return out
}

// Close lets no name be told any more.
func (d *Directory) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// ID is the resource that is watched.
func (w *Watch) ID() ID { return w.t.id }
