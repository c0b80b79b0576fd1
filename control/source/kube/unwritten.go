// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"weir.dev/weir/control/source"
)

// A status that cannot be written is tried again after again, then after twice that, up to
// seldom. Of those of one resource and reason the log is told as often, up to rarely.
const (
	again  = time.Second
	seldom = 30 * time.Second
	rarely = 10 * time.Minute
)

// unwritten are statuses that cannot be written.
type unwritten struct {
	log *slog.Logger
	now func() time.Time
	mu  sync.Mutex
	by  map[cause]*episode
}

// cause is what many statuses have in common that cannot be written. Kinds that have
// another name by now are resources, and rights, of their own under each.
type cause struct {
	resource schema.GroupResource
	reason   metav1.StatusReason
}

// episode lasts while any status of a cause cannot be written.
type episode struct {
	tries  map[source.Key]int // of those that cannot
	failed int                // all tries, others' too that could be written meanwhile
	next   time.Time          // when the log is told again, and after what pause
	pause  time.Duration
}

func newUnwritten(log *slog.Logger, now func() time.Time) *unwritten {
	return &unwritten{log: log, now: now, by: map[cause]*episode{}}
}

// note takes it that the status of an object, which is of a resource, could not be written,
// and returns how long to wait with it. The log is told what explain makes of the error.
func (f *unwritten) note(key source.Key, resource schema.GroupResource, err error, explain func(error) error) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	why := cause{resource, apierrors.ReasonForError(err)}
	f.forget(key, why)
	e := f.by[why]
	if e == nil {
		e = &episode{tries: map[source.Key]int{}, pause: again}
		f.by[why] = e
	}
	wait := min(again<<min(e.tries[key], 10), seldom)
	e.tries[key]++
	e.failed++
	if now := f.now(); !now.Before(e.next) {
		f.log.Warn("a status cannot be written; it is tried again", "object", key.String(), "error", explain(err), "objects", len(e.tries), "failures", e.failed)
		e.next = now.Add(e.pause)
		e.pause = min(2*e.pause, rarely)
	}
	return wait
}

// over takes it that an object's status has been written, or is of no use any more.
func (f *unwritten) over(key source.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(key, cause{})
}

// forget takes an object out of all causes but one.
func (f *unwritten) forget(key source.Key, but cause) {
	for why, e := range f.by {
		if why == but || e.tries[key] == 0 {
			continue
		}
		if delete(e.tries, key); len(e.tries) == 0 {
			delete(f.by, why)
			f.log.Info("statuses are written again", "resource", why.resource.String(), "failures", e.failed)
		}
	}
}
