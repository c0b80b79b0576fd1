// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/internal/reserve"
	"weir.dev/weir/proxy/address"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) *Engine {
	t.Helper()
	if o.Loops == 0 {
		o.Loops = 1
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// acceptor runs serve on a task for each connection.
type acceptor struct {
	loop  *Loop
	serve func(*Task, *Conn)
}

func (a acceptor) Accept(c *Conn, _ address.Addr) {
	a.loop.Go(RunnerFunc(func(t *Task) {
		defer c.Close()
		a.serve(t, c)
	}))
}

func (a acceptor) AcceptFailed(error) {}

func listen(t *testing.T, l *Loop, serve func(*Task, *Conn)) address.Addr {
	t.Helper()
	fd, err := Listen(address.IP(netip.MustParseAddrPort("127.0.0.1:0")), &ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := SocketAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	l.Post(func() {
		_, err := l.Listen(fd, acceptor{l, serve})
		errs <- err
	})
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	return addr
}

func echo(_ *Task, c *Conn) {
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

func dial(t *testing.T, a address.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestEcho(t *testing.T) {
	e := start(t, Options{Loops: 2})
	addr := listen(t, e.Loops()[1], echo)
	c := dial(t, addr)
	want := make([]byte, 3<<20)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	go func() {
		c.Write(want)
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != string(want) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(want), err)
	}
}

func TestDialAndSplice(t *testing.T) {
	e := start(t, Options{})
	l := e.Loops()[0]
	back := listen(t, l, echo)
	front := listen(t, l, func(task *Task, c *Conn) {
		up, err := task.Dial(back, &DialOptions{Timeout: time.Minute})
		if err != nil {
			t.Error(err)
			return
		}
		defer up.Close()
		if err := up.Write2([]byte("hel"), []byte("lo")); err != nil {
			t.Error(err)
		}
		if n, err := c.Splice(up, 5, func(int) {}); n != 5 || err != nil {
			t.Error(n, err)
		}
	})
	got, err := io.ReadAll(dial(t, front))
	if err != nil || string(got) != "hello" {
		t.Fatalf("%q %v", got, err)
	}
}

func TestDialFailure(t *testing.T) {
	e := start(t, Options{})
	addr, err := address.Parse(reserve.TCP(t))
	if err != nil {
		t.Fatal(err)
	}
	e.Loops()[0].Do(func(task *Task) {
		if _, err := task.Dial(addr, &DialOptions{Timeout: time.Minute}); err == nil {
			t.Error("a refused connection was made")
		}
	})
}

var errTest = errors.New("test")

type watcher struct{ task *Task }

func (w watcher) HungUp(*Conn, bool) { w.task.Interrupt(errTest) }

func TestInterrupts(t *testing.T) {
	e := start(t, Options{})
	l := e.Loops()[0]
	addr := listen(t, l, echo)
	tests := []struct {
		name string
		do   func(task *Task, c *Conn) error
		want error
	}{
		{"deadline ends a sleep", func(task *Task, _ *Conn) error {
			task.SetDeadline(int64(time.Millisecond), errTest)
			return task.Sleep(time.Hour)
		}, errTest},
		{"deadline ends a read", func(task *Task, c *Conn) error {
			task.SetDeadline(int64(time.Millisecond), errTest)
			_, err := c.Read(make([]byte, 1))
			return err
		}, errTest},
		{"a deadline taken away does nothing", func(task *Task, _ *Conn) error {
			task.SetDeadline(int64(time.Millisecond), errTest)
			task.SetDeadline(0, nil)
			return task.Sleep(5 * time.Millisecond)
		}, nil},
		{"abort ends a read", func(task *Task, c *Conn) error {
			l.Go(RunnerFunc(func(*Task) { c.Abort(errTest) }))
			_, err := c.Read(make([]byte, 1))
			return err
		}, errTest},
		{"close ends a read", func(task *Task, c *Conn) error {
			l.Go(RunnerFunc(func(*Task) { c.Close() }))
			_, err := c.Read(make([]byte, 1))
			return err
		}, net.ErrClosed},
		{"an interrupt before the wait is delivered once", func(task *Task, _ *Conn) error {
			task.Interrupt(errTest)
			err := task.Sleep(time.Hour)
			if again := task.Sleep(time.Millisecond); again != nil {
				t.Error(again)
			}
			return err
		}, errTest},
		{"hang-up interrupts a watcher", func(task *Task, c *Conn) error {
			if err := c.CloseWrite(); err != nil { // The echo server closes in turn.
				return err
			}
			c.Watch(watcher{task})
			return task.Sleep(time.Hour)
		}, errTest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got error
			l.Do(func(task *Task) {
				c, err := task.Dial(addr, &DialOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				got = tt.do(task, c)
			})
			if !errors.Is(got, tt.want) {
				t.Fatalf("got %v want %v", got, tt.want)
			}
		})
	}
}

func TestForeignDoesNotStallOthers(t *testing.T) {
	e := start(t, Options{})
	l := e.Loops()[0]
	release := make(chan struct{})
	finished := make(chan struct{})
	l.Post(func() {
		l.Go(RunnerFunc(func(task *Task) {
			task.Foreign(func() { <-release })
			close(finished)
		}))
	})
	l.Do(func(*Task) {}) // Runs while the other waits.
	close(release)
	<-finished
}

func TestPanicIsContained(t *testing.T) {
	var got atomic.Value
	e := start(t, Options{OnPanic: func(v any, stack []byte) { got.Store(v.(string) + string(stack)) }})
	l := e.Loops()[0]
	l.Do(func(*Task) { panic("boom") })
	l.Do(func(*Task) {})
	if s := got.Load().(string); !strings.HasPrefix(s, "boom") || !strings.Contains(s, "engine_test.go") {
		t.Fatal(s)
	}
}

func TestStallIsNamed(t *testing.T) {
	stalls := make(chan Stall, 1)
	e := start(t, Options{StallAfter: 5 * time.Millisecond, OnStall: func(s Stall) { stalls <- s }})
	name := "envoy.filters.http.slow"
	e.Loops()[0].Do(func(task *Task) {
		task.At(&name)
		if s := <-stalls; s.At != name {
			t.Errorf("stall at %q", s.At)
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	e := start(t, Options{})
	l := e.Loops()[0]
	addr := listen(t, l, echo)
	c := dial(t, addr)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	l.Post(func() { l.Go(RunnerFunc(func(task *Task) { errs <- task.Sleep(time.Hour) })) })
	e.Close()
	if err := <-errs; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if l.Post(func() {}) {
		t.Fatal("a closed loop took work")
	}
}

func TestWheelFiresInTimeAndOrder(t *testing.T) {
	l := &Loop{}
	w := &l.wheel
	rng := rand.New(rand.NewPCG(1, 2))
	const n = 2000
	timers := make([]Timer, n)
	want := make([]int64, n)
	fired := make([]int64, n)
	for i := range timers {
		timers[i].Init(l, func() { fired[i] = l.now })
		want[i] = 1 + rng.Int64N(int64(time.Hour)>>rng.IntN(30))
		timers[i].Set(want[i])
		switch rng.IntN(4) {
		case 0: // Moved, earlier or later.
			want[i] = 1 + rng.Int64N(int64(time.Hour))
			timers[i].Set(want[i])
		case 1:
			want[i] = 0
			timers[i].Stop()
		case 2:
			if rng.IntN(2) == 0 {
				want[i] = 0
				timers[i].Release()
			}
		}
	}
	for w.count > 0 {
		before := l.now
		d := w.until(l.now)
		if d < 0 {
			t.Fatal("timers are queued but none is next")
		}
		l.now += max(d, 1)
		w.advance(l.now)
		for i := range timers {
			if want[i] > 0 && want[i] <= before-tickSize && fired[i] == 0 {
				t.Fatalf("timer %d for %d has not fired at %d", i, want[i], before)
			}
		}
	}
	for i := range timers {
		if want[i] == 0 && fired[i] != 0 {
			t.Errorf("timer %d was stopped but fired", i)
		}
		if want[i] != 0 && (fired[i] < want[i] || fired[i] > want[i]+2*tickSize) {
			t.Errorf("timer %d for %d fired at %d", i, want[i], fired[i])
		}
	}
}

func TestTimerSetAnewCostsNoQueue(t *testing.T) {
	l := &Loop{}
	var tm Timer
	tm.Init(l, func() {})
	tm.Set(int64(time.Second))
	if n := testing.AllocsPerRun(100, func() { tm.Stop(); tm.Set(int64(2 * time.Second)) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
	if l.wheel.count != 1 {
		t.Fatalf("%d queued", l.wheel.count)
	}
}
