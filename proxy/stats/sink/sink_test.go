// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stats"
)

func TestMain(m *testing.M) { leak.Main(m) }

// teller keeps what it is told, and takes its time.
type teller struct {
	took time.Duration

	mu     sync.Mutex
	told   []string
	closed bool
}

func (s *teller) Flush(ctx context.Context, snap *Snapshot) {
	var out []string
	for _, m := range snap.Metrics {
		switch m.Kind {
		case stats.KindCounter:
			out = append(out, fmt.Sprintf("%s=%d", m.Name, m.Delta))
		case stats.KindGauge:
			out = append(out, fmt.Sprintf("%s=%d", m.Name, m.Level))
		case stats.KindHistogram:
			out = append(out, fmt.Sprintf("%s=%d of %d", m.Name, m.Interval.Count(), m.Cumulative.Count()))
		case stats.KindText:
		}
	}
	if s.took > 0 {
		select {
		case <-time.After(s.took):
		case <-ctx.Done():
			out = append(out, "late")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, fmt.Sprintf("%v-%v: %s", snap.Since.Sub(snap.Began), snap.Time.Sub(snap.Began), strings.Join(out, " ")))
}

func (s *teller) Close() { s.closed = true }

func (s *teller) wants(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.told, want) {
		t.Errorf("told %q, want %q", s.told, want)
	}
}

func TestFlusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stats.NewStore()
		in := store.Scope("a")
		s, second := &teller{}, &teller{}
		f := Start(Options{Store: store, Sinks: []Sink{s, second}, Before: func() { in.Gauge("g").Set(7) }})
		in.Counter("c").Add(3)
		in.Counter("unused")
		in.Histogram("h", stats.Milliseconds).Record(5)
		f.Ask() // It is not what makes snapshots here.
		time.Sleep(4 * time.Second)
		s.wants(t)
		time.Sleep(time.Second)
		synctest.Wait()
		s.wants(t, "0s-5s: a.c=3 a.g=7 a.h=1 of 1")
		in.Counter("c").Inc()
		time.Sleep(time.Second)
		f.Close()
		f.Close()
		want := []string{"0s-5s: a.c=3 a.g=7 a.h=1 of 1", "5s-6s: a.c=1 a.g=7 a.h=0 of 1"}
		s.wants(t, want...)
		second.wants(t, want...)
		if !s.closed || !second.closed {
			t.Error("a sink is not closed")
		}
	})
}

func TestOnAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stats.NewStore()
		s := &teller{}
		f := Start(Options{Store: store, Sinks: []Sink{s}, Interval: time.Second, OnAsk: true})
		store.Scope("a").Counter("c").Inc()
		time.Sleep(time.Hour)
		s.wants(t)
		f.Ask()
		synctest.Wait()
		s.wants(t, "0s-1h0m0s: a.c=1")
		f.Close()
	})
}

// TestSlow: a sink that is slow has fewer snapshots, and misses nothing.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stats.NewStore()
		c := store.Scope("a").Counter("c")
		s := &teller{took: 1500 * time.Millisecond}
		f := Start(Options{Store: store, Sinks: []Sink{s}, Interval: time.Second})
		for _, rest := range []time.Duration{1200, 1000, 600, 0} {
			c.Inc()
			time.Sleep(rest * time.Millisecond)
		}
		f.Close()
		s.wants(t, "0s-1s: a.c=1", "1s-2.5s: a.c=2", "2.5s-4s: a.c=1")
	})
}

// TestEnd: at the end a sink is not waited for very long.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &teller{took: time.Hour}
		f := Start(Options{Store: stats.NewStore(), Sinks: []Sink{s}})
		began := time.Now()
		f.Close()
		if took := time.Since(began); took != last {
			t.Errorf("the end took %v", took)
		}
		s.wants(t, "0s-0s: late")
	})
}

func TestNoSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stats.NewStore()
		store.Scope("a").Histogram("h", stats.Milliseconds).Record(5)
		f := Start(Options{Store: store})
		time.Sleep(DefaultInterval)
		synctest.Wait()
		store.Visit(func(m stats.Metric) {
			if m.Interval.Count() != 1 {
				t.Errorf("the interval has %d values", m.Interval.Count())
			}
		})
		f.Close()
		var none *Flusher
		none.Ask()
		none.Close()
	})
}
