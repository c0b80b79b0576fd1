// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"context"
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

// Methods of the services of OTLP.
const (
	ExportLogs  = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
	ExportSpans = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
)

// Options are how an exporter sends.
type Options struct {
	// Service is where to; Method is that of gRPC, or "" for HTTP.
	Service *call.Service
	Method  string
	// Resource is encoded by [Resource].
	Resource []byte
	// A batch is sent when it has Size bytes (0: DefaultSize), or Interval after its first
	// record (0: DefaultInterval).
	Size     int
	Interval time.Duration
	// Written and Dropped count records.
	Written, Dropped *stats.Counter
	Log              *slog.Logger
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
	spare   []byte
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

// Add takes an encoded record. It does not wait.
func (e *Exporter) Add(record []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pending)+len(record) > Most {
		e.o.Dropped.Inc()
		return
	}
	first := e.count == 0
	if first && !e.sending {
		if !e.set.hold(e) {
			e.o.Dropped.Inc()
			return
		}
		e.timer = time.AfterFunc(e.o.Interval, e.flush)
	}
	e.pending = append(e.pending, record...)
	e.count++
	e.o.Written.Inc()
	if len(e.pending) >= e.o.Size && !e.sending {
		e.timer.Reset(0)
	}
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
		e.timer.Reset(0)
	}
}

// drop gives up what is pending.
func (e *Exporter) drop() {
	e.o.Dropped.Add(e.count)
	e.pending, e.count = e.pending[:0], 0
}

// flush sends what is pending, one batch at a time. What comes meanwhile is sent after it.
func (e *Exporter) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sending || e.count == 0 {
		return
	}
	e.sending = true
	for e.count > 0 && e.set.ctx.Err() == nil {
		batch, count := e.pending, e.count
		e.pending, e.count = e.spare[:0], 0
		e.mu.Unlock()
		refused, err := e.send(batch)
		e.mu.Lock()
		e.spare = batch
		if err != nil {
			e.o.Dropped.Add(count)
			e.o.Log.Warn("records could not be sent to a collector", "cluster", e.o.Service.Cluster, "records", count, "reason", err)
		} else {
			e.o.Dropped.Add(min(refused, count))
		}
		if len(e.pending) < e.o.Size && !e.set.ends() {
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

// send sends a batch, and returns how many of its records the service did not take.
func (e *Exporter) send(batch []byte) (refused uint64, err error) {
	ctx, cancel := context.WithTimeout(e.set.ctx, e.o.Service.Timeout+time.Second)
	defer cancel()
	if e.o.Method != "" {
		k := e.client.BeginUnary(e.o.Method)
		defer k.End()
		k.Tell(nil)
		k.Body = request(k.Body, e.o.Resource, batch)
		answer, err := e.set.caller.Unary(ctx, k)
		return rejected(answer), err
	}
	k := e.client.Begin(http.MethodPost, []byte(e.o.Service.Path))
	defer k.End()
	k.Tell(nil)
	k.Request.Set(header.ContentType, "application/x-protobuf")
	k.Body = request(k.Room(), e.o.Resource, batch)
	if err := e.set.caller.Do(ctx, k); err != nil {
		return 0, err
	}
	if k.Status/100 != 2 {
		return 0, fmt.Errorf("the response has status %d", k.Status)
	}
	return rejected(k.Content), nil
}
