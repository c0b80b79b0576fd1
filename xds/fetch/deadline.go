// SPDX-License-Identifier: Apache-2.0

package fetch

import "time"

// deadlines are points in time that something is due at, each by its key. They belong
// to one goroutine; the zero value has none.
type deadlines[K comparable] struct {
	at    map[K]time.Time
	next  time.Time // no later than any of them; zero if the timer is not set
	timer *time.Timer
}

// set makes d from now the deadline of a key.
func (d *deadlines[K]) set(key K, after time.Duration) {
	if d.at == nil {
		d.at = map[K]time.Time{}
	}
	t := time.Now().Add(after)
	d.at[key] = t
	d.wait(t)
}

func (d *deadlines[K]) has(key K) bool {
	_, ok := d.at[key]
	return ok
}

func (d *deadlines[K]) drop(key K) { delete(d.at, key) }

func (d *deadlines[K]) wait(t time.Time) {
	if !d.next.IsZero() && !t.Before(d.next) {
		return
	}
	d.next = t
	if d.timer == nil {
		d.timer = time.NewTimer(time.Until(t))
	} else {
		d.timer.Reset(time.Until(t))
	}
}

// due tells when to call over; nil is never.
func (d *deadlines[K]) due() <-chan time.Time {
	if d.timer == nil {
		return nil
	}
	return d.timer.C
}

// over returns the keys whose time has come, and forgets them.
func (d *deadlines[K]) over() []K {
	now := time.Now()
	d.next = time.Time{}
	var out []K
	var first time.Time
	for key, t := range d.at {
		switch {
		case !t.After(now):
			out = append(out, key)
			delete(d.at, key)
		case first.IsZero() || t.Before(first):
			first = t
		}
	}
	if !first.IsZero() {
		d.wait(first)
	}
	return out
}

func (d *deadlines[K]) stop() {
	clear(d.at)
	if d.timer != nil {
		d.timer.Stop()
	}
}
