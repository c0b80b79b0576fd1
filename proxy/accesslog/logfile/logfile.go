// SPDX-License-Identifier: Apache-2.0

// Package logfile writes access logs to files without ever blocking a request.
//
// A [Set] owns one [Writer] per path, so that all logs to one file share its
// buffers and never mix their lines. A line is appended to the buffer of its
// event loop's shard; a goroutine of the Writer hands full buffers, and once in
// a while all of them, to the system. If the file stalls, a bounded number of
// lines waits and the rest is dropped and counted.
//
// Lines of one shard keep their order; those of different shards are mixed as
// they are flushed.
package logfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/streaminfo"
)

// Defaults of [Options].
const (
	// DefaultInterval is shorter than the 10 s of Envoy's
	// --file-flush-interval-msec, for who watches a log.
	DefaultInterval = time.Second
	// DefaultFlushSize is that of Envoy's --file-flush-min-size-kb.
	DefaultFlushSize = 64 << 10
	// DefaultMaxBuffered bounds what waits for one file.
	DefaultMaxBuffered = 4 << 20
)

// Gauge is a number that goes up and down.
type Gauge interface{ Set(n int64) }

// Stats are counted for all files of a Set. Any of them may be nil. The names
// are Envoy's, below "filesystem.", but for Dropped.
type Stats struct {
	// WriteBuffered counts lines taken, when they are flushed (write_buffered).
	WriteBuffered accesslog.Counter
	// WriteCompleted and WriteFailed count writes to the system
	// (write_completed, write_failed).
	WriteCompleted, WriteFailed accesslog.Counter
	// FlushedByTimer counts flushes because of the interval
	// (flushed_by_timer).
	FlushedByTimer accesslog.Counter
	// ReopenFailed counts files that could not be opened anew
	// (reopen_failed).
	ReopenFailed accesslog.Counter
	// Dropped counts lines lost because too many waited (access_log_file.dropped).
	Dropped accesslog.Counter
	// TotalBuffered is the bytes last flushed by a file that have not been
	// written (write_total_buffered).
	TotalBuffered Gauge
}

// Options of a Set. Zero fields have their defaults.
type Options struct {
	// Shards is the number of event loops; at least 1.
	Shards int
	// Interval is the longest a line waits.
	Interval time.Duration
	// FlushSize is how many bytes of a shard begin a flush.
	FlushSize int
	// MaxBuffered bounds the bytes that wait for one file, in all shards and
	// on their way to the system. Each shard may hold 64 KiB whatever it is.
	MaxBuffered int
	Stats       Stats
	// Mode is the mode of a file that is created; 0 is 0644, before umask.
	Mode os.FileMode
	// Open opens a file to append to; nil opens paths as they are, and
	// /dev/stdout and /dev/stderr as copies of the process's own.
	Open func(path string) (io.WriteCloser, error)
}

// Set owns the writers of all paths. It is safe for concurrent use.
type Set struct {
	options Options

	mu      sync.Mutex
	writers map[string]*Writer
	closed  bool
}

// NewSet returns a set without files.
func NewSet(o Options) *Set {
	o.Shards = max(o.Shards, 1)
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.FlushSize <= 0 {
		o.FlushSize = DefaultFlushSize
	}
	if o.MaxBuffered <= 0 {
		o.MaxBuffered = DefaultMaxBuffered
	}
	if o.Mode == 0 {
		o.Mode = 0o644
	}
	if o.Open == nil {
		mode := o.Mode
		o.Open = func(path string) (io.WriteCloser, error) { return openFile(path, mode) }
	}
	return &Set{options: o, writers: map[string]*Writer{}}
}

// Writer returns the writer of a path, which it opens if it is the first to
// ask. The file stays open until the set is closed, as in Envoy: listeners come
// and go, their log does not.
func (s *Set) Writer(path string) (*Writer, error) {
	if path == "" {
		return nil, errors.New("the path of an access log is empty")
	}
	path = filepath.Clean(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("open access log %s: the log files are closed", path)
	}
	if w := s.writers[path]; w != nil {
		return w, nil
	}
	out, err := s.options.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	w := newWriter(path, out, &s.options)
	s.writers[path] = w
	return w, nil
}

func (s *Set) all() []*Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Writer, 0, len(s.writers))
	for _, w := range s.writers {
		out = append(out, w)
	}
	return out
}

// Reopen makes every writer open its path anew, as after a rotation (SIGUSR1).
// It does not wait. A file that cannot be opened is counted and written to as
// before.
func (s *Set) Reopen() {
	for _, w := range s.all() {
		w.ask(&w.reopen)
	}
}

// Flush writes out all lines taken so far, and waits until then or until ctx
// ends.
func (s *Set) Flush(ctx context.Context) error {
	var errs []error
	for _, w := range s.all() {
		errs = append(errs, w.Flush(ctx))
	}
	return errors.Join(errs...)
}

// Close writes out all lines and closes the files. Later lines are dropped. If
// ctx ends first, what a file has not taken is lost; the goroutine of a file
// that never takes it stays.
func (s *Set) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	var errs []error
	writers := s.all()
	for _, w := range writers {
		w.stop()
	}
	for _, w := range writers {
		select {
		case <-w.done:
			errs = append(errs, w.closeErr)
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("close access log %s: %w", w.path, ctx.Err()))
		}
	}
	return errors.Join(errs...)
}

// Sink writes records to a file in a format.
type Sink struct {
	w *Writer
	f *format.Format
}

// NewSink returns a sink. Nothing but the format ends a line: Envoy's text
// formats end in a line break of their own.
func NewSink(w *Writer, f *format.Format) *Sink { return &Sink{w: w, f: f} }

// Log implements [accesslog.Sink].
func (s *Sink) Log(shard int, info *streaminfo.Stream, typ accesslog.Type) {
	s.w.append(shard, s.f, format.Context{Stream: info, LogType: typ.String()})
}

func add(c accesslog.Counter, n uint64) {
	if c != nil && n > 0 {
		c.Add(n)
	}
}
