// SPDX-License-Identifier: Apache-2.0

// Package peers has the replicas of a control plane tell each other what each knows.
//
// Each has a post where all of them see it, which it writes when it has something else to
// tell, though not often, and renews. A post that has not been renewed while a replica has
// renewed its own a few times is of one that is gone: no clocks are compared, and where
// nobody can write, nobody is taken for gone. Why so is in docs/design/0016-replicas.md.
package peers

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"
)

// A Post is what a replica tells.
type Post struct {
	Replica, Text string
	// Version is another whenever the post has been written; "" is that it is gone.
	Version string
}

// A Board is where posts are.
type Board interface {
	// Put writes a replica's post, or renews it.
	Put(ctx context.Context, replica, text string) error
	// Remove removes a replica's post; one of another version than this stays, if it is not
	// "".
	Remove(ctx context.Context, replica, version string) error
	// Watch tells of the posts that there are, then calls all, and tells of each post that
	// comes, changes or goes, until ctx ends. It calls one at a time.
	Watch(ctx context.Context, told func(Post), all func())
}

// A Teller is who knows.
type Teller interface {
	// Post returns what others are to know; alone is that there are none.
	Post(alone bool) string
	// Peer takes what another tells; "" is that it is gone.
	Peer(replica, text string) error
	// Heard tells that Peer has been called for all that there were at the start.
	Heard()
}

// A Member is one replica.
type Member struct {
	Board  Board
	Teller Teller
	// Identity tells it from others.
	Identity string
	// Every is how often a post is renewed. The default is 2 s.
	Every time.Duration
	Log   *slog.Logger

	wake chan struct{}
	// mu is held while the Teller is told of others, so that it is told in order.
	mu     sync.Mutex
	others map[string]*other
}

// other is another replica.
type other struct {
	post Post
	// unseen is how often this replica has renewed its post since the other was written.
	unseen int
	gone   bool
}

// New returns a Member. Its Teller may be set until Run.
func New(b Board, identity string, log *slog.Logger) *Member {
	return &Member{Board: b, Identity: identity, Log: log, wake: make(chan struct{}, 1), others: map[string]*other{}}
}

const (
	// gone is how often a replica renews its post until one that is not renewed is of a
	// replica that is gone.
	gone = 4
	// soon is how long what is to be told is gathered, and seldom the least time between two
	// posts for that.
	soon   = 20 * time.Millisecond
	seldom = 500 * time.Millisecond
)

// Wake tells that the Teller may have something else to tell.
func (m *Member) Wake() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run tells and listens until ctx ends, and then removes its post.
func (m *Member) Run(ctx context.Context) {
	every := cmp.Or(m.Every, 2*time.Second)
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { m.Board.Watch(watching, m.hear, m.Teller.Heard) })
	renew := time.NewTicker(every)
	defer renew.Stop()
	gather := time.NewTimer(0)
	defer gather.Stop()
	posted, last, failing := "", time.Time{}, false
	put := func() {
		text := m.Teller.Post(m.alone())
		err := m.Board.Put(ctx, m.Identity, text)
		switch {
		case err == nil:
			posted, last = text, time.Now()
		case ctx.Err() == nil && !failing:
			m.Log.Warn("cannot tell the other replicas which proxies are connected here; it is tried again", "error", err)
		}
		failing = err != nil
	}
	for {
		select {
		case <-ctx.Done():
			m.leave(ctx, every)
			return
		case <-m.wake:
			gather.Reset(max(soon, seldom-time.Since(last)))
		case <-gather.C:
			if failing || m.Teller.Post(m.alone()) != posted {
				put()
			}
		case <-renew.C:
			if put(); !failing {
				m.renewed(ctx)
			}
		}
	}
}

// leave removes the post of who leaves: others need not wait.
func (m *Member) leave(ctx context.Context, within time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	if err := m.Board.Remove(ctx, m.Identity, ""); err != nil {
		m.Log.Warn("what this replica has told the others stays until they find that it is gone", "error", err)
	}
}

// alone tells that there are no others.
func (m *Member) alone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.others {
		if !o.gone {
			return false
		}
	}
	return true
}

// hear takes what the Board tells.
func (m *Member) hear(p Post) {
	if p.Replica == m.Identity {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.others[p.Replica]
	switch {
	case p.Version == "":
		delete(m.others, p.Replica)
		if o != nil && !o.gone {
			m.tell(p.Replica, "")
		}
		return
	case o == nil:
		o = &other{gone: true}
		m.others[p.Replica] = o
	case o.post.Version == p.Version:
		return
	}
	before := *o
	*o = other{post: p}
	if before.gone || before.post.Text != p.Text {
		m.tell(p.Replica, p.Text)
	}
}

// tell tells what is known of a replica. It is called with mu.
func (m *Member) tell(replica, text string) {
	m.Wake() // Whether this one is alone may be another.
	if err := m.Teller.Peer(replica, text); err != nil {
		m.Log.Warn(err.Error())
	}
}

// renewed counts, and finds who is gone.
func (m *Member) renewed(ctx context.Context) {
	m.mu.Lock()
	var lost []Post
	for id, o := range m.others {
		if o.unseen++; o.unseen > gone && !o.gone {
			o.gone = true
			m.tell(id, "")
			lost = append(lost, o.post)
		}
	}
	m.mu.Unlock()
	for _, p := range lost {
		m.Log.Info("another replica of the control plane has gone without a word", "replica", p.Replica)
		// What it has written meanwhile stays, and is heard.
		if err := m.Board.Remove(ctx, p.Replica, p.Version); err != nil && ctx.Err() == nil {
			m.Log.Warn("what a replica has told that is gone cannot be removed", "replica", p.Replica, "error", err)
		}
	}
}
