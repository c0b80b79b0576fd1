// SPDX-License-Identifier: Apache-2.0

package limiter

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a store, whose answers a test may change.
type memory struct {
	mu      sync.Mutex
	counts  map[string]int64
	calls   int
	asked   int
	err     error
	delay   time.Duration
	twisted func(op *Op)
}

func (m *memory) Add(ctx context.Context, ops []Op) error {
	m.mu.Lock()
	delay := m.delay
	m.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	if m.err != nil {
		return m.err
	}
	if m.counts == nil {
		m.counts = map[string]int64{}
	}
	for i := range ops {
		o := &ops[i]
		m.asked++
		if o.Add != 0 {
			m.counts[o.Key] += o.Add
		}
		o.Total = m.counts[o.Key]
		if m.twisted != nil {
			m.twisted(o)
		}
	}
	return nil
}

func (m *memory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// total is what all counters together have.
func (m *memory) total() (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.counts {
		n += c
	}
	return n
}

func shared(t testing.TB, s Store, text string) *Limiter {
	t.Helper()
	l := New(Options{Store: s})
	if err := l.Set(domains(t, text)); err != nil {
		t.Fatal(err)
	}
	return l
}

// wait asks and waits.
func wait(l *Limiter, hits uint64, text string) *Request {
	r := &Request{Domain: "d", Hits: hits, Claims: []Claim{claim(text)}}
	if err := l.Wait(context.Background(), r); err != nil && r.Err == nil {
		panic(err)
	}
	return r
}

// TestNeverMore: four limiters that share a store let pass what the limit says, and
// never more, whoever asks how often; and most requests do not ask the store.
func TestNeverMore(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limit  string
		want   int64
		weight [4]int
		hits   uint64
	}{
		{"many, evenly", "20000", 20_000, [4]int{1, 1, 1, 1}, 1},
		{"many, unevenly", "20000", 20_000, [4]int{100, 10, 1, 1}, 1},
		{"few", "3", 3, [4]int{1, 1, 1, 1}, 1},
		{"some", "100", 100, [4]int{1, 5, 1, 9}, 1},
		{"several at once", "5000", 5000, [4]int{1, 1, 1, 1}, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &memory{delay: 200 * time.Microsecond}
				var passed atomic.Int64
				var all []*Limiter
				var done sync.WaitGroup
				for i := range tt.weight {
					l := shared(t, s, "domain: d\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: "+tt.limit+"}}]")
					all = append(all, l)
					for range 4 {
						done.Go(func() {
							// Until nothing has passed for a while: what others hold comes back.
							for idleFor := 0; idleFor < 40; {
								if wait(l, tt.hits, "user=ann").Over {
									idleFor++
									time.Sleep(100 * time.Millisecond)
									continue
								}
								passed.Add(int64(tt.hits))
								idleFor = 0
								time.Sleep(time.Millisecond / time.Duration(tt.weight[i]))
							}
						})
					}
				}
				done.Wait()
				for _, l := range all {
					l.Close()
				}
				n := passed.Load()
				if n > tt.want {
					t.Errorf("%d passed, more than %d", n, tt.want)
				}
				if least := tt.want * 97 / 100; n < least {
					t.Errorf("only %d of %d passed", n, tt.want)
				}
				if tt.want >= 5000 && s.asked > int(tt.want)/4 {
					t.Errorf("the store was asked %d times for %d hits", s.asked, n)
				}
				t.Logf("%d of %d passed, %d questions in %d calls", n, tt.want, s.asked, s.calls)
			})
		})
	}
}

// TestGivesBack: what a limiter has taken in advance and does not use, others may use.
func TestGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		l := shared(t, s, "domain: d\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 10000}}]")
		defer l.Close()
		for range 100 {
			wait(l, 1, "user=ann")
		}
		synctest.Wait()
		if s.total() <= 100 {
			t.Fatalf("nothing was taken in advance: %d", s.total())
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s.total() != 100 {
			t.Errorf("the store has counted %d hits, want 100", s.total())
		}
		c := claim("user=ann")
		c.Hits, c.Counted, c.Negative = 60, true, true
		if err := l.Wait(t.Context(), &Request{Domain: "d", Claims: []Claim{c}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s.total() != 40 {
			t.Errorf("after 60 were given back, the store has counted %d hits, want 40", s.total())
		}
	})
}

// TestOverIsKnown: once a limit is used up, requests are refused without the store, but
// for a look now and then whether others have given something back.
func TestOverIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		l := shared(t, s, "domain: d\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 3}}]")
		defer l.Close()
		for range 4 {
			wait(l, 1, "user=ann")
		}
		before := s.asked
		for range 1000 {
			if !wait(l, 1, "user=ann").Over {
				t.Fatal("let pass")
			}
		}
		if s.asked != before {
			t.Errorf("the store was asked %d times", s.asked-before)
		}
		// Somebody gives two back.
		s.set(func() {
			for k := range s.counts {
				s.counts[k] = 1
			}
		})
		time.Sleep(2 * time.Second)
		wait(l, 1, "user=ann")
		synctest.Wait()
		if wait(l, 1, "user=ann").Over || wait(l, 1, "user=ann").Over || !wait(l, 1, "user=ann").Over {
			t.Error("what was given back is not used")
		}
	})
}

// TestGone: while the store does not answer no request waits for it, what is held is
// used, what is over stays over; and all is well when it is back.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		l := shared(t, s, "domain: d\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 3}}]")
		defer l.Close()
		for range 4 {
			wait(l, 1, "user=over")
		}
		s.set(func() { s.delay = time.Hour })
		start := time.Now()
		if r := wait(l, 1, "user=ann"); !errors.Is(r.Err, ErrUnavailable) {
			t.Errorf("while it is gone: %s", answer(r))
		}
		if waited := time.Since(start); waited > 100*time.Millisecond {
			t.Errorf("waited %s", waited)
		}
		start = time.Now()
		for range 1000 {
			if r := wait(l, 1, "user=ann"); !errors.Is(r.Err, ErrUnavailable) {
				t.Fatalf("while it is gone: %s", answer(r))
			}
			if r := wait(l, 1, "user=over"); !r.Over || r.Err != nil {
				t.Fatalf("what is over: %s", answer(r))
			}
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("1000 requests waited %s", waited)
		}
		if l.Stats().open.Load() != 1 || l.Stats().unavailable.Load() < 1000 {
			t.Errorf("statistics: open %d, unavailable %d", l.Stats().open.Load(), l.Stats().unavailable.Load())
		}
		s.set(func() { s.delay = 0 })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if r := wait(l, 1, "user=ann"); r.Err != nil || l.Stats().open.Load() != 0 {
			t.Errorf("when it is back: %s", answer(r))
		}
	})
}

// TestLies: whatever the store says, nothing panics, and no counter that it lies about is
// believed to have room that it can not have.
func TestLies(t *testing.T) {
	lies := map[string]func(*Op){
		"wrong type": func(o *Op) { o.Err = errors.New("WRONGTYPE") },
		"negative":   func(o *Op) { o.Total = -7 },
		"huge":       func(o *Op) { o.Total = math.MaxInt64 },
		"smallest":   func(o *Op) { o.Total = math.MinInt64 },
		"too little": func(o *Op) { o.Total = max(0, o.Add-1) },
		"panic":      func(*Op) { panic("no") },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &memory{twisted: lie}
				l := shared(t, s, "domain: d\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 3}}]")
				defer l.Close()
				for range 10 {
					r := wait(l, 2, "user=ann")
					if name != "huge" && r.Err == nil {
						t.Errorf("believed: %s", answer(r))
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// TestClose: nobody waits for ever when a limiter ends.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{delay: time.Hour}
		l := shared(t, s, hourly)
		r := &Request{Domain: "d", Claims: []Claim{claim("user=ann")}}
		answered := false
		if l.Ask(r, func() { answered = true }) {
			t.Fatal("answered at once")
		}
		l.Close()
		if !answered || !strings.Contains(answer(r), ErrUnavailable.Error()) {
			t.Errorf("answered %v: %s", answered, answer(r))
		}
	})
}

// TestWindowEnds: who waits while a window ends is counted in the next.
func TestWindowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		l := shared(t, s, "domain: d\ndescriptors: [{key: user, rate_limit: {unit: second, requests_per_unit: 2}}]")
		defer l.Close()
		for range 20 {
			s.set(func() { s.delay = 90 * time.Millisecond })
			a, b, c := wait(l, 1, "user=ann"), wait(l, 1, "user=ann"), wait(l, 1, "user=ann")
			for _, r := range []*Request{a, b, c} {
				if r.Err != nil {
					t.Fatal(r.Err)
				}
			}
			time.Sleep(time.Second - 90*time.Millisecond)
		}
		for k, n := range s.counts {
			if n > 4 {
				t.Errorf("%s counts %d", k, n)
			}
		}
	})
}

func BenchmarkShared(b *testing.B) {
	s := &memory{}
	l := shared(b, s, "domain: d\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 4000000000}}]")
	defer l.Close()
	r := &Request{Domain: "d", Claims: []Claim{claim("user=ann")}}
	for b.Loop() {
		if err := l.Wait(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(s.asked)/float64(b.N), "questions/op")
}
