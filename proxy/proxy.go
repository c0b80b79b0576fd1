// SPDX-License-Identifier: Apache-2.0

// Package proxy is the data plane as a whole: a Proxy owns the event loops, the
// clusters, the listeners, the access log files and the admin server, and with
// them every goroutine of the data plane. It serves a bootstrap and takes
// snapshots of configuration while it runs: what is good is applied, what is not
// is told, and the last good stays.
//
// It knows no Kubernetes and no control plane; what crosses the wall is an
// [xds.Snapshot].
package proxy

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/accesslog/logfile"
	"weir.dev/weir/proxy/admin"
	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/runtime"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stats/sink"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds"
)

// Proxy is a running data plane.
type Proxy struct {
	opts     Options
	engine   *engine.Engine
	loops    []*engine.Loop
	store    *stats.Store
	runtime  *runtime.Runtime
	clusters *upstream.Manager
	files    *logfile.Set
	secrets  *secret.Store
	limits   *listener.Limits
	overload *overload.Manager // nil without
	health   extension.Health
	services *extension.Services
	admin    *admin.Admin
	server   *stats.Sharded[serverStats]
	flusher  *sink.Flusher // nil until the configuration is there
	started  time.Time

	// applying is held while configuration changes; whoever holds it may take mu.
	applying  sync.Mutex
	refused   map[refusal][]xds.Problem
	known     names // clusters that are configured
	resources *resource.Directory
	fetching  fetching
	// secretWatches are the secrets that are fetched. awaiting, if not nil, is told of
	// those that what is being compiled names.
	secretWatches map[resource.ID]*resource.Watch
	awaiting      func(*resource.Watch)

	// accepting is held while listeners are told whether to take connections.
	accepting sync.Mutex

	mu        sync.Mutex
	snapshot_ *xds.Snapshot
	listeners map[string]*running
	pending   map[string]*pending
	retiring  map[*running]bool
	leaving   leavers
	closed    bool

	state      atomic.Int32
	drainStart atomic.Int64 // monotonic nanoseconds; 0 is not draining
	quit       chan struct{}
	quitOnce   sync.Once
	flushStop  chan struct{}
	isLive     chan struct{}
	wg         sync.WaitGroup
	closeOnce  sync.Once
}

// serverStats are Envoy's server.* statistics.
type serverStats struct {
	Live           stats.Gauge   `stat:"live"`
	State          stats.Gauge   `stat:"state"`
	Concurrency    stats.Gauge   `stat:"concurrency"`
	Uptime         stats.Gauge   `stat:"uptime"`
	Connections    stats.Gauge   `stat:"total_connections"`
	Memory         stats.Gauge   `stat:"memory_allocated"`
	MemoryHeap     stats.Gauge   `stat:"memory_heap_size"`
	WatchdogMiss   stats.Counter `stat:"watchdog_miss"`
	Panics         stats.Counter `stat:"panics"`
	DaysUntilFirst stats.Gauge   `stat:"days_until_first_cert_expiring"`
}

// New compiles the bootstrap, binds its listeners and the admin server, and takes
// connections. The error holds every problem.
func New(o Options) (*Proxy, error) {
	if o.Bootstrap == nil {
		return nil, errNoBootstrap
	}
	p := newProxy(o)
	p.state.Store(int32(admin.Initializing))
	if err := p.start(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func newProxy(o Options) *Proxy {
	return &Proxy{
		opts: o, listeners: map[string]*running{}, pending: map[string]*pending{}, retiring: map[*running]bool{},
		refused: map[refusal][]xds.Problem{}, secretWatches: map[resource.ID]*resource.Watch{}, leaving: leavers{kick: make(chan struct{}, 1)},
		quit: make(chan struct{}), flushStop: make(chan struct{}), isLive: make(chan struct{}), started: time.Now(),
	}
}

func (p *Proxy) start() error {
	var err error
	p.engine, err = engine.New(engine.Options{Loops: p.opts.Concurrency, OnPanic: p.panicked, OnStall: p.stalled})
	if err != nil {
		return err
	}
	p.loops = p.engine.Loops()
	if err := p.setUp(false); err != nil {
		return err
	}
	p.server = stats.Register[serverStats](p.store.Scope("server."), 1)
	p.server.At(0).Concurrency.Set(int64(len(p.loops)))
	events, err := p.outlierEvents()
	if err != nil {
		return err
	}
	cm := p.opts.Bootstrap.GetClusterManager()
	p.clusters = upstream.NewManager(upstream.Options{
		Loops: posters(p.loops), Stats: p.store.Scope(""), LocalCluster: cm.GetLocalClusterName(),
		// A load report tells of all clusters.
		Deferred: cm.GetEnableDeferredClusterCreation() && cm.GetLoadStatsConfig() == nil,
		Runtime:  p.runtime, OutlierEvents: events, NewConnection: p.overload.Point(overload.NewPoolConnection),
	})
	p.services.Clusters = p.clusters
	p.services.Exporters = batch.NewSet(call.New(p.loops, p.clusters))
	sinks, err := p.makeSinks()
	if err != nil {
		return err
	}
	if err := p.startAdmin(); err != nil {
		return err
	}
	p.startFetching()
	p.startOverload()
	p.health.Start(true)
	if problems := p.Apply(p.snapshot()); xds.HasErrors(problems) {
		return xds.Err(problems)
	}
	p.leaving.done.Go(p.seeOff)
	p.runtime.Watch(time.Second)
	p.startFlusher(sinks)
	p.fetchResources()
	return nil
}

// Check compiles everything and binds nothing.
func Check(o Options) error {
	if o.Bootstrap == nil {
		return errNoBootstrap
	}
	p := newProxy(o)
	var err error
	// Extensions are compiled for a set of loops; one that serves nothing will do.
	if p.engine, err = engine.New(engine.Options{Loops: 1}); err != nil {
		return err
	}
	defer p.engine.Close()
	p.loops = p.engine.Loops()
	if err := p.setUp(true); err != nil {
		return err
	}
	p.clusters = upstream.NewManager(upstream.Options{Stats: p.store.Scope("")})
	p.services.Clusters = p.clusters
	p.services.Exporters = batch.NewSet(call.New(p.loops, p.clusters))
	defer p.clusters.Close()
	defer p.runtime.Close()
	defer p.closeFiles()
	if _, err := p.makeSinks(); err != nil {
		return err
	}
	problems := p.check(p.snapshot())
	return xds.Err(problems)
}

func (p *Proxy) closeFiles() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := p.files.Close(ctx); err != nil {
		p.log("file").Warn("some access log lines could not be written", "error", err)
	}
}

type nothing struct{ io.Writer }

func (nothing) Close() error { return nil }

func openNothing(string) (io.WriteCloser, error) { return nothing{io.Discard}, nil }

// poster is a loop as the cluster manager wants it.
type poster struct{ *engine.Loop }

// Post runs f on the loop.
func (p poster) Post(f func()) { p.Loop.Post(f) }

func posters(loops []*engine.Loop) []upstream.Loop {
	out := make([]upstream.Loop, len(loops))
	for i, l := range loops {
		out[i] = poster{l}
	}
	return out
}

func (p *Proxy) panicked(v any, stack []byte) {
	p.log("main").Error("BUG: a task panicked; its connection is lost, all others go on", "panic", v, "stack", string(stack))
	if p.server != nil {
		p.server.At(0).Panics.Inc()
	}
}

func (p *Proxy) stalled(s engine.Stall) {
	p.log("main").Warn("an event loop does not come back: something on it computes or blocks", "loop", s.Loop, "for", s.For, "in", s.At)
	if p.server != nil {
		p.server.At(0).WatchdogMiss.Inc()
	}
}

// Run serves until ctx ends or /quitquitquit asks for the end, then drains and
// returns once the last request is done or the drain time is over. It does not
// close: Close does.
func (p *Proxy) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-p.quit:
	}
	drain, cancel := context.WithTimeout(context.Background(), p.opts.DrainTime)
	defer cancel()
	p.Drain(drain)
	return nil
}

// gradualDrain is the longest over which the connections of a gradual drain are
// asked to end.
const gradualDrain = 5 * time.Second

// Drain stops taking connections, asks those open to end, and waits until they
// have or ctx ends.
func (p *Proxy) Drain(ctx context.Context) {
	p.state.Store(int32(admin.Draining))
	p.health.Drain()
	p.drainStart.CompareAndSwap(0, engine.Nano())
	all := p.all()
	for _, r := range all {
		r.l.StopAccepting()
	}
	p.log("main").Info("draining: listeners are closed, requests in flight finish", "connections", p.open(all), "drain_time", p.opts.DrainTime)
	spread := min(gradualDrain, p.opts.DrainTime/4)
	if p.opts.DrainImmediately {
		spread = 0
	}
	tell := time.NewTimer(spread)
	defer tell.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.open(all) > 0 {
		select {
		case <-ctx.Done():
			p.log("main").Warn("the drain time is over: connections still open are closed", "connections", p.open(all))
			return
		case <-tell.C:
			for _, r := range all {
				r.l.Drain()
			}
		case <-tick.C:
		}
	}
	p.log("main").Info("drained: no connection is open")
}

// open counts the downstream connections of the process and the UDP sessions of
// these listeners.
func (p *Proxy) open(all []*running) int64 {
	n := p.limits.Active()
	for _, r := range all {
		if l, ok := r.l.(*listener.PacketListener); ok {
			n += l.Active()
		}
	}
	return n
}

// draining tells a connection whether its next response is to announce the end:
// ever more of them as a gradual drain goes on.
func (p *Proxy) draining() bool {
	start := p.drainStart.Load()
	if start == 0 {
		return p.health.Failed()
	}
	if p.opts.DrainImmediately {
		return true
	}
	spread := min(gradualDrain, p.opts.DrainTime/4)
	return rand.Int64N(int64(spread)+1) < engine.Nano()-start
}

// Close ends everything at once and waits for it.
func (p *Proxy) Close() {
	p.closeOnce.Do(p.close)
}

func (p *Proxy) close() {
	close(p.flushStop)
	p.overload.Close()
	if p.admin != nil {
		if err := p.admin.Close(); err != nil {
			p.log("admin").Warn("close admin", "error", err)
		}
	}
	p.stopFetching()
	p.closeListeners()
	p.endLeaving()
	p.flusher.Close() // All is counted, and clusters are still there.
	if p.services != nil && p.services.Exporters != nil {
		p.services.Exporters.Close()
	}
	if p.clusters != nil {
		p.clusters.Close()
	}
	if p.engine != nil {
		p.engine.Close()
	}
	if p.runtime != nil {
		p.runtime.Close()
	}
	if p.secrets != nil {
		p.secrets.Close()
	}
	if p.files != nil {
		p.closeFiles()
	}
	p.wg.Wait()
}

func (p *Proxy) closeListeners() {
	p.applying.Lock()
	defer p.applying.Unlock()
	p.mu.Lock()
	p.closed = true
	waiting := p.pending
	p.pending = map[string]*pending{}
	p.mu.Unlock()
	for name, n := range waiting {
		n.close(p.listeners[name])
	}
	for _, r := range p.all() {
		r.close()
	}
}

// AdminAddr returns where the admin server listens, or "".
func (p *Proxy) AdminAddr() string {
	if p.admin == nil {
		return ""
	}
	return p.admin.Addr().String()
}

// Listeners returns the addresses bound, in the order of the configuration.
func (p *Proxy) Listeners() []string {
	var out []string
	for _, r := range p.all() {
		for _, a := range r.l.Addresses() {
			out = append(out, a.String())
		}
	}
	return out
}

// Stats returns the proxy's statistics.
func (p *Proxy) Stats() *stats.Store { return p.store }

// FlushLogs writes out the access log lines taken so far, and waits until then or
// until ctx ends.
func (p *Proxy) FlushLogs(ctx context.Context) error { return p.files.Flush(ctx) }

// ReopenLogs opens the access log files anew, after they were moved away.
func (p *Proxy) ReopenLogs() error {
	p.files.Reopen()
	if p.admin != nil {
		p.admin.ReopenLogs()
	}
	return nil
}

func (p *Proxy) writeAdminAddress() error {
	if p.opts.AdminAddressPath == "" {
		return nil
	}
	if err := os.WriteFile(p.opts.AdminAddressPath, []byte(p.AdminAddr()), 0o644); err != nil {
		return errors.Join(errors.New("admin address path"), err)
	}
	return nil
}
