// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/streaminfo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type counter struct{ atomic.Uint64 }

func (c *counter) Add(n uint64) { c.Uint64.Add(n) }

type gauge struct{ atomic.Int64 }

func (g *gauge) Set(n int64) { g.Store(n) }

type counters struct {
	buffered, completed, failed, timer, reopen, dropped counter
	total                                               gauge
}

func (c *counters) stats() Stats {
	return Stats{&c.buffered, &c.completed, &c.failed, &c.timer, &c.reopen, &c.dropped, &c.total}
}

// fake is a file in memory that can stall and fail.
type fake struct {
	mu     sync.Mutex
	got    bytes.Buffer
	fail   func(b []byte) (int, error)
	gate   chan struct{} // nil, or what a write waits for
	closed bool
}

func (f *fake) Write(b []byte) (int, error) {
	if f.gate != nil {
		<-f.gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		n, err := f.fail(b)
		f.got.Write(b[:n])
		return n, err
	}
	return f.got.Write(b)
}

func (f *fake) Close() error { f.closed = true; return nil }

func (f *fake) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got.String()
}

func compile(t testing.TB, s string) *format.Format {
	t.Helper()
	f, err := format.Compile(s, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// open returns a set whose files are all out.
func open(t *testing.T, o Options, out *fake) (*Set, *Sink) {
	t.Helper()
	o.Open = func(string) (io.WriteCloser, error) { return out, nil }
	s := NewSet(o)
	w, err := s.Writer("/log")
	if err != nil {
		t.Fatal(err)
	}
	return s, NewSink(w, compile(t, "%ROUTE_NAME% %ACCESS_LOG_TYPE%\n"))
}

func line(s string) *streaminfo.Stream { return &streaminfo.Stream{RouteName: s} }

func TestFlushByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, out := &counters{}, &fake{}
		s, sink := open(t, Options{Shards: 2, Stats: c.stats()}, out)
		sink.Log(0, line("a"), accesslog.DownstreamEnd)
		sink.Log(1, line("b"), accesslog.DownstreamStart)
		synctest.Wait()
		if got := out.String(); got != "" {
			t.Errorf("written at once: %q", got)
		}
		time.Sleep(DefaultInterval)
		synctest.Wait()
		if got := out.String(); got != "a DownstreamEnd\nb DownstreamStart\n" {
			t.Errorf("got %q", got)
		}
		// Between two ticks, so that it is Close and not a tick that flushes.
		time.Sleep(5*DefaultInterval + DefaultInterval/2)
		sink.Log(7, line("late"), accesslog.NotSet)
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.HasSuffix(got, "late NotSet\n") || !out.closed {
			t.Errorf("after Close: %q", got)
		}
		sink.Log(0, line("lost"), 0)
		if c.timer.Load() != 1 || c.buffered.Load() != 3 || c.completed.Load() != 3 || c.total.Load() != 0 {
			t.Errorf("timer %d, buffered %d, completed %d", c.timer.Load(), c.buffered.Load(), c.completed.Load())
		}
		if _, err := s.Writer("/other"); err == nil {
			t.Error("a closed set opens a file")
		}
	})
}

func TestFlushBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &fake{}
		s, sink := open(t, Options{FlushSize: 100}, out)
		for range 10 {
			sink.Log(0, line("0123456789"), 0)
		}
		synctest.Wait()
		if n := strings.Count(out.String(), "\n"); n < 5 {
			t.Errorf("%d lines written", n)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, out := &counters{}, &fake{gate: make(chan struct{})}
		s, sink := open(t, Options{MaxBuffered: 1, Stats: c.stats()}, out)
		text := strings.Repeat("x", 1000)
		const lines = 1000
		for range lines {
			sink.Log(0, line(text), 0)
		}
		sink.Log(0, line(strings.Repeat("long", minShard)), 0)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := s.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a flush of a stalled file: %v", err)
		}
		cancel()
		if s.all()[0].shards[0].mu.Lock(); cap(s.all()[0].shards[0].buf) > 8*minShard {
			t.Errorf("%d bytes are kept", cap(s.all()[0].shards[0].buf))
		}
		s.all()[0].shards[0].mu.Unlock()
		close(out.gate)
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if n := uint64(strings.Count(got, "\n")); n == 0 || n+c.dropped.Load() != lines+1 || c.buffered.Load() != n {
			t.Errorf("%d written, %d dropped of %d", n, c.dropped.Load(), lines+1)
		}
		if len(got) > 3*minShard || strings.Contains(got, "long") {
			t.Errorf("%d bytes waited", len(got))
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTornWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, out := &counters{}, &fake{}
		out.fail = func([]byte) (int, error) { return 3, errors.New("disk full") }
		s, sink := open(t, Options{Stats: c.stats()}, out)
		sink.Log(0, line("abcdef"), 0)
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		out.fail = nil
		sink.Log(0, line("next"), 0)
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != "abc\nnext NotSet\n" || c.failed.Load() != 1 || c.completed.Load() != 1 {
			t.Errorf("got %q, %d failed", got, c.failed.Load())
		}
	})
}

func TestRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	c := &counters{}
	s := NewSet(Options{Stats: c.stats(), Mode: 0o600})
	w, err := s.Writer(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Writer(path + "/../log"); err != nil || again != w {
		t.Errorf("a second writer for one path: %v", err)
	}
	sink := NewSink(w, compile(t, "%ROUTE_NAME%\n"))
	sink.Log(0, line("one"), 0)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	sink.Log(0, line("two"), 0)
	// A folder in its place cannot be opened; the open file is kept.
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	sink.Log(0, line("three"), 0)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path + ".1": "one\n", path + ".2": "two\nthree\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", filepath.Base(name), got, err)
		}
	}
	if info, err := os.Stat(path + ".2"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if c.reopen.Load() != 1 {
		t.Errorf("%d reopens failed", c.reopen.Load())
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", dir, dir + "/none/log", dir + "/fifo"} {
		if _, err := NewSet(Options{}).Writer(path); err == nil {
			t.Errorf("%q was opened", path)
		}
	}
	s := NewSet(Options{})
	for _, path := range []string{"/dev/stdout", "/dev/stderr", "/dev/null"} {
		if _, err := s.Writer(path); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The process's own streams are still open.
	if _, err := syscall.Write(1, nil); err != nil {
		t.Errorf("stdout: %v", err)
	}
}

func TestPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := NewSet(Options{Open: func(string) (io.WriteCloser, error) { return w, nil }})
	writer, err := s.Writer("/dev/stdout")
	if err != nil {
		t.Fatal(err)
	}
	sink := NewSink(writer, compile(t, "%ROUTE_NAME%\n"))
	// More than a pipe holds: the reader is slower than the log.
	const lines = 20_000
	for i := range lines {
		sink.Log(0, line(fmt.Sprint(i)), 0)
	}
	closed := make(chan error)
	go func() { closed <- s.Close(context.Background()) }()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(got, []byte("\n")); n != lines || !bytes.HasPrefix(got, []byte("0\n1\n2\n")) {
		t.Errorf("%d lines", n)
	}
}

func TestConcurrentShards(t *testing.T) {
	c, out := &counters{}, &fake{}
	s, sink := open(t, Options{Shards: 4, FlushSize: 256, Stats: c.stats(), MaxBuffered: 64 << 20}, out)
	var wg sync.WaitGroup
	for loop := range 8 {
		wg.Go(func() {
			for i := range 500 {
				sink.Log(loop, line(fmt.Sprintf("%d-%d", loop, i)), 0)
			}
		})
	}
	wg.Wait()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for l := range strings.Lines(out.String()) {
		var i int
		name, rest, _ := strings.Cut(strings.TrimSuffix(l, " NotSet\n"), "-")
		if _, err := fmt.Sscan(rest, &i); err != nil || i != next[name] {
			t.Fatalf("line %q after %d of %s", l, next[name], name)
		}
		next[name]++
	}
	if len(next) != 8 || c.buffered.Load() != 4000 || c.dropped.Load() != 0 {
		t.Errorf("%d loops, %d lines, %d dropped", len(next), c.buffered.Load(), c.dropped.Load())
	}
}
