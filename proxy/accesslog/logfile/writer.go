// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/format"
)

// minShard is what a shard may hold at least.
const minShard = 64 << 10

// Writer appends lines to one file.
type Writer struct {
	path    string
	options *Options
	shards  []shard
	limit   int // bytes a shard may hold
	full    int // bytes of a shard that begin a flush

	reopen, closed atomic.Bool
	wake           chan struct{}      // holds one
	flushes        chan chan struct{} // requests to flush and tell
	done           chan struct{}

	// What follows belongs to the flusher.
	out      io.WriteCloser
	spare    [][]byte
	torn     bool // the last write ended within a line
	closeErr error
}

// shard is the buffer of one event loop. Its lock is contended only while the
// flusher takes the buffer, never while it writes.
type shard struct {
	mu      sync.Mutex
	buf     []byte
	lines   uint64
	dropped uint64
	_       [64]byte // two shards share no cache line
}

func newWriter(path string, out io.WriteCloser, o *Options) *Writer {
	w := &Writer{
		path: path, options: o, out: out,
		shards: make([]shard, o.Shards), spare: make([][]byte, o.Shards),
		// One half waits in the shards while the other is being written.
		limit: max(o.MaxBuffered/(2*o.Shards), minShard),
		wake:  make(chan struct{}, 1), flushes: make(chan chan struct{}), done: make(chan struct{}),
	}
	w.full = min(o.FlushSize, w.limit/2)
	go w.run()
	return w
}

// append adds what f prints of c to a shard.
func (w *Writer) append(n int, f *format.Format, c format.Context) {
	if w.shards[uint(n)%uint(len(w.shards))].append(w, f, c) {
		w.poke()
	}
}

// append adds a line, or drops it, and reports whether the buffer has just
// become full enough to be flushed.
func (s *shard) append(w *Writer, f *format.Format, c format.Context) bool {
	s.mu.Lock()
	// Deferred, so that an operator that panics does not lock out the loop.
	defer s.mu.Unlock()
	before := len(s.buf)
	if s.full(w) {
		return false
	}
	s.buf = f.Append(s.buf, c)
	return s.keep(w, before)
}

// full counts a line as dropped if there is no room for one. It is called with mu held.
func (s *shard) full(w *Writer) bool {
	full := w.closed.Load() || len(s.buf) >= w.limit
	if full {
		s.dropped++
	}
	return full
}

// keep counts the line that was just added behind before, or drops it if it is too
// long, and reports whether the buffer has become full enough to be flushed.
func (s *shard) keep(w *Writer, before int) bool {
	if len(s.buf) > w.limit {
		s.buf = s.buf[:before]
		s.dropped++
		return false
	}
	s.lines++
	return before < w.full && len(s.buf) >= w.full
}

// Event adds a line, with its end, that is no access log: an event, which belongs to no
// loop. It does not wait for the file.
func (w *Writer) Event(line []byte) {
	s := &w.shards[0]
	s.mu.Lock()
	before := len(s.buf)
	flush := false
	if !s.full(w) {
		s.buf = append(s.buf, line...)
		flush = s.keep(w, before)
	}
	s.mu.Unlock()
	if flush {
		w.poke()
	}
}

// poke wakes the flusher; one that is about to wake anyway needs no second.
func (w *Writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Writer) ask(flag *atomic.Bool) {
	flag.Store(true)
	w.poke()
}

func (w *Writer) stop() { w.ask(&w.closed) }

// Flush writes out the lines taken so far, and waits until then or until ctx
// ends.
func (w *Writer) Flush(ctx context.Context) error {
	told := make(chan struct{})
	select {
	case w.flushes <- told:
	case <-w.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush access log %s: %w", w.path, ctx.Err())
	}
	select {
	case <-told:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush access log %s: %w", w.path, ctx.Err())
	}
}

// run is the flusher.
func (w *Writer) run() {
	defer close(w.done)
	tick := time.NewTicker(w.options.Interval)
	defer tick.Stop()
	for {
		var told chan struct{}
		select {
		case <-w.wake:
		case told = <-w.flushes:
		case <-tick.C:
			if w.waiting() {
				add(w.options.Stats.FlushedByTimer, 1)
			}
		}
		closing := w.closed.Load()
		if w.reopen.Swap(false) {
			// What was taken before the rotation belongs to the old file.
			w.flush()
			w.open()
		}
		w.flush()
		if told != nil {
			close(told)
		}
		if closing {
			if err := w.out.Close(); err != nil {
				w.closeErr = fmt.Errorf("close access log %s: %w", w.path, err)
			}
			return
		}
	}
}

func (w *Writer) waiting() bool {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		n := len(s.buf)
		s.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

func (w *Writer) open() {
	out, err := w.options.Open(w.path)
	if err != nil {
		add(w.options.Stats.ReopenFailed, 1)
		return
	}
	// The old file is complete; an error of closing it changes nothing here.
	w.out.Close()
	w.out, w.torn = out, false
}

// flush writes out every shard's buffer.
func (w *Writer) flush() {
	stats := &w.options.Stats
	total := 0
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		var lines, dropped uint64
		lines, s.lines = s.lines, 0
		dropped, s.dropped = s.dropped, 0
		s.buf, w.spare[i] = w.spare[i][:0], s.buf
		s.mu.Unlock()
		add(stats.WriteBuffered, lines)
		add(stats.Dropped, dropped)
		total += len(w.spare[i])
	}
	if total == 0 {
		return
	}
	w.buffered(total)
	for i, b := range w.spare {
		if len(b) > 0 {
			w.write(b)
		}
		if cap(b) > 2*w.limit {
			// Left by a line that was too long to keep.
			w.spare[i] = nil
		}
	}
	w.buffered(0)
}

func (w *Writer) buffered(n int) {
	if g := w.options.Stats.TotalBuffered; g != nil {
		g.Set(int64(n))
	}
}

func (w *Writer) write(b []byte) {
	if w.torn {
		// Without a break the next line would be the end of a torn one.
		if _, err := w.out.Write([]byte{'\n'}); err != nil {
			add(w.options.Stats.WriteFailed, 1)
			return
		}
		w.torn = false
	}
	n, err := w.out.Write(b)
	if err != nil {
		add(w.options.Stats.WriteFailed, 1)
		w.torn = n > 0 && n < len(b) && b[n-1] != '\n'
		return
	}
	add(w.options.Stats.WriteCompleted, 1)
}
