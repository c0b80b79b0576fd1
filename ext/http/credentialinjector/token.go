// SPDX-License-Identifier: Apache-2.0

package credentialinjector

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/oauth"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream/call"
)

// TokenStats are the statistics of tokens (http.STAT_PREFIX.credential_injector.oauth2.*).
type TokenStats struct {
	Requested stats.Counter `stat:"token_requested"`
	Fetched   stats.Counter `stat:"token_fetched"`
	NoSecret  stats.Counter `stat:"token_fetch_failed_on_client_secret"`
	NoCluster stats.Counter `stat:"token_fetch_failed_on_cluster_not_found"`
	BadStatus stats.Counter `stat:"token_fetch_failed_on_bad_response_code"`
	BadToken  stats.Counter `stat:"token_fetch_failed_on_bad_token"`
	Reset     stats.Counter `stat:"token_fetch_failed_on_stream_reset"`
}

// tokens are those of one client, which a goroutine of their own gets, the next one when
// half the life of the one before is over.
type tokens struct {
	client *oauth.Client
	caller *call.Caller
	form   url.Values
	retry  time.Duration
	count  *TokenStats
	log    *slog.Logger
	// ready, if not nil, is called once the first attempt has ended.
	ready func()

	now    atomic.Pointer[string] // as it stands in the field
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// load returns the newest token, "" if there was none yet.
func (t *tokens) load() string {
	if v := t.now.Load(); v != nil {
		return *v
	}
	return ""
}

func (t *tokens) start() {
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Go(t.run)
}

func (t *tokens) close() {
	t.cancel()
	t.wg.Wait()
}

// Bounds of what is waited for.
const (
	// grace is what an attempt may take beyond its timeout, for a cluster to be there.
	grace = time.Second
	// shortest is the shortest time between two tokens.
	shortest = 500 * time.Millisecond
)

func (t *tokens) run() {
	for {
		wait := t.retry
		token, err := t.fetch()
		switch {
		case err == nil:
			v := "Bearer " + token.Access
			t.now.Store(&v)
			t.count.Fetched.Inc()
			wait = max(token.Lifetime/2, shortest)
		case t.ctx.Err() == nil:
			t.log.Warn("a token could not be had", "cluster", t.client.Calls.Service().Cluster, "reason", err, "kept", t.now.Load() != nil)
		}
		if t.ready != nil {
			t.ready()
			t.ready = nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-t.ctx.Done():
			timer.Stop()
			return
		}
	}
}

var errNoLifetime = errors.New("the answer of the token endpoint has no expires_in")

// fetch gets one token, and counts why there is none.
func (t *tokens) fetch() (oauth.Token, error) {
	ctx, cancel := context.WithTimeout(t.ctx, t.client.Calls.Service().Timeout+grace)
	defer cancel()
	k, err := t.client.Begin(maps.Clone(t.form))
	if err != nil {
		t.count.NoSecret.Inc()
		return oauth.Token{}, err
	}
	defer k.End()
	t.count.Requested.Inc()
	if err := t.caller.Do(ctx, k); err != nil {
		if errors.Is(err, call.ErrNoCluster) {
			t.count.NoCluster.Inc()
		} else {
			t.count.Reset.Inc()
		}
		return oauth.Token{}, err
	}
	token, err := oauth.Read(k)
	switch {
	case k.Status != http.StatusOK:
		t.count.BadStatus.Inc()
	case err == nil && token.Lifetime == 0:
		err = errNoLifetime
		fallthrough
	case err != nil:
		t.count.BadToken.Inc()
	}
	return token, err
}
