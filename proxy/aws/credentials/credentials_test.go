// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/aws/sign"
	"weir.dev/weir/proxy/engine"
)

func TestMain(m *testing.M) { leak.Main(m) }

// script is a step that does what a test says.
type script struct {
	mu    sync.Mutex
	life  time.Duration // 0: no expiry
	err   error
	asked int
	gate  chan struct{} // if set, waited for
}

func (s *script) find(ctx context.Context) (*found, error) {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.err != nil {
		return nil, s.err
	}
	f := &found{creds: sign.Credentials{AccessKeyID: "key", SecretAccessKey: "secret"}}
	if s.life > 0 {
		f.expires = time.Now().Add(s.life)
		f.creds.SessionToken = f.expires.Format(time.RFC3339)
	}
	return f, nil
}

func (s *script) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func newProvider(set *Set, log *bytes.Buffer, steps ...*script) *Provider {
	p := &Provider{set: set, log: slog.New(slog.NewTextHandler(log, nil))}
	for _, s := range steps {
		p.finder.steps = append(p.finder.steps, step{"script", "", s.find})
	}
	p.now.Store(&state{})
	return p
}

// has is what a request that comes now gets.
func has(p *Provider) *sign.Credentials {
	if st := p.now.Load(); st.good(time.Now()) {
		return st.creds
	}
	return nil
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, other := &script{life: time.Hour}, &script{}
		set := NewSet(Environment{})
		p := newProvider(set, &log, s, other)
		release := set.Hold(p)
		synctest.Wait()
		first := has(p)
		if first == nil || s.count() != 1 {
			t.Fatalf("%v after %d searches", first, s.count())
		}
		time.Sleep(53 * time.Minute)
		if synctest.Wait(); has(p) != first {
			t.Error("renewed too early")
		}
		time.Sleep(3 * time.Minute)
		if synctest.Wait(); has(p) == first || s.count() != 2 {
			t.Error("not renewed before they expire")
		}
		second := has(p)

		// A renewal that fails leaves what is good, and is tried again and again.
		s.set(errors.New("out of order"))
		time.Sleep(56 * time.Minute)
		if synctest.Wait(); has(p) != second || s.count() < 5 || other.count() != 0 {
			t.Errorf("%v after %d searches, %d elsewhere", has(p), s.count(), other.count())
		}
		// After that another place is looked at.
		time.Sleep(5 * time.Minute)
		if synctest.Wait(); has(p) == nil || has(p) == second || other.count() == 0 {
			t.Errorf("%v, %d elsewhere", has(p), other.count())
		}
		// And if that fails as well there is nothing.
		other.set(errAbsent)
		p.mu.Lock()
		st := *p.now.Load()
		st.expires = time.Now()
		p.settle(&st)
		p.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if synctest.Wait(); has(p) != nil {
			t.Error("there are credentials")
		}
		s.set(nil)
		time.Sleep(lastRetry)
		if synctest.Wait(); has(p) == nil {
			t.Error("they are not had again")
		}
		release()
		for _, want := range []string{"level=WARN msg=\"AWS credentials could not be had", "script: out of order", "level=INFO msg=\"AWS credentials are there again\" from=script"} {
			if !bytes.Contains(log.Bytes(), []byte(want)) {
				t.Errorf("the log lacks %q:\n%s", want, log.Bytes())
			}
		}
		if n := bytes.Count(log.Bytes(), []byte("level=WARN")); n != 2 {
			t.Errorf("%d warnings:\n%s", n, log.Bytes())
		}
	})
}

func TestShortLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{life: 10 * time.Second}
		set := NewSet(Environment{})
		p := newProvider(set, &bytes.Buffer{}, s)
		defer set.Hold(p)()
		for range 100 {
			synctest.Wait()
			if has(p) == nil {
				t.Fatal("there are none for a while")
			}
			time.Sleep(time.Second)
		}
		if n := s.count(); n < 10 || n > 30 {
			t.Errorf("%d searches", n)
		}
	})
}

func TestFilesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		set := NewSet(Environment{})
		p := newProvider(set, &bytes.Buffer{}, s)
		defer set.Hold(p)()
		synctest.Wait()
		first := has(p)
		time.Sleep(reread + time.Second)
		if synctest.Wait(); s.count() != 2 || has(p) != first {
			t.Errorf("%d searches; the same credentials are others: %v", s.count(), has(p) != first)
		}
	})
}

// TestIdle: what nobody holds or asks rests, and goes on when asked.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, held := &script{life: time.Hour}, &script{life: time.Hour}
		set := NewSet(Environment{})
		keep := set.Hold(newProvider(set, &bytes.Buffer{}, held))
		p := newProvider(set, &bytes.Buffer{}, s)
		p.asked.Store(true)
		p.start()
		time.Sleep(10 * time.Hour)
		if synctest.Wait(); s.count() != 2 || held.count() < 10 {
			t.Errorf("%d searches, and %d of what is held", s.count(), held.count())
		}
		p.start()
		if synctest.Wait(); has(p) == nil || s.count() != 3 {
			t.Errorf("%v after %d searches", has(p), s.count())
		}
		keep()
		p.start() // The set is closed: nothing begins, nobody waits.
		if !p.now.Load().found {
			t.Error("a request would wait for ever")
		}
	})
}

// TestWait: requests that come before the first search has ended wait for it.
func TestWait(t *testing.T) {
	e, err := engine.New(engine.Options{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for name, step := range map[string]*script{
		"found": {life: time.Hour}, "not found": {err: errAbsent},
	} {
		step.gate = make(chan struct{})
		set := NewSet(Environment{})
		p := newProvider(set, &bytes.Buffer{}, step)
		release := set.Hold(p)
		results := make(chan *sign.Credentials, 20)
		var begun sync.WaitGroup
		for i := range 20 {
			begun.Add(1)
			loop := e.Loops()[i%2]
			loop.Post(func() {
				loop.Go(engine.RunnerFunc(func(t *engine.Task) {
					begun.Done()
					c, err := p.Get(t, time.Now())
					if err != nil {
						c = &sign.Credentials{AccessKeyID: err.Error()}
					}
					results <- c
				}))
			})
		}
		gone := make(chan error, 1)
		loop := e.Loops()[0]
		loop.Post(func() {
			loop.Go(engine.RunnerFunc(func(t *engine.Task) {
				t.Interrupt(errors.New("the client left"))
				_, err := p.Get(t, time.Now())
				gone <- err
			}))
		})
		if err := <-gone; err == nil || err.Error() != "the client left" {
			t.Errorf("%s: %v", name, err)
		}
		begun.Wait()
		close(step.gate)
		for range 20 {
			if c := <-results; (c != nil) != (name == "found") || c != nil && c.AccessKeyID != "key" {
				t.Errorf("%s: %v", name, c)
			}
		}
		release()
	}
}

// TestCloseWhileSearching: the end of a set ends a search and all who wait for it.
func TestCloseWhileSearching(t *testing.T) {
	e, err := engine.New(engine.Options{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	set := NewSet(Environment{})
	p := newProvider(set, &bytes.Buffer{}, &script{gate: make(chan struct{})})
	release := set.Hold(p)
	var c *sign.Credentials
	waits, done := make(chan struct{}), make(chan struct{})
	loop := e.Loops()[0]
	loop.Post(func() {
		loop.Go(engine.RunnerFunc(func(t *engine.Task) {
			close(waits)
			c, err = p.Get(t, time.Now())
			close(done)
		}))
	})
	<-waits
	release()
	<-done
	if c != nil || err != nil {
		t.Errorf("%v, %v", c, err)
	}
}

// TestAllAtOnce: holds, releases and beginnings from everywhere, as configuration changes.
func TestAllAtOnce(t *testing.T) {
	set := NewSet(Environment{})
	p := newProvider(set, &bytes.Buffer{}, &script{life: time.Hour})
	p.log = slog.New(slog.DiscardHandler)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				release := set.Hold(p)
				p.asked.Store(true)
				p.start()
				release()
				p.start()
			}
		})
	}
	all.Wait()
	release := set.Hold(p)
	for !p.now.Load().good(time.Now()) {
		runtime.Gosched()
	}
	release()
	if set.work != nil || set.held != 0 {
		t.Errorf("the set is held %d times", set.held)
	}
}

func TestSet(t *testing.T) {
	set := NewSet(Environment{})
	log := slog.New(slog.DiscardHandler)
	a := Inline(sign.Credentials{AccessKeyID: "a", SecretAccessKey: "s"})
	again := *a
	p, q, other := set.Provider(a, log, nil), set.Provider(&again, log, nil), set.Provider(Profile("x"), log, nil)
	if p != q || p == other {
		t.Error("the same configuration has two providers, or two have one")
	}
	release := set.Hold(p)
	if c, err := p.Get(nil, time.Now()); err != nil || c.AccessKeyID != "a" {
		t.Errorf("%v, %v", c, err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = p.Get(nil, time.Now()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	release()
	release() // Once is enough.
	if set.held != 0 {
		t.Errorf("held %d times", set.held)
	}
}
