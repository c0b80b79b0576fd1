// SPDX-License-Identifier: Apache-2.0

// Package logging writes the process's own log (never access logs) as log/slog records, on one line each,
// in the layout that users of Envoy know:
//
//	[2026-11-21 08:00:00.123][info][main] listener bound address=127.0.0.1:8080
//
// It owns the output and the threshold of every component. A component is a named part of the process
// ("main", "upstream", "admin"); its threshold changes while it runs, and asking whether a record is
// wanted is one atomic load. A line never breaks in two and never carries a control character, whatever is
// logged. The package deliberately has no global logger: who wants to log is given one.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/internal/suggest"
)

// DefaultFormat is the layout used when Options.Format is empty. It is Envoy's without the thread.
const DefaultFormat = "[%Y-%m-%d %T.%e][%l][%n] %v"

// MainComponent is the component of a logger that was not asked for by name.
const MainComponent = "main"

// Options say what a log looks like and how much of it is wanted.
type Options struct {
	// Format is empty for DefaultFormat, "json" for one JSON object a line, or a pattern in the syntax of
	// Envoy's --log-format; see CheckFormat.
	Format string
	// Level is the threshold of every component not named in Components. Its zero value is info.
	Level slog.Level
	// Components are the thresholds of single components.
	Components []ComponentLevel
	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// Logs is one log output and its components. Its methods may be called from any goroutine.
type Logs struct {
	layout layout
	now    func() time.Time

	mu         sync.Mutex // guards all below
	out        io.Writer
	buf        []byte
	level      slog.Level // of components that appear later
	components map[string]*component
}

// component is one named part of the process and its threshold.
type component struct {
	name  string
	level atomic.Int64
}

// New returns logs that write to w, one Write for each line. It errs only for a format that does not
// compile.
func New(w io.Writer, o Options) (*Logs, error) {
	lay, err := compileFormat(o.Format)
	if err != nil {
		return nil, err
	}
	l := &Logs{layout: lay, now: o.Now, out: w, level: o.Level, components: map[string]*component{}}
	if l.now == nil {
		l.now = time.Now
	}
	for _, c := range o.Components {
		l.component(c.Component).level.Store(int64(c.Level))
	}
	l.component(MainComponent)
	return l, nil
}

// Logger returns the logger of a component, which exists from then on.
func (l *Logs) Logger(name string) *slog.Logger {
	return slog.New(&handler{logs: l, of: l.component(name)})
}

// component returns the named component and makes it on first use.
func (l *Logs) component(name string) *component {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.components[name]
	if c == nil {
		c = &component{name: name}
		c.level.Store(int64(l.level))
		l.components[name] = c
	}
	return c
}

// SetLevel changes the threshold of one component. It errs, and names the nearest component, when there is
// none of that name.
func (l *Logs) SetLevel(name string, level slog.Level) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.components[name]
	if c == nil {
		names := slices.Sorted(maps.Keys(l.components))
		if near, ok := suggest.Nearest(name, slices.Values(names)); ok {
			return fmt.Errorf("no log component %q: did you mean %q?", name, near)
		}
		return fmt.Errorf("no log component %q: there are %s", name, strings.Join(names, ", "))
	}
	c.level.Store(int64(level))
	return nil
}

// SetAll changes the threshold of every component, and of those that appear later.
func (l *Logs) SetAll(level slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.level = level
	for _, c := range l.components {
		c.level.Store(int64(level))
	}
}

// Levels lists the components and their thresholds, sorted by name.
func (l *Logs) Levels() []ComponentLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]ComponentLevel, 0, len(l.components))
	for n, c := range l.components {
		out = append(out, ComponentLevel{Component: n, Level: slog.Level(c.level.Load())})
	}
	slices.SortFunc(out, func(a, b ComponentLevel) int { return strings.Compare(a.Component, b.Component) })
	return out
}

// Of returns the logs that a logger writes to, when they are of this package: the way from the one logger
// that a part was given to the thresholds of all.
func Of(l *slog.Logger) (*Logs, bool) {
	h, ok := l.Handler().(*handler)
	if !ok {
		return nil, false
	}
	return h.logs, true
}

// Component returns the logger of another component of the same logs. A logger that is not of this package
// is returned with an attribute component=name, so that a part may be given any slog.Logger.
func Component(l *slog.Logger, name string) *slog.Logger {
	if logs, ok := Of(l); ok {
		return logs.Logger(name)
	}
	return l.With("component", name)
}

// write lays out one record and writes it. An error of the output has no place to go and is dropped: a full
// disk under the log must not stop the traffic.
func (l *Logs) write(r *record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.layout(l.buf[:0], r), '\n')
	_, err := l.out.Write(l.buf)
	if cap(l.buf) > 64<<10 {
		l.buf = nil // One giant line must not be held for ever.
	}
	return err
}
