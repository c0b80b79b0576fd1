// SPDX-License-Identifier: Apache-2.0

package limiter

import (
	"fmt"
	"testing"
	"time"
)

const hourly = "domain: d\ndescriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: 3}, metadata: {plan: {name: free}}}]"

// TestWindow: what has come counts until the window ends.
func TestWindow(t *testing.T) {
	l, now := alone(t, hourly, Options{})
	*now = time.Unix(3600*1000+3500, 0)
	steps := []struct {
		hits    uint64
		after   time.Duration
		want    string
		resetIn time.Duration
	}{
		{1, 0, "ok, 2 of 3/HOUR", 100 * time.Second},
		{2, 50 * time.Second, "ok, 0 of 3/HOUR", 50 * time.Second},
		{1, 0, "over, over 3/HOUR", 50 * time.Second},
		{1, 50 * time.Second, "ok, 2 of 3/HOUR", 3600 * time.Second},
		{5, 0, "over, over 3/HOUR", 3600 * time.Second},
		{1, 0, "over, over 3/HOUR", 3600 * time.Second},
	}
	for i, s := range steps {
		*now = now.Add(s.after)
		r := &Request{Domain: "d", Hits: s.hits, Claims: []Claim{claim("user=ann")}}
		l.Ask(r, nil)
		if answer(r) != s.want || r.Statuses[0].Reset != s.resetIn {
			t.Errorf("%d: %s until %s, want %s until %s", i, answer(r), r.Statuses[0].Reset, s.want, s.resetIn)
		}
	}
}

// TestHits: a descriptor's own hits come before the request's; those of none only look,
// and negative ones give back.
func TestHits(t *testing.T) {
	l, _ := alone(t, hourly, Options{})
	c := claim("user=ann")
	for i, tt := range []struct {
		hits     uint64
		negative bool
		want     string
	}{
		{0, false, "ok, 3 of 3/HOUR"}, {3, false, "ok, 0 of 3/HOUR"}, {0, false, "over, over 3/HOUR"},
		{1, true, "ok, 1 of 3/HOUR"}, {9, true, "ok, 3 of 3/HOUR"}, {1 << 63, false, "over, over 3/HOUR"},
	} {
		c.Hits, c.Counted, c.Negative = tt.hits, true, tt.negative
		r := &Request{Domain: "d", Hits: 7, Claims: []Claim{c}}
		if l.Ask(r, nil); answer(r) != tt.want {
			t.Errorf("%d: %s, want %s", i, answer(r), tt.want)
		}
	}
}

func TestMetadataAndShadow(t *testing.T) {
	l, _ := alone(t, hourly, Options{Shadow: true})
	r := &Request{Domain: "d", Hits: 3, Claims: []Claim{claim("user=ann")}}
	l.Ask(r, nil)
	if got := fmt.Sprint(r.Metadata); got != "map[plan:map[name:free]]" {
		t.Errorf("metadata: %s", got)
	}
	r.Metadata["plan"].(map[string]any)["name"] = "changed"
	if l.Ask(r, nil); r.Over || answer(r) != "ok, over 3/HOUR" || r.Metadata != nil {
		t.Errorf("in the shadow: %s with %v", answer(r), r.Metadata)
	}
	r.Claims[0].Entries[0].Value = []byte("bob")
	if l.Ask(r, nil); fmt.Sprint(r.Metadata) != "map[plan:map[name:free]]" {
		t.Errorf("configuration changed: %v", r.Metadata)
	}
}

// TestBounded: who floods the table with keys does not win back a limit that is used up.
func TestBounded(t *testing.T) {
	l, now := alone(t, hourly, Options{Counters: 10 * shards})
	for range 4 {
		ask(l, "d", 0, "user=greedy")
	}
	for i := range 20_000 {
		ask(l, "d", 0, fmt.Sprintf("user=%d", i))
	}
	if got := ask(l, "d", 0, "user=greedy"); got != "over, over 3/HOUR" {
		t.Errorf("after the flood: %s", got)
	}
	n := 0
	for i := range l.shards {
		n += len(l.shards[i].counters)
	}
	if n > 10*shards {
		t.Errorf("%d counters", n)
	}
	if l.Stats().evicted.Load() == 0 {
		t.Error("what was forgotten is not told")
	}
	*now = now.Add(2 * time.Hour)
	for i := range 1000 {
		ask(l, "d", 0, fmt.Sprintf("user=new%d", i))
	}
}

// TestAllocations: a request costs none.
func TestAllocations(t *testing.T) {
	l, _ := alone(t, examples, Options{})
	r := &Request{Domain: "web", Claims: []Claim{claim("kind=marketing,number=1"), claim("address=1.2.3.4")}}
	l.Ask(r, nil)
	if n := testing.AllocsPerRun(100, func() { l.Ask(r, nil) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAlone(b *testing.B) {
	l, _ := alone(b, examples, Options{})
	r := &Request{Domain: "web", Claims: []Claim{claim("database=users")}}
	for b.Loop() {
		l.Ask(r, nil)
	}
}
