// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &corev3.HealthCheck{}) }

// TestCourse follows hosts with thresholds of 3 failures and 2 successes: g is a success,
// d a degraded one, n a failure of the network, l a late answer, r a retriable failure, f
// another one, p a passive one. What is wanted is the state after each: + healthy,
// - unhealthy, lower case d or l for degraded and late, and ~ for a change that is pending.
func TestCourse(t *testing.T) {
	tests := []struct{ name, checks, want string }{
		{"the first success is enough", "gg", "+ +"},
		{"after a first failure as many as ever", "ngg", "- -~ +"},
		{"failures in a row", "gnnn", "+ +~ +~ -"},
		{"a success between", "gnngnn", "+ +~ +~ + +~ +~"},
		{"an answer that it is not well", "gf", "+ -"},
		{"one that may be tried again", "grrr", "+ +~ +~ -"},
		{"different failures add up", "gnlr", "+ +~ +~ -"},
		{"two successes to come back", "gfgg", "+ - -~ +"},
		{"a failure between", "gfgngg", "+ - -~ - -~ +"},
		{"late", "gllln", "+ +~ +~ -l -"},
		{"late from the first on", "l", "-l"},
		{"degraded and back", "gdg", "+ +d +"},
		{"degraded from the first on", "d", "+d"},
		{"by itself", "gpgg", "+ - -~ +"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := course{failed: true}
			want := strings.Fields(tt.want)
			for i, b := range tt.checks {
				tr := unchanged
				switch b {
				case 'g', 'd':
					tr = c.pass(b == 'd', 2)
				default:
					tr = c.fail(map[rune]Verdict{'n': Unreachable, 'l': TimedOut, 'r': FailedRetriable, 'f': Failed, 'p': Passive}[b], 3)
				}
				got := "+"
				if c.failed {
					got = "-"
				}
				if c.late {
					got += "l"
				}
				if c.degraded {
					got += "d"
				}
				if tr == pending {
					got += "~"
				}
				if i >= len(want) || got != want[i] {
					t.Fatalf("check %d: %s, want %v", i, got, want)
				}
			}
		})
	}
}

type bounds map[string]int64

func (b bounds) Int(k string) (int64, bool)           { n, ok := b[k]; return n, ok }
func (bounds) Fraction(string) (match.Fraction, bool) { return match.Fraction{}, false }
func (bounds) Double(string) (float64, bool)          { return 0, false }
func (bounds) Bool(string) (value, isSet bool)        { return false, false }

func TestIntervals(t *testing.T) {
	c := &Config{Interval: 1, Unhealthy: 2, UnhealthyEdge: 3, HealthyEdge: 4, NoTraffic: 5, NoTrafficHealthy: 6}
	for _, d := range []*time.Duration{&c.Interval, &c.Unhealthy, &c.UnhealthyEdge, &c.HealthyEdge, &c.NoTraffic, &c.NoTrafficHealthy} {
		*d *= time.Second
	}
	tests := []struct {
		name    string
		passed  bool
		tr      transition
		traffic bool
		want    int
	}{
		{"healthy", true, unchanged, true, 1},
		{"has become healthy", true, changed, true, 1},
		{"may become healthy", true, pending, true, 4},
		{"unhealthy", false, unchanged, true, 2},
		{"has become unhealthy", false, changed, true, 2},
		{"may become unhealthy", false, pending, true, 3},
		{"healthy without traffic", true, unchanged, false, 6},
		{"unhealthy without traffic", false, unchanged, false, 5},
		{"may become healthy without traffic", true, pending, false, 5},
	}
	for _, tt := range tests {
		if got := c.next(tt.passed, tt.tr, tt.traffic, match.NoRuntime{}); got != time.Duration(tt.want)*time.Second {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if got := c.next(true, unchanged, true, bounds{"health_check.min_interval": 7000}); got != 7*time.Second {
		t.Errorf("with a least interval: %v", got)
	}
	if got := c.next(true, unchanged, true, bounds{"health_check.max_interval": 70}); got != 70*time.Millisecond {
		t.Errorf("with a most interval: %v", got)
	}
	c.Jitter, c.JitterPercent, c.InitialJitter = 100*time.Millisecond, 20, time.Second
	var least, most time.Duration = time.Hour, 0
	for range 5000 {
		d := c.next(true, unchanged, true, match.NoRuntime{})
		least, most = min(least, d), max(most, d)
		if first := c.first(match.NoRuntime{}); first <= 0 || first >= time.Second {
			t.Fatalf("the first check after %v", first)
		}
	}
	if least < time.Second || least > 1050*time.Millisecond || most > 1300*time.Millisecond || most < 1200*time.Millisecond {
		t.Errorf("with jitter: %v to %v", least, most)
	}
	if d := (&Config{}).first(match.NoRuntime{}); d != 0 {
		t.Errorf("without jitter the first check is after %v", d)
	}
}

// FuzzSearch: in whatever pieces the bytes come, parts are found as in the whole.
func FuzzSearch(f *testing.F) {
	f.Add([]byte("is foo, is bar"), []byte("foo"), []byte("bar"), byte(3))
	f.Add([]byte("aaab"), []byte("aab"), []byte("b"), byte(1))
	f.Add([]byte("abab"), []byte("ab"), []byte("ab"), byte(2))
	f.Fuzz(func(t *testing.T, text, one, two []byte, size byte) {
		if len(one) == 0 || len(two) == 0 {
			return
		}
		_, rest, ok := bytes.Cut(text, one)
		want := ok && bytes.Contains(rest, two)
		s, got := Payload{one, two}.Search(), false
		for len(text) > 0 && !got {
			n := min(len(text), int(size)+1)
			got = s.Feed(text[:n])
			text = text[n:]
			if len(s.tail) >= max(len(one), len(two)) {
				t.Fatalf("%d bytes are kept", len(s.tail))
			}
		}
		if got != want {
			t.Errorf("found: %v, want %v", got, want)
		}
	})
}
