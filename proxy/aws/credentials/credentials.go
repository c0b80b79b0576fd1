// SPDX-License-Identifier: Apache-2.0

// Package credentials keeps AWS credentials at hand: found along Envoy's chain
// (configuration, environment, files, AssumeRole, IAM Roles Anywhere, web identity,
// container, instance),
// renewed before they expire, and kept while they are good though a renewal fails.
//
// A [Provider] renews on a goroutine of its own, which its [Set] owns; a request reads
// what is there. Only one that comes before the first search has ended waits for it.
// The protocols of AWS's services are aws-sdk-go-v2's.
package credentials

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"weir.dev/weir/proxy/aws/sign"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stats"
)

// Times of renewal.
const (
	// attempt bounds one search along the whole chain.
	attempt = 30 * time.Second
	// early is how long before they expire credentials are renewed, at most; of those
	// that live shortly it is a fifth of their life.
	early = 5 * time.Minute
	// reread is how often files are read again.
	reread = time.Minute
	// firstRetry doubles up to lastRetry.
	firstRetry, lastRetry = 2 * time.Second, 32 * time.Second
)

// A Set owns providers, one for each configuration. It works while it is held; its
// zero value is not ready, see NewSet.
type Set struct {
	env Environment

	mu        sync.Mutex
	providers map[string]weak.Pointer[Provider]
	held      int
	work      *work // nil while nobody holds the set
}

// work are the goroutines of a set, from the first hold to the last release.
type work struct {
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// Environment is where a process finds its settings.
type Environment struct {
	// Getenv is os.Getenv by default.
	Getenv func(string) string
}

func (e *Environment) get(name string) string {
	if e.Getenv == nil {
		return os.Getenv(name)
	}
	return e.Getenv(name)
}

// NewSet returns a Set without providers.
func NewSet(env Environment) *Set {
	return &Set{env: env, providers: map[string]weak.Pointer[Provider]{}}
}

// Provider returns the provider of a configuration. It begins its search when it is
// held or first asked. The services that it asks are counted in st.
func (s *Set) Provider(c *Config, log *slog.Logger, st *stats.Store) *Provider {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.providers[c.key].Value(); p != nil {
		return p
	}
	p := &Provider{set: s, log: log, finder: finder{steps: c.chain(&s.env), stats: st}}
	p.now.Store(&state{})
	if c.inline != nil {
		p.now.Store(&state{creds: c.inline, found: true})
		p.fixed = true
	}
	for key, w := range s.providers { // Those that nobody has any more.
		if w.Value() == nil {
			delete(s.providers, key)
		}
	}
	s.providers[c.key] = weak.Make(p)
	return p
}

// Hold lets a provider work, and renew for as long as it is held, asked or not. The
// last release ends all providers of the set and waits for them.
func (s *Set) Hold(p *Provider) (release func()) {
	s.mu.Lock()
	if s.held++; s.work == nil {
		s.work = &work{}
		s.work.ctx, s.work.cancel = context.WithCancel(context.Background())
	}
	s.mu.Unlock()
	p.holders.Add(1)
	p.start()
	return sync.OnceFunc(func() {
		p.holders.Add(-1)
		s.mu.Lock()
		var last *work
		if s.held--; s.held == 0 {
			last, s.work = s.work, nil
		}
		s.mu.Unlock()
		if last != nil {
			// Not under the lock: what ends may be asked to begin meanwhile.
			last.cancel()
			last.wait.Wait()
		}
	})
}

// launch runs f as one of the set's goroutines, and reports whether the set works.
func (s *Set) launch(f func(context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.work == nil {
		return false
	}
	ctx := s.work.ctx
	s.work.wait.Go(func() { f(ctx) })
	return true
}

// A Provider has the credentials of one configuration. Its methods may be called from
// any goroutine.
type Provider struct {
	set     *Set
	log     *slog.Logger
	finder  finder
	fixed   bool // the credentials are those of the configuration
	now     atomic.Pointer[state]
	asked   atomic.Bool // since the last renewal
	holders atomic.Int32

	mu      sync.Mutex
	running bool
	waiters map[*waiter]struct{}
}

// state is what a provider knows.
type state struct {
	creds   *sign.Credentials // nil: there are none
	expires time.Time         // zero: never
	found   bool              // a search has ended
}

func (s *state) good(now time.Time) bool {
	return s.creds != nil && (s.expires.IsZero() || now.Before(s.expires))
}

// waiter is a task that waits for the end of the first search.
type waiter struct{ wake func() }

// Get returns the credentials, nil if there are none. While the first search goes on
// the task waits; the error is that of an interrupt.
func (p *Provider) Get(t *engine.Task, now time.Time) (*sign.Credentials, error) {
	st := p.now.Load()
	if p.fixed {
		return st.creds, nil
	}
	if !p.asked.Load() {
		p.asked.Store(true)
		p.start()
		st = p.now.Load()
	}
	if !st.found {
		if err := p.await(t); err != nil {
			return nil, err
		}
		st = p.now.Load()
	}
	if !st.good(now) {
		return nil, nil
	}
	return st.creds, nil
}

// start begins to renew, unless that is being done.
func (p *Provider) start() {
	if p.fixed {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		return
	}
	if st := p.now.Load(); !st.good(time.Now()) {
		p.now.Store(&state{}) // What asks now waits for the search.
	}
	if p.running = p.set.launch(p.run); !p.running {
		p.settle(&state{found: true}) // The proxy is ending.
	}
}

// await waits until a search has ended.
func (p *Provider) await(t *engine.Task) error {
	done, gone := false, false
	w := &waiter{}
	w.wake = func() {
		t.Loop().Post(func() {
			if done = true; !gone {
				t.Wake()
			}
		})
	}
	p.mu.Lock()
	if p.now.Load().found {
		p.mu.Unlock()
		return nil
	}
	if p.waiters == nil {
		p.waiters = map[*waiter]struct{}{}
	}
	p.waiters[w] = struct{}{}
	p.mu.Unlock()
	for !done {
		if err := t.Wait(); err != nil {
			gone = true
			p.mu.Lock()
			delete(p.waiters, w)
			p.mu.Unlock()
			return err
		}
	}
	return nil
}

// settle tells of a state. It is called with mu held.
func (p *Provider) settle(st *state) {
	p.now.Store(st)
	for w := range p.waiters {
		w.wake()
	}
	clear(p.waiters)
}

// run searches and renews until ctx ends, or nobody asks any more.
func (p *Provider) run(ctx context.Context) {
	retry := firstRetry
	for failed := false; ; {
		next, err := p.renew(ctx)
		switch {
		case ctx.Err() != nil:
			p.end()
			return
		case err != nil:
			level := slog.LevelDebug
			if !failed {
				level = slog.LevelWarn
			}
			p.log.Log(ctx, level, "AWS credentials could not be had: requests are signed with the former while they are good, and not signed after",
				"reason", err, "again_in", retry)
			next, retry = retry, min(2*retry, lastRetry)
		default:
			if failed {
				p.log.Info("AWS credentials are there again", "from", p.finder.source())
			}
			retry = firstRetry
		}
		failed = err != nil
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			p.end()
			return
		}
		if p.idle() {
			return
		}
	}
}

// end leaves nobody waiting when the set's work ends; who holds the provider anew has it
// begin again.
func (p *Provider) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running = p.holders.Load() > 0 && p.set.launch(p.run); p.running {
		return
	}
	st := *p.now.Load()
	st.found = true
	p.settle(&st)
}

// idle tells whether nobody holds the provider and nobody has asked it since the last
// renewal; then it rests until somebody does.
func (p *Provider) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders.Load() > 0 || p.asked.Swap(false) {
		p.asked.Store(false)
		return false
	}
	p.running = false
	return true
}

// renew searches once and returns when to do so again.
func (p *Provider) renew(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	old := p.now.Load()
	now := time.Now()
	found, err := p.finder.find(ctx, old.good(now))
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			return 0, err
		}
		st := *old
		st.found = true
		p.settle(&st)
		return 0, err
	}
	st := &state{creds: &found.creds, expires: found.expires, found: true}
	if old.creds != nil && *old.creds == found.creds {
		st.creds = old.creds // The keys made from them stay.
	}
	p.settle(st)
	if found.expires.IsZero() {
		return reread, nil
	}
	left := found.expires.Sub(time.Now())
	margin := min(early, left/5)
	margin += time.Duration(rand.Int64N(int64(margin/5) + 1)) // Not all proxies at once.
	return max(left-margin, firstRetry), nil
}
