// SPDX-License-Identifier: Apache-2.0

// Package eds is the discovery of clusters whose endpoints come from a management
// server, a file or the control plane in the same process. It is Envoy's EDS.
package eds

import (
	"slices"
	"sync"
	"time"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/upstream"
)

// Discovery tells the endpoints of one load assignment as it changes.
type Discovery struct {
	at       *place
	kept     *resource.Watch // while the cluster is deferred
	watching *resource.Watch
	stats    *resource.Stats // nil is none
	waiting  sync.WaitGroup
	closed   chan struct{}

	mu    sync.Mutex // held while endpoints are told
	tell  func([]upstream.Endpoint, error)
	now   *assignment // nil before the first
	told  bool
	stale *time.Timer
	came  time.Time // when the newest came, if the cluster was deferred
}

// assignment is what one ClusterLoadAssignment says.
type assignment struct {
	endpoints  []upstream.Endpoint
	policy     upstream.AssignmentPolicy
	staleAfter time.Duration // 0 is never
}

// Rest implements upstream.Sleeper: the assignment is asked for and kept.
func (d *Discovery) Rest(ready func()) error {
	d.closed = make(chan struct{})
	w, err := d.at.keep(d)
	if err != nil {
		return err
	}
	d.kept = w
	d.onceReady(w, ready)
	return nil
}

// onceReady has f called when a watch is ready, at once if it is, and not after Close.
func (d *Discovery) onceReady(w *resource.Watch, f func()) {
	select {
	case <-w.Ready():
		f()
		return
	default:
	}
	d.waiting.Go(func() {
		select {
		case <-w.Ready():
		case <-d.closed:
		}
		select {
		case <-d.closed:
		default:
			f()
		}
	})
}

// noted notes when an assignment came that is kept.
func (d *Discovery) noted() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.came = time.Now()
}

// Start implements upstream.Discovery. The first update comes with the assignment or,
// without endpoints, when that has not come in time.
func (d *Discovery) Start(update func([]upstream.Endpoint, error)) error {
	d.tell = update
	if d.closed == nil {
		d.closed = make(chan struct{})
	}
	w, err := d.at.watch(d)
	if err != nil {
		d.stats.Close()
		return err
	}
	d.watching = w
	if d.kept != nil {
		d.kept.Close()
	}
	d.onceReady(w, d.late)
	return nil
}

// late ends the warm-up of a cluster whose assignment has not come.
func (d *Discovery) late() {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.closed:
	default:
		if !d.told {
			d.told = true
			d.tell([]upstream.Endpoint{}, nil)
		}
	}
}

func (d *Discovery) take(a *assignment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now, d.told = a, true
	if d.stale != nil {
		d.stale.Stop()
		d.stale = nil
	}
	// The cluster writes to what it is given, and others may have the same assignment.
	d.tell(slices.Clone(a.endpoints), nil)
	left := a.staleAfter
	if !d.came.IsZero() {
		left -= time.Since(d.came)
		d.came = time.Time{}
	}
	if a.staleAfter > 0 {
		d.stale = time.AfterFunc(left, func() { d.outlived(a) })
	}
}

// outlived drops endpoints that were not told again in time (endpoint_stale_after).
func (d *Discovery) outlived(a *assignment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.closed:
		return
	default:
	}
	if d.now == a {
		d.tell([]upstream.Endpoint{}, nil)
	}
}

func (d *Discovery) update(endpoints []upstream.Endpoint, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = true
	d.tell(endpoints, err)
}

// Policy implements upstream.Assigner. It is called from within tell.
func (d *Discovery) Policy() upstream.AssignmentPolicy {
	if d.now == nil {
		return upstream.AssignmentPolicy{}
	}
	return d.now.policy
}

// Close implements upstream.Discovery.
func (d *Discovery) Close() {
	if d.closed == nil {
		return
	}
	d.mu.Lock()
	select {
	case <-d.closed:
	default:
		close(d.closed)
	}
	d.mu.Unlock()
	for _, w := range []*resource.Watch{d.kept, d.watching} {
		if w != nil {
			w.Close()
		}
	}
	d.stats.Close()
	d.mu.Lock()
	if d.stale != nil {
		d.stale.Stop()
	}
	d.mu.Unlock()
	d.waiting.Wait()
}
