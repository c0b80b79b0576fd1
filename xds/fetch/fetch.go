// SPDX-License-Identifier: Apache-2.0

// Package fetch is the client of management servers: it asks for the resources that a
// proxy needs, from wherever their config sources point to (the aggregated stream,
// streams of their own, REST, files), gives them to the proxy and answers the server
// with what the proxy says of them.
//
// A server that sends what is wrong, too much or nothing changes nothing: what was good
// stays in use, the server is told why, and connections are made anew with a growing,
// random pause. One goroutine looks after each config source; Close waits for all.
//
// The package does not know the proxy: see Target.
package fetch

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

// Wildcard as a name asks for all resources of a kind.
const Wildcard = "*"

// An Update is what one response says.
type Update struct {
	// Source is the key that Subscribe was given.
	Source string
	Kind   xds.Kind
	// Version is the server's, of the response as a whole.
	Version string
	Put     []wire.Resource
	// Gone are the names that are no more, or that the server does not know.
	Gone []string
	// Unknown are names that were asked for on demand, and that the server has nothing
	// for.
	Unknown []string
	// Empty tells of an answer without any resource, where there were some or where each
	// answer is one to a question of its own (REST, files).
	Empty bool
}

// A Stream is one to a management server.
type Stream struct {
	// Source is the key that Subscribe was given.
	Source string
	// Kind is what is asked for on the stream, "" if that is all: an aggregated one.
	Kind xds.Kind
}

// A Refusal says why one resource of an update cannot be used.
type Refusal struct {
	Name string
	Err  error
}

// A Target is given what was fetched. Its methods are called from several goroutines.
type Target interface {
	// Apply takes an update and returns what is wrong with it. What is good is used all
	// the same.
	Apply(u *Update) []Refusal
	// Failed tells that the server of a source could not be asked.
	Failed(source string, kind xds.Kind, names []string)
	// Connected tells whether a stream is up, and how the server calls itself.
	Connected(s Stream, up bool, identifier string)
	// Throttled tells that a request waits, as the server may not be asked so often
	// (rate_limit_settings), and then that it waits no more.
	Throttled(s Stream, waits bool)
	// Forget tells that resources are no longer asked for: nothing more will be said of
	// them, unless they are asked for again.
	Forget(source string, kind xds.Kind, names []string)
	// Warm returns a channel that is closed when all clusters are ready to be routed
	// to, nil if they are: routes and listeners wait for it.
	Warm() <-chan struct{}
}

// Options are what a Client is made with.
type Options struct {
	// Node is who asks.
	Node *corev3.Node
	// ADS is where the aggregated stream goes to; nil if there is none.
	ADS *corev3.ApiConfigSource
	// Dial connects to a host of a cluster of the proxy, by the protocol alpn.
	Dial func(ctx context.Context, cluster, alpn string) (net.Conn, error)
	// Get sends GET path to a host of a cluster, once that is there, and returns the
	// status and the body, of limit bytes at most. It is needed for version 1 of discovery.
	Get    func(ctx context.Context, cluster, path string, timeout time.Duration, limit int) (int, []byte, error)
	Target Target
	Log    *slog.Logger
}

// A Client fetches resources. Its methods may be called from any goroutine; Subscribe
// and Unsubscribe never wait.
type Client struct {
	o     Options
	types map[xds.Kind]*wire.Type
	urls  map[string]*wire.Type
	order []xds.Kind

	mu      sync.Mutex
	sources map[string]*source
	closed  bool
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// New returns a client that asks for nothing yet.
func New(o Options) *Client {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{o: o, types: map[xds.Kind]*wire.Type{}, urls: map[string]*wire.Type{}, sources: map[string]*source{}}
	for _, t := range wire.Types() {
		c.types[t.Kind], c.urls[t.URL] = t, t
		c.order = append(c.order, t.Kind)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close ends all streams and waits for the goroutines.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

// linger is how long a source is kept that nothing is wanted of any more.
const linger = 10 * time.Second

// Subscribe asks for a resource, with Wildcard for all of a kind, or with the name of a
// collection (wire.URN.IsGlob) for all that are in it. key names the
// config source; cs says where it is.
func (c *Client) Subscribe(key string, cs *corev3.ConfigSource, kind xds.Kind, name string) {
	c.change(key, cs, kind, name, true)
}

// Unsubscribe ends a Subscribe.
func (c *Client) Unsubscribe(key string, kind xds.Kind, name string) {
	c.change(key, nil, kind, name, false)
}

func (c *Client) change(key string, cs *corev3.ConfigSource, kind xds.Kind, name string, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sources[key]
	if s == nil {
		if !on || c.closed {
			return
		}
		s = newSource(c, key, cs, c.o.Log.With("source", describe(cs)))
		s.want(kind, name, true) // Before its first request is made.
		c.start(s)
		return
	}
	if s.want(kind, name, on) {
		s.idle.Stop()
	} else if !c.closed {
		s.idle.Reset(linger)
	}
}

// start has a source ask for what is wanted of it. It is called with mu.
func (c *Client) start(s *source) {
	c.sources[s.key] = s
	ctx, cancel := context.WithCancel(c.ctx)
	s.idle = time.AfterFunc(linger, func() { c.drop(s, cancel) })
	s.idle.Stop()
	c.wg.Go(func() {
		defer cancel()
		defer s.idle.Stop()
		s.run(ctx)
	})
}

// drop ends a source if nothing is wanted of it.
func (c *Client) drop(s *source, cancel context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.wants() {
		return
	}
	if c.sources[s.key] == s {
		delete(c.sources, s.key)
	}
	cancel()
}

// A source is one place where resources come from.
type source struct {
	c   *Client
	key string
	cs  *corev3.ConfigSource
	log *slog.Logger

	wake chan struct{}
	idle *time.Timer // ends the source

	mu     sync.Mutex
	wanted map[xds.Kind]map[string]bool
	revs   map[xds.Kind]uint64 // how often what is wanted of a kind has changed
}

// newSource returns a source of which nothing is wanted yet.
func newSource(c *Client, key string, cs *corev3.ConfigSource, log *slog.Logger) *source {
	return &source{c: c, key: key, cs: cs, log: log, wake: make(chan struct{}, 1), wanted: map[xds.Kind]map[string]bool{}, revs: map[xds.Kind]uint64{}}
}

// want tells what is wanted, and reports whether anything is.
func (s *source) want(kind xds.Kind, name string, on bool) bool {
	s.mu.Lock()
	if s.wanted[kind] == nil {
		s.wanted[kind] = map[string]bool{}
	}
	if on {
		s.wanted[kind][name] = true
	} else {
		delete(s.wanted[kind], name)
	}
	s.revs[kind]++
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // It will look anyway.
	}
	return s.wants()
}

func (s *source) wants() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, names := range s.wanted {
		if len(names) > 0 {
			return true
		}
	}
	return false
}

// rev is another number whenever the names wanted of a kind are others.
func (s *source) rev(kind xds.Kind) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revs[kind]
}

// names are the names wanted of a kind, in order.
func (s *source) names(kind xds.Kind) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.wanted[kind]))
	for n := range s.wanted[kind] {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func (s *source) run(ctx context.Context) {
	switch {
	case s.cs.GetAds() != nil || s.cs.GetSelf() != nil:
		if s.c.o.ADS == nil {
			s.log.Error("resources are asked for by ADS, and there is no ads_config in dynamic_resources")
			s.failed()
			return
		}
		s.stream(ctx, s.c.o.ADS, nil)
	case s.cs.GetApiConfigSource() != nil:
		s.api(ctx, s.cs.GetApiConfigSource())
	default:
		s.watchFile(ctx)
	}
}

func (s *source) api(ctx context.Context, a *corev3.ApiConfigSource) {
	switch a.GetApiType() {
	case corev3.ApiConfigSource_REST:
		s.poll(ctx, a)
	case corev3.ApiConfigSource_AGGREGATED_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		s.stream(ctx, a, nil)
	default:
		// Each kind has a service, and so a stream, of its own.
		var wg sync.WaitGroup
		streams := map[xds.Kind]*source{}
		defer wg.Wait()
		for {
			for _, kind := range s.c.order {
				names := s.names(kind)
				sub := streams[kind]
				if sub == nil {
					if len(names) == 0 {
						continue
					}
					sub = newSource(s.c, s.key, s.cs, s.log)
					streams[kind] = sub
					wg.Go(func() { sub.stream(ctx, a, s.c.types[kind]) })
				}
				sub.set(kind, names)
			}
			select {
			case <-s.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// set makes names what is wanted of a kind.
func (s *source) set(kind xds.Kind, names []string) {
	next := map[string]bool{}
	for _, n := range names {
		next[n] = true
	}
	s.mu.Lock()
	s.wanted[kind] = next
	s.revs[kind]++
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// failed tells that nothing that is wanted could be asked for.
func (s *source) failed() {
	for _, kind := range s.c.order {
		if names := s.names(kind); len(names) > 0 {
			s.c.o.Target.Failed(s.key, kind, names)
		}
	}
}

func describe(cs *corev3.ConfigSource) string {
	switch {
	case cs.GetAds() != nil || cs.GetSelf() != nil:
		return "ADS"
	case cs.GetApiConfigSource() != nil:
		return cs.GetApiConfigSource().GetApiType().String()
	case cs.GetPathConfigSource() != nil:
		return cs.GetPathConfigSource().GetPath()
	}
	return cs.GetPath() //nolint:staticcheck // Deprecated, still found.
}

// pause waits, or returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
