// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"context"
	"log/slog"
	"time"
)

// handler is the slog.Handler of one component.
type handler struct {
	logs *Logs
	of   *component
	// prefix is the dotted path of open groups, and ends in a dot unless empty.
	prefix string
	// attrs are those given by WithAttrs, resolved, with their groups in the key.
	attrs []slog.Attr
}

// record is what a layout needs of one line.
type record struct {
	at        time.Time
	level     slog.Level
	component string
	message   string
	pc        uintptr
	attrs     []slog.Attr // flat: no groups, all values resolved
}

// Enabled tells whether the component's threshold lets a record of this level pass.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return int64(level) >= h.of.level.Load() && level < LevelOff
}

// Handle writes the record.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	out := record{
		at:        r.Time,
		level:     r.Level,
		component: h.of.name,
		message:   r.Message,
		pc:        r.PC,
		attrs:     h.attrs[:len(h.attrs):len(h.attrs)],
	}
	if out.at.IsZero() {
		out.at = h.logs.now()
	}
	r.Attrs(func(a slog.Attr) bool {
		out.attrs = flatten(out.attrs, h.prefix, a)
		return true
	})
	return h.logs.write(&out)
}

// WithAttrs returns a handler that adds attrs to each record.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	n.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, a := range attrs {
		n.attrs = flatten(n.attrs, h.prefix, a)
	}
	return &n
}

// WithGroup returns a handler that puts the name and a dot before the keys of all later attributes.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	n := *h
	n.prefix += name + "."
	return &n
}

// flatten appends a, and for a group each of its members under a dotted key.
func flatten(to []slog.Attr, prefix string, a slog.Attr) []slog.Attr {
	a.Value = a.Value.Resolve()
	if a.Value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, m := range a.Value.Group() {
			to = flatten(to, prefix, m)
		}
		return to
	}
	if a.Equal(slog.Attr{}) {
		return to
	}
	a.Key = prefix + a.Key
	return append(to, a)
}
