// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// board is posts in memory.
type board struct {
	mu      sync.Mutex
	posts   map[string]Post
	n, puts int
	away    map[string]bool // replicas that cannot reach it
	changed map[*sync.Cond]bool
}

// at is the board as one replica sees it.
type at struct {
	*board
	who string
}

func (b at) Put(_ context.Context, replica, text string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away[b.who] {
		return errors.New("away")
	}
	b.n, b.puts = b.n+1, b.puts+1
	b.posts[replica] = Post{replica, text, strconv.Itoa(b.n)}
	b.tell()
	return nil
}

func (b at) Remove(_ context.Context, replica, version string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away[b.who] {
		return errors.New("away")
	}
	if version == "" || b.posts[replica].Version == version {
		delete(b.posts, replica)
		b.tell()
	}
	return nil
}

func (b *board) tell() {
	for c := range b.changed {
		c.Broadcast()
	}
}

func (b at) Watch(ctx context.Context, told func(Post), all func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := sync.NewCond(&b.mu)
	b.changed[c] = true
	defer context.AfterFunc(ctx, func() { b.mu.Lock(); defer b.mu.Unlock(); c.Broadcast() })()
	known := map[string]Post{}
	for first := true; ctx.Err() == nil; first = false {
		now := maps.Clone(b.posts)
		b.mu.Unlock()
		for id, p := range now {
			if known[id] != p {
				told(p)
			}
		}
		for id := range known {
			if _, ok := now[id]; !ok {
				told(Post{Replica: id})
			}
		}
		if first {
			all()
		}
		known = now
		b.mu.Lock()
		for ctx.Err() == nil && maps.Equal(b.posts, known) {
			c.Wait()
		}
	}
	delete(b.changed, c)
}

// teller says what it is told to say, and keeps what it hears.
type teller struct {
	mu    sync.Mutex
	says  string
	hears map[string]string
	heard bool
}

func (t *teller) Post(alone bool) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if alone {
		return "alone"
	}
	return t.says
}

func (t *teller) Peer(replica, text string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hears[replica] = text; text == "" {
		delete(t.hears, replica)
	}
	return nil
}

func (t *teller) Heard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = true
}

func (t *teller) say(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.says = text
}

func (t *teller) want(tt *testing.T, what string, want map[string]string) {
	tt.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !maps.Equal(t.hears, want) || !t.heard {
		tt.Errorf("%s: %v is heard, want %v", what, t.hears, want)
	}
}

func TestReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{posts: map[string]Post{}, away: map[string]bool{}, changed: map[*sync.Cond]bool{}}
		var wg sync.WaitGroup
		defer wg.Wait()
		tellers, members, stops := map[string]*teller{}, map[string]*Member{}, map[string]func(){}
		join := func(id string) {
			ctx, stop := context.WithCancel(t.Context())
			tellers[id] = &teller{says: id + "1", hears: map[string]string{}}
			members[id] = New(at{b, id}, id, slog.New(slog.DiscardHandler))
			members[id].Teller, stops[id] = tellers[id], stop
			wg.Go(func() { members[id].Run(ctx) })
		}
		settle := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		join("a")
		settle(time.Second)
		if text := b.posts["a"].Text; text != "alone" {
			t.Errorf("of nobody else knowing, a says %q", text)
		}
		join("b")
		settle(time.Second)
		tellers["a"].want(t, "a new one", map[string]string{"b": "b1"})
		tellers["b"].want(t, "a new one", map[string]string{"a": "a1"})

		// Much that happens is told seldom, and in the end.
		puts := b.puts
		for i := range 100 {
			tellers["b"].say(fmt.Sprint("b", i))
			members["b"].Wake()
			settle(10 * time.Millisecond)
		}
		settle(time.Second)
		tellers["a"].want(t, "changes", map[string]string{"b": "b99"})
		if n := b.puts - puts; n > 7 { // Two renew theirs meanwhile.
			t.Errorf("in 2 s posts are written %d times", n)
		}

		// One that cannot be heard is gone, while others can; and is back when it can.
		b.mu.Lock()
		b.away["b"] = true
		b.mu.Unlock()
		settle(6 * time.Second)
		tellers["a"].want(t, "soon after", map[string]string{"b": "b99"})
		settle(8 * time.Second)
		tellers["a"].want(t, "later", map[string]string{})
		b.mu.Lock()
		delete(b.away, "b")
		b.mu.Unlock()
		settle(3 * time.Second)
		tellers["a"].want(t, "back", map[string]string{"b": "b99"})

		// Where nobody can write, nobody is gone.
		b.mu.Lock()
		b.away["a"], b.away["b"] = true, true
		b.mu.Unlock()
		settle(time.Minute)
		tellers["a"].want(t, "a board that is away", map[string]string{"b": "b99"})
		b.mu.Lock()
		clear(b.away)
		b.mu.Unlock()
		settle(3 * time.Second)

		stops["b"]()
		settle(time.Millisecond)
		tellers["a"].want(t, "one that left", map[string]string{})
		stops["a"]()
		settle(time.Millisecond)
		if len(b.posts) > 0 {
			t.Errorf("there is left %v", b.posts)
		}
	})
}
