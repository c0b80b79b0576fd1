// SPDX-License-Identifier: Apache-2.0

package localratelimit

import (
	"testing"
	"time"

	"weir.dev/weir/proxy/tokenbucket"
)

func TestShared(t *testing.T) {
	var s sharedBuckets
	r := tokenbucket.Rate{Most: 1, Fill: 1, Every: time.Hour}
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
	if c, release := s.get("k", tokenbucket.Rate{Most: 2, Fill: 1, Every: time.Hour}); c == a {
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
