// SPDX-License-Identifier: Apache-2.0

package source

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir.dev/weir/internal/memo"
)

// clocks is the kind of the one object that tells the time. Who keeps time puts it into the
// View, so that translation stays a function of the View.
var clocks = Kind{"weir.dev", "Clock"}

// A clock is what time it was when it was put there.
type clock struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	now time.Time
}

// DeepCopyObject returns a copy that shares nothing.
func (t *clock) DeepCopyObject() runtime.Object {
	out := *t
	out.ObjectMeta = *t.ObjectMeta.DeepCopy()
	return &out
}

// Tick is the change that tells the time.
func Tick(now time.Time) Change {
	return Change{Key: Key{Kind: clocks}, Object: &clock{now: now}}
}

// When says whether the time has come: 1 if it is after t, -1 if before, and 0 if nobody has
// told what time it is. Who reads it depends on the answer alone, not on every tick.
func When(c *memo.Ctx, t time.Time) int { return when.Get(c, t.Round(0).UTC()) }

var when = memo.NewFunc(func(c *memo.Ctx, t time.Time) int {
	if o, ok := Get[*clock](c, clocks, Name{}); ok {
		return o.now.Compare(t)
	}
	return 0
}, memo.Equal[int])
