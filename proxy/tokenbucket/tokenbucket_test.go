// SPDX-License-Identifier: Apache-2.0

package tokenbucket

import (
	"math"
	"testing"
	"time"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestBucket(t *testing.T) {
	b := New(Rate{Most: 3, Fill: 2, Every: time.Second}, 0)
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
		if got := b.Take(int64(step.now)); got != step.want {
			t.Errorf("step %d at %v: %v", i, step.now, got)
		}
	}
}

func TestSet(t *testing.T) {
	b := New(Rate{Most: 3, Fill: 1, Every: time.Second}, 0)
	b.Set(Rate{Most: 1, Fill: math.MaxUint32, Every: time.Nanosecond}, 0)
	if !b.Take(0) || b.Take(0) {
		t.Error("more or fewer tokens than one after the maximum became one")
	}
	if !b.Take(math.MaxInt64) || b.Take(math.MaxInt64) {
		t.Error("more or fewer tokens than one after a long time")
	}
}

func TestCompile(t *testing.T) {
	m := &typev3.TokenBucket{MaxTokens: 7, FillInterval: durationpb.New(50 * time.Millisecond)}
	if r, err := Compile(m); err != nil || r != (Rate{Most: 7, Fill: 1, Every: 50 * time.Millisecond}) {
		t.Errorf("got %+v, %v", r, err)
	}
	m.TokensPerFill = wrapperspb.UInt32(3)
	if r, err := Compile(m); err != nil || r.Fill != 3 {
		t.Errorf("got %+v, %v", r, err)
	}
	m.FillInterval = durationpb.New(49 * time.Millisecond)
	if _, err := Compile(m); err == nil {
		t.Error("an interval below 50ms was taken")
	}
}
