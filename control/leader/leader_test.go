// SPDX-License-Identifier: Apache-2.0

package leader

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// fake is a lease in memory, which may be away.
type fake struct {
	mu   sync.Mutex
	r    Record
	n    int
	away map[string]bool
}

// of is the lease as one replica sees it.
type of struct {
	*fake
	who string
}

func (f of) Get(context.Context) (Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away[f.who] {
		return Record{}, errors.New("away")
	}
	return f.r, nil
}

func (f of) Put(_ context.Context, r Record) (Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away[f.who] || r.Version != f.r.Version {
		return Record{}, errors.New("away, or another")
	}
	f.n++
	r.Version = strconv.Itoa(f.n)
	f.r = r
	return r, nil
}

// replicas runs electors, and notes who leads.
type replicas struct {
	mu      sync.Mutex
	leading map[string]bool
	most    int
	wg      sync.WaitGroup
}

func (s *replicas) run(ctx context.Context, f *fake, who string) {
	e := &Elector{Lease: of{f, who}, Identity: who, Log: slog.New(slog.DiscardHandler)}
	s.wg.Go(func() {
		e.Run(ctx, func(ctx context.Context) {
			s.set(who, true)
			<-ctx.Done()
			s.set(who, false)
		})
	})
}

func (s *replicas) set(who string, leads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leading, who)
	if leads {
		s.leading[who] = true
	}
	s.most = max(s.most, len(s.leading))
}

func (s *replicas) only(t *testing.T, who string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leading) != 1 || !s.leading[who] {
		t.Fatalf("%v lead, want %s", s.leading, who)
	}
}

// One leads at any time: the next when the first ends, which gives the lease back, or
// when the lease of one that is cut off has run out.
func TestOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{away: map[string]bool{}}
		s := &replicas{leading: map[string]bool{}}
		ctx, cancel := context.WithCancel(t.Context())
		first, end := context.WithCancel(ctx)
		s.run(first, f, "a")
		time.Sleep(time.Second)
		s.run(ctx, f, "b")
		time.Sleep(time.Minute)
		s.only(t, "a")
		end()
		time.Sleep(3 * time.Second)
		s.only(t, "b")

		s.run(ctx, f, "c")
		f.mu.Lock()
		f.away["b"] = true
		f.mu.Unlock()
		time.Sleep(7 * time.Second)
		s.only(t, "b") // It may be back in time.
		time.Sleep(15 * time.Second)
		s.only(t, "c")
		f.mu.Lock()
		f.away["b"] = false
		f.mu.Unlock()
		time.Sleep(time.Minute)
		s.only(t, "c")
		cancel()
		s.wg.Wait()
		if s.most != 1 || f.r.Holder != "" {
			t.Errorf("%d led at a time, and at the end the lease is of %q", s.most, f.r.Holder)
		}
	})
}
