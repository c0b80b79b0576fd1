// SPDX-License-Identifier: Apache-2.0

package tokenbucket

import (
	"math"
	"sync"
	"sync/atomic"
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
		{400 * time.Millisecond, false}, {500 * time.Millisecond, true}, {500 * time.Millisecond, false},
		{1400 * time.Millisecond, true}, {1400 * time.Millisecond, false}, {1500 * time.Millisecond, true},
		{1000 * time.Hour, true}, {1000 * time.Hour, true}, {1000 * time.Hour, true}, {1000 * time.Hour, false},
	} {
		if got := b.Take(int64(step.now)); got != step.want {
			t.Errorf("step %d at %v: %v", i, step.now, got)
		}
	}
}

// TestThirds: tokens that come at odd moments are not lost to rounding.
func TestThirds(t *testing.T) {
	b := New(Rate{Most: 3, Fill: 3, Every: time.Second}, 0)
	for second := range int64(10_000) {
		now := second * int64(time.Second)
		if !b.TakeN(now, 3) || b.Take(now) {
			t.Fatalf("in second %d there are %v tokens", second, b.Tokens(now))
		}
	}
}

func TestGiveAndWait(t *testing.T) {
	b := New(Rate{Most: 4, Fill: 1, Every: time.Second}, 0)
	if w := b.Wait(0); w != 0 {
		t.Errorf("a full bucket has a token in %v", w)
	}
	if b.TakeN(0, 5) || !b.TakeN(0, 4) {
		t.Error("more or fewer than 4 tokens in one go")
	}
	if w := b.Wait(0); w != time.Second {
		t.Errorf("an empty bucket has a token in %v", w)
	}
	if w := b.Wait(int64(700 * time.Millisecond)); w != 300*time.Millisecond {
		t.Errorf("0.7s later it has one in %v", w)
	}
	b.Give(0, 2)
	if n := b.Tokens(0); n != 2 {
		t.Errorf("%v tokens after 2 came back", n)
	}
	b.Give(0, 100)
	if n := b.Tokens(0); n != 4 {
		t.Errorf("%v tokens after 100 came back", n)
	}
	if r := b.Rate().PerSecond(); r != 1 {
		t.Errorf("%v tokens in a second", r)
	}
}

// TestNever: a bucket that never fills has what it began with, and one without room
// has nothing.
func TestNever(t *testing.T) {
	b := New(Rate{Most: 1, Every: time.Second}, 0)
	if !b.Take(0) || b.Take(int64(time.Hour)) {
		t.Error("more or fewer tokens than one")
	}
	if New(Rate{Fill: 1, Every: time.Second}, 0).Take(int64(time.Hour)) {
		t.Error("a token from a bucket without room")
	}
}

func TestConcurrent(t *testing.T) {
	b := New(Rate{Most: 1000, Fill: 1, Every: time.Hour}, 0)
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if b.Take(0) {
					taken.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 1000 {
		t.Errorf("%d of 1000 tokens were taken", n)
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
