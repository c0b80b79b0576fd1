// SPDX-License-Identifier: Apache-2.0

package jwtauthn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/internal/jose"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream/call"
)

// source has the keys of a provider.
type source interface {
	// keys returns those of now; nil if none have come yet.
	keys() *jose.Keys
	// wait is keys that waits for the first for a while. It returns an error if the
	// stream ended meanwhile.
	wait(s *stream.Stream) (*jose.Keys, error)
}

// local is keys in the configuration, or in a file that is watched.
type local struct{ *secret.Parsed[*jose.Keys] }

func readKeys(v *secret.Value) (*jose.Keys, error) {
	k, s := jose.ParseKeys(v.Generic[""])
	if s != jose.OK {
		return nil, errors.New(s.String())
	}
	return k, nil
}

func (l local) keys() *jose.Keys { return l.Load() }

func (l local) wait(*stream.Stream) (*jose.Keys, error) { return l.Load(), nil }

// remote is keys that a goroutine of its own fetches, time and again. Once there, they
// stay until others take their place.
type remote struct {
	uri     string
	service *call.Service
	caller  *call.Caller
	client  *call.Client
	age     time.Duration // until they are fetched again
	again   time.Duration // the same, after a failure
	count   *FetchStats
	log     *slog.Logger
	// ready, if not nil, is called once the first fetch has ended.
	ready func()

	now    atomic.Pointer[jose.Keys]
	ctx    context.Context
	cancel context.CancelFunc
	kick   chan struct{} // has a fetch begin before its time
	wg     sync.WaitGroup

	mu sync.Mutex
	// round is closed when the fetch that goes on, or else the next one, has ended.
	round chan struct{}
	// fetching tells that one goes on; ended is when the last one did.
	fetching bool
	ended    time.Time
}

func newRemote(uri string, service *call.Service, c *extension.HTTP) *remote {
	r := &remote{
		uri: uri, service: service, caller: call.New(c.Loops, c.Clusters), log: c.Log("jwt"),
		kick: make(chan struct{}, 1), round: make(chan struct{}),
	}
	r.client = r.caller.Client(service)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

func (r *remote) start() { r.wg.Go(r.run) }

func (r *remote) close() {
	r.cancel()
	r.wg.Wait()
}

// Bounds of what is waited for.
const (
	// early is how long before their age is over keys are fetched again, as in Envoy.
	early = 5 * time.Second
	// longest bounds the time between fetches that fail.
	longest = time.Minute
	// grace is what a fetch may take beyond its timeout.
	grace = time.Second
	// patience bounds how long a request waits for the first keys.
	patience = 15 * time.Second
)

func (r *remote) run() {
	failures := 0
	for {
		r.begin()
		k, err := r.fetch()
		if r.ctx.Err() != nil {
			r.end()
			return
		}
		wait := r.age
		if wait > early {
			wait -= early
		}
		if err == nil {
			failures = 0
			r.count.Success.Inc()
			// The same keys stay the same set: tokens are not verified anew.
			if before := r.now.Load(); before == nil || !before.Equal(k) {
				r.now.Store(k)
			}
		} else {
			r.count.Failed.Inc()
			r.log.Warn("the keys of tokens could not be fetched", "uri", r.uri, "cluster", r.service.Cluster, "reason", err, "kept", r.now.Load() != nil)
			wait = min(r.again<<min(failures, 16), max(longest, r.again))
			failures++
		}
		r.end()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.kick:
		case <-r.ctx.Done():
		}
		timer.Stop()
		if r.ctx.Err() != nil {
			return
		}
	}
}

func (r *remote) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetching = true
}

func (r *remote) end() {
	r.mu.Lock()
	r.fetching, r.ended = false, time.Now()
	close(r.round)
	r.round = make(chan struct{})
	r.mu.Unlock()
	if r.ready != nil {
		r.ready()
		r.ready = nil
	}
}

// fetch fetches the keys, with what retries there are. The context is for a cluster that
// does not come.
func (r *remote) fetch() (*jose.Keys, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.service.Timeout+grace)
	defer cancel()
	k := r.client.Begin(http.MethodGet, []byte(r.service.Path))
	defer k.End()
	if err := r.caller.Do(ctx, k); err != nil {
		return nil, err
	}
	if k.Status != http.StatusOK {
		return nil, fmt.Errorf("the response has status %d, not 200", k.Status)
	}
	keys, s := jose.ParseKeys(k.Content)
	if s != jose.OK {
		return nil, errors.New(s.String())
	}
	return keys, nil
}

func (r *remote) keys() *jose.Keys { return r.now.Load() }

// wait waits for a fetch that goes on. If the last one has failed a while ago, it has
// another one begin; if that was just now, there is nothing to wait for.
func (r *remote) wait(s *stream.Stream) (*jose.Keys, error) {
	if k := r.now.Load(); k != nil {
		return k, nil
	}
	r.mu.Lock()
	round := r.round
	if !r.fetching && !r.ended.IsZero() && time.Since(r.ended) < r.again {
		r.mu.Unlock()
		return nil, nil
	}
	if !r.fetching {
		select {
		case r.kick <- struct{}{}:
		default:
		}
	}
	r.mu.Unlock()
	err := s.Await(func(ctx context.Context) {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-round:
		case <-timer.C:
		case <-r.ctx.Done():
		case <-ctx.Done():
		}
	})
	return r.now.Load(), err
}
