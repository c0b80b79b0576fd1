// SPDX-License-Identifier: Apache-2.0

// Package sink sends statistics to others. A [Flusher] reads a store from time to time, or when it is asked to, and hands
// what it has read to each [Sink]; what a sink does with it is the matter of ext/statsink.
//
// It costs the request path nothing: it reads what loops have written, and keeps of each counter what was told last.
package sink

import (
	"context"
	"sync"
	"time"

	"weir.dev/weir/proxy/stats"
)

// A Snapshot is all statistics that were ever used, as they stood at one time. It is not changed.
type Snapshot struct {
	// Time is when it was made, Since when the one before was; of the first, when the flusher was started, which Began is.
	Time, Since, Began time.Time
	// Metrics are the statistics. Delta of a counter and Interval of a histogram are what came since the snapshot before.
	Metrics []stats.Metric
}

// A Sink sends statistics to one place.
type Sink interface {
	// Flush sends a snapshot. It returns when that is done, has failed or ctx has ended, and before the next is made: what
	// a slow one misses is in the next one's deltas.
	Flush(ctx context.Context, s *Snapshot)
	// Close ends the sink, once no Flush runs.
	Close()
}

// DefaultInterval is stats_flush_interval if it is not set.
const DefaultInterval = 5 * time.Second

// last bounds how long the end waits for the last snapshot.
const last = 3 * time.Second

// Options are what a flusher is made with.
type Options struct {
	Store *stats.Store
	Sinks []Sink
	// Interval is the time between two snapshots; 0 is DefaultInterval. OnAsk has them made when Ask is called instead.
	Interval time.Duration
	OnAsk    bool
	// Before is called before the store is read.
	Before func()
}

// A Flusher makes snapshots until it is closed. It ends the intervals of histograms, too ([stats.Store.Flush]); without
// sinks it does nothing else.
type Flusher struct {
	o      Options
	reader *stats.Reader // nil without sinks
	began  time.Time
	since  time.Time

	ctx    context.Context
	cancel context.CancelFunc
	asked  chan struct{}
	stop   chan struct{}
	once   sync.Once
	done   sync.WaitGroup
}

// Start starts a flusher, which closes its sinks at its end.
func Start(o Options) *Flusher {
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	f := &Flusher{o: o, began: time.Now(), asked: make(chan struct{}, 1), stop: make(chan struct{})}
	f.since = f.began
	f.ctx, f.cancel = context.WithCancel(context.Background())
	if len(o.Sinks) > 0 {
		f.reader = o.Store.NewReader()
	}
	f.done.Go(f.run)
	return f
}

// Ask has a snapshot made now, if they are made on asking. It does not wait.
func (f *Flusher) Ask() {
	if f == nil || !f.o.OnAsk {
		return
	}
	select {
	case f.asked <- struct{}{}:
	default: // One is asked for already.
	}
}

// Close has a last snapshot made and sent, for a few seconds, and ends. A second Close does nothing.
func (f *Flusher) Close() {
	if f == nil {
		return
	}
	f.once.Do(func() { close(f.stop) })
	timer := time.AfterFunc(last, f.cancel)
	defer timer.Stop()
	f.done.Wait()
	f.cancel()
}

func (f *Flusher) run() {
	var tick <-chan time.Time
	if !f.o.OnAsk {
		t := time.NewTicker(f.o.Interval)
		defer t.Stop()
		tick = t.C
	}
	for f.wait(tick) {
		f.flush()
	}
	f.flush() // The last.
	f.end()
}

// wait waits until a snapshot is to be made; false means that it is the last.
func (f *Flusher) wait(tick <-chan time.Time) bool {
	select {
	case <-f.stop:
	case <-tick:
	case <-f.asked:
	}
	select {
	case <-f.stop: // While the one before was sent, several may have become ready.
		return false
	default:
		return true
	}
}

func (f *Flusher) end() {
	for _, s := range f.o.Sinks {
		s.Close()
	}
	if f.reader != nil {
		f.reader.Close()
	}
}

// flush makes a snapshot and has all sinks send it at once, so that none waits for another.
func (f *Flusher) flush() {
	if f.o.Before != nil {
		f.o.Before()
	}
	f.o.Store.Flush()
	if f.reader == nil {
		return
	}
	s := &Snapshot{Time: time.Now(), Since: f.since, Began: f.began}
	f.since = s.Time
	f.reader.Read(func(m stats.Metric) { s.Metrics = append(s.Metrics, m) })
	var sending sync.WaitGroup
	for _, to := range f.o.Sinks {
		sending.Go(func() { to.Flush(f.ctx, s) })
	}
	sending.Wait()
}
