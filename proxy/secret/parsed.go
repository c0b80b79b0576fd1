// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"log/slog"
	"sync/atomic"
)

// Parsed is what is made of the newest good value of a slot.
type Parsed[T any] struct {
	slot  *Slot
	parse func(*Value) (T, error)
	log   *slog.Logger
	last  atomic.Pointer[parsed[T]]
}

type parsed[T any] struct {
	of *Value
	v  T
}

// NewParsed parses the slot's value, of which there must be one. Later values are parsed
// the first time that they are asked for; one that is wrong is logged, and what was
// before stays.
func NewParsed[T any](slot *Slot, parse func(*Value) (T, error), log *slog.Logger) (*Parsed[T], error) {
	p := &Parsed[T]{slot: slot, parse: parse, log: log}
	of := slot.Load()
	v, err := parse(of)
	if err != nil {
		return nil, err
	}
	p.last.Store(&parsed[T]{of, v})
	return p, nil
}

// Load returns what is made of the value that there is now.
func (p *Parsed[T]) Load() T {
	now, of := p.last.Load(), p.slot.Load()
	if now.of == of {
		return now.v
	}
	v, err := p.parse(of)
	if err != nil {
		v = now.v
	}
	if p.last.CompareAndSwap(now, &parsed[T]{of, v}) && err != nil {
		p.log.Error("a file changed and is wrong: what it had before stays in use", "file", p.slot.Name(), "reason", err)
	}
	return v
}
