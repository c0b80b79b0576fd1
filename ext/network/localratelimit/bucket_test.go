// SPDX-License-Identifier: Apache-2.0

package localratelimit

import (
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	b := newBucket(rate{most: 3, fill: 2, every: time.Second})
	b.filled = 0
	at := func(d time.Duration) int64 { return int64(d) }
	for i, step := range []struct {
		now  time.Duration
		want bool
	}{
		{0, true}, {0, true}, {0, true}, {0, false},
		{900 * time.Millisecond, false},
		{1100 * time.Millisecond, true}, {1100 * time.Millisecond, true}, {1100 * time.Millisecond, false},
		{1900 * time.Millisecond, false}, {2 * time.Second, true},
		{1000 * time.Hour, true}, {1000 * time.Hour, true}, {1000 * time.Hour, true}, {1000 * time.Hour, false},
	} {
		if got := b.take(at(step.now)); got != step.want {
			t.Errorf("step %d at %v: %v", i, step.now, got)
		}
	}
}

func TestShared(t *testing.T) {
	var s sharedBuckets
	r := rate{most: 1, fill: 1, every: time.Hour}
	a, releaseA := s.get("k", r)
	b, releaseB := s.get("k", r)
	if a != b {
		t.Error("one key and one rate made two buckets")
	}
	if c, release := s.get("other", r); c == a {
		t.Error("two keys share a bucket")
	} else {
		release()
	}
	if c, release := s.get("k", rate{most: 2, fill: 1, every: time.Hour}); c == a {
		t.Error("two rates share a bucket")
	} else {
		release()
	}
	releaseA()
	if c, release := s.get("k", r); c != b {
		t.Error("the bucket went with the first of its users")
	} else {
		release()
	}
	releaseB()
	if len(s.m) != 0 {
		t.Errorf("%d buckets are left", len(s.m))
	}
}
