// SPDX-License-Identifier: Apache-2.0

package hist

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsAreContiguous(t *testing.T) {
	for i := 1; i < 40*subCount; i++ {
		if got := index(upper(i)); got != i {
			t.Fatalf("index(upper(%d)) = %d", i, got)
		}
		if got := index(upper(i-1) + 1); got != i {
			t.Fatalf("the value after bucket %d is in bucket %d, want %d", i-1, got, i)
		}
	}
	if i := index(math.MaxInt64); i >= groups*subCount {
		t.Fatalf("the largest duration is in bucket %d of %d", i, groups*subCount)
	}
}

func TestQuantileAgainstSortedValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	values := make([]time.Duration, 20_000)
	for i := range values {
		values[i] = time.Duration(rng.ExpFloat64() * float64(200*time.Microsecond))
		h.Record(values[i])
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := values[max(int(math.Ceil(q*float64(len(values))))-1, 0)]
		got := h.Quantile(q)
		if got < want || float64(got) > float64(want)*(1+1.0/subCount)+1 {
			t.Errorf("Quantile(%v) = %v, want %v and at most 1/64 more", q, got, want)
		}
	}
	if h.Max() != values[len(values)-1] || h.Quantile(1) != h.Max() {
		t.Errorf("Max = %v, Quantile(1) = %v, want %v", h.Max(), h.Quantile(1), values[len(values)-1])
	}
	if h.Count() != uint64(len(values)) {
		t.Errorf("Count = %d, want %d", h.Count(), len(values))
	}
}

func TestEdges(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Max() != 0 {
		t.Fatal("an empty histogram has values")
	}
	h.Record(-time.Second)
	if h.Quantile(1) != 0 || h.Count() != 1 {
		t.Fatalf("a negative duration counts as %v, want 0", h.Quantile(1))
	}
	h.Record(math.MaxInt64)
	if h.Quantile(1) != math.MaxInt64 {
		t.Fatalf("the largest duration comes back as %v", h.Quantile(1))
	}
	h.Reset()
	if h.Count() != 0 {
		t.Fatal("Reset kept values")
	}
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Fatalf("Record allocates %v times", n)
	}
}
