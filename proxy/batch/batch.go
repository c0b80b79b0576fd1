// SPDX-License-Identifier: Apache-2.0

// Package batch sends records, such as those of a log or spans of traces, to a service of a
// cluster, many at a time.
//
// Records are encoded where they are made; a batch is their bytes one after the other. An
// [Exporter] collects them, and sends them when there are enough or after a while; what
// does not fit is dropped and counted. It has no goroutine while there is nothing to send.
package batch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream/call"
)

// Options are how an exporter sends.
type Options struct {
	// Service is where to; Method is that of gRPC, or "" for HTTP: then Type is the
	// content-type of a request.
	Service *call.Service
	Method  string
	Type    string
	// Silent tells that an answer of gRPC needs no message: those of client streams, whose
	// servers may end without one.
	Silent bool
	// Request appends the request that has the records of a batch.
	Request func(dst, records []byte) []byte
	// Rejected, if not nil, reads of the answer how many records the service did not take.
	Rejected func(answer []byte) uint64
	// A batch is sent when it has Size bytes (0: DefaultSize) or Count records (nil, or 0:
	// any number), or Interval after its first record (0: DefaultInterval).
	Size     int
	Count    func() int
	Interval time.Duration
	// Waiting bounds how many records wait; 0: their bytes alone do.
	Waiting int
	// Stats are told of records; each may be nil.
	Stats Stats
	Log   *slog.Logger
}

// Stats are counters of an exporter. Each may be nil.
type Stats struct {
	// Written are records that were made, Sent those that the service has taken, Dropped
	// those that it has not.
	Written, Sent, Dropped *stats.Counter
	// Timer are batches that were sent because their interval was over.
	Timer *stats.Counter
	// Reports are batches that the service has taken; Refused those that it has answered
	// with an error; Failed those that it has not answered.
	Reports, Refused, Failed *stats.Counter
}

func count(c *stats.Counter, n uint64) {
	if c != nil && n > 0 {
		c.Add(n)
	}
}

// Defaults of Envoy's access loggers; Most bounds what waits to be sent, in bytes.
const (
	DefaultSize     = 16 << 10
	DefaultInterval = time.Second
	Most            = 4 << 20
	// timeout bounds a call of a service that has none of its own.
	timeout = 5 * time.Second
	// last bounds how long the end of the proxy waits for what is left.
	last = 3 * time.Second
)

// A Set is the exporters of a process.
type Set struct {
	caller *call.Caller
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // of busy

	mu     sync.Mutex
	busy   map[*Exporter]bool // those that have records
	closed bool
}

// NewSet returns a set whose exporters send by caller.
func NewSet(caller *call.Caller) *Set {
	s := &Set{caller: caller, busy: map[*Exporter]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close sends what is left, for a few seconds, and ends. Loops must still run.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	rest := slices.Collect(maps.Keys(s.busy))
	s.mu.Unlock()
	timer := time.AfterFunc(last, s.cancel)
	defer timer.Stop()
	for _, e := range rest {
		e.hurry()
	}
	s.wg.Wait()
	s.cancel()
}

// ends tells whether what is pending is the last.
func (s *Set) ends() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// An Exporter sends records of one kind to one service. It needs no end: without records it
// is only memory.
type Exporter struct {
	set    *Set
	o      Options
	client *call.Client

	mu      sync.Mutex
	pending []byte
	count   uint64 // of records in pending
	timer   *time.Timer
	sending bool
	full    bool // what is pending need not wait
	spare   []byte

	scratch sync.Pool // of *[]byte: records that are being made
}

// New returns an exporter.
func (s *Set) New(o Options) *Exporter {
	if o.Size <= 0 {
		o.Size = DefaultSize
	}
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	service := *o.Service
	if service.Timeout <= 0 {
		service.Timeout = timeout
	}
	o.Service = &service
	return &Exporter{set: s, o: o, client: s.caller.Client(o.Service)}
}

// Make adds the record that encode appends. It does not wait.
func (e *Exporter) Make(encode func(dst []byte) []byte) {
	buf, _ := e.scratch.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	*buf = encode((*buf)[:0])
	e.Add(*buf)
	e.scratch.Put(buf)
}

// Add takes an encoded record. It does not wait.
func (e *Exporter) Add(record []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pending)+len(record) > Most || e.o.Waiting > 0 && e.count >= uint64(e.o.Waiting) {
		count(e.o.Stats.Dropped, 1)
		return
	}
	first := e.count == 0
	if first && !e.sending {
		if !e.set.hold(e) {
			count(e.o.Stats.Dropped, 1)
			return
		}
		e.timer = time.AfterFunc(e.o.Interval, e.flush)
	}
	e.pending = append(e.pending, record...)
	e.count++
	count(e.o.Stats.Written, 1)
	if e.enough() && !e.sending {
		e.full = true
		e.timer.Reset(0)
	}
}

// enough reports whether what is pending makes a batch.
func (e *Exporter) enough() bool {
	if len(e.pending) >= e.o.Size {
		return true
	}
	if e.o.Count == nil {
		return false
	}
	n := e.o.Count()
	return n > 0 && e.count >= uint64(n)
}

// hold notes that an exporter has records; false means that the set is closed.
func (s *Set) hold(e *Exporter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.busy[e] = true
	s.wg.Add(1)
	return true
}

// hurry has what is pending sent now. A flush on its way goes on with it.
func (e *Exporter) hurry() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.count > 0 && !e.sending {
		e.full = true
		e.timer.Reset(0)
	}
}

// drop gives up what is pending.
func (e *Exporter) drop() {
	count(e.o.Stats.Dropped, e.count)
	e.pending, e.count = e.pending[:0], 0
}

// flush sends what is pending, one batch at a time. What comes meanwhile is sent after it.
func (e *Exporter) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sending || e.count == 0 {
		return
	}
	if !e.full {
		count(e.o.Stats.Timer, 1)
	}
	e.sending, e.full = true, false
	for e.count > 0 && e.set.ctx.Err() == nil {
		batch, records := e.pending, e.count
		e.pending, e.count = e.spare[:0], 0
		e.mu.Unlock()
		rejected, err := e.send(e.set.ctx, batch)
		e.mu.Lock()
		e.spare = batch
		e.told(records, rejected, err)
		if !e.enough() && !e.set.ends() {
			break
		}
	}
	e.sending = false
	if e.count > 0 && e.set.ctx.Err() == nil {
		e.timer.Reset(e.o.Interval)
		return
	}
	e.timer.Stop()
	e.drop()
	e.set.release(e)
}

// release notes that an exporter has no records any more.
func (s *Set) release(e *Exporter) {
	s.mu.Lock()
	delete(s.busy, e)
	s.mu.Unlock()
	s.wg.Done()
}

// told counts what became of a batch.
func (e *Exporter) told(records, rejected uint64, err error) {
	st := &e.o.Stats
	if err == nil {
		rejected = min(rejected, records)
		count(st.Sent, records-rejected)
		count(st.Dropped, rejected)
		count(st.Reports, 1)
		return
	}
	count(st.Dropped, records)
	if _, answered := errors.AsType[refusal](err); answered {
		count(st.Refused, 1)
	} else {
		count(st.Failed, 1)
	}
	e.o.Log.Warn("records could not be sent to a collector", "cluster", e.o.Service.Cluster, "records", records, "reason", err)
}

// refusal is the status of an answer that is none of success.
type refusal int

// Error names the status.
func (r refusal) Error() string { return fmt.Sprintf("the response has status %d", int(r)) }

// Send sends n encoded records that make a batch, beside those that wait, and waits until the
// service has answered, has not in time, or ctx has ended. What became of them is counted, and
// logged if the service has not taken them, which is what it reports.
func (e *Exporter) Send(ctx context.Context, batch []byte, n uint64) bool {
	rejected, err := e.send(ctx, batch)
	e.told(n, rejected, err)
	return err == nil
}

// send sends a batch, and returns how many of its records the service did not take.
func (e *Exporter) send(ctx context.Context, batch []byte) (rejected uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.o.Service.Timeout+time.Second)
	defer cancel()
	if e.o.Method != "" {
		k := e.client.BeginUnary(e.o.Method)
		defer k.End()
		k.Tell(nil)
		k.Silent = e.o.Silent
		k.Body = e.o.Request(k.Body, batch)
		answer, err := e.set.caller.Unary(ctx, k)
		return e.rejected(answer), err
	}
	k := e.client.Begin(http.MethodPost, []byte(e.o.Service.Path))
	defer k.End()
	k.Request.Set(header.ContentType, e.o.Type)
	k.Tell(nil)
	k.Body = e.o.Request(k.Room(), batch)
	if err := e.set.caller.Do(ctx, k); err != nil {
		return 0, err
	}
	if k.Status/100 != 2 {
		return 0, refusal(k.Status)
	}
	return e.rejected(k.Content), nil
}

func (e *Exporter) rejected(answer []byte) uint64 {
	if e.o.Rejected == nil {
		return 0
	}
	return e.o.Rejected(answer)
}
