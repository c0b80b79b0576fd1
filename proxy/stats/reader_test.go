// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// deltas reads once: "a.b=3 c=0".
func deltas(r *Reader) string {
	var out []string
	r.Read(func(m Metric) {
		if m.Kind == KindCounter {
			out = append(out, fmt.Sprintf("%s=%d", m.Name, m.Delta))
		}
	})
	return strings.Join(out, " ")
}

type readStats struct {
	Total Counter `stat:"total"`
	Codes Codes   `stat:"rq_"`
}

func TestReader(t *testing.T) {
	s := NewStore()
	a := Register[readStats](s.Scope("cluster.a"), 2)
	own := s.Scope("own")
	c := own.Counter("c")
	a.At(0).Total.Add(2)
	r := s.NewReader()
	defer r.Close()
	var second *Sharded[readStats]
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"what was there before", func() {}, "cluster.a.total=2"},
		{"nothing new", func() {}, "cluster.a.total=0"},
		{"of two shards, and of names made meanwhile", func() {
			a.At(0).Total.Inc()
			a.At(1).Total.Inc()
			a.At(1).Codes.Inc(503)
			c.Add(5)
		}, "cluster.a.rq_503=1 cluster.a.total=2 own.c=5"},
		{"a reset loses nothing", func() {
			a.At(0).Total.Add(3)
			c.Inc()
			s.ResetCounters()
			a.At(1).Total.Inc()
			a.At(0).Codes.Inc(503)
		}, "cluster.a.rq_503=1 cluster.a.total=4 own.c=1"},
		{"a second holder", func() {
			second = Register[readStats](s.Scope("cluster.a"), 1)
			second.At(0).Total.Add(10)
			a.At(0).Total.Inc()
		}, "cluster.a.rq_503=0 cluster.a.total=11 own.c=0"},
		{"the first goes", func() {
			a.At(0).Total.Inc()
			a.Close()
			second.At(0).Total.Inc()
		}, "cluster.a.rq_503=0 cluster.a.total=2 own.c=0"},
		{"a reset of what was kept", func() {
			second.At(0).Total.Inc()
			s.ResetCounters()
		}, "cluster.a.total=1 own.c=0"},
		{"the last goes, and its name", func() {
			second.At(0).Total.Add(7)
			second.Close()
		}, "own.c=0 cluster.a.total=7"},
		{"it is not told again", func() {}, "own.c=0"},
		{"removed and made anew", func() {
			c.Add(4)
			own.Close()
			s.Scope("own").Counter("c").Add(6)
		}, "own.c=10"},
	} {
		step.do()
		if got := deltas(r); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	if n := len(r.seen); n > 2 {
		t.Errorf("%d statistics are kept: %v", n, slices.Collect(maps.Keys(r.seen)))
	}
}

// TestReaderHears: a counter that is zeroed between the begin of a reading and its own turn is told of once.
func TestReaderHears(t *testing.T) {
	k := &reading{}
	for i, x := range []struct{ count, lost, want uint64 }{
		{5, 0, 5},
		{0, 0, 0}, // It was zeroed after what it lost was asked for.
		{3, 5, 3},
		{1, 0, 0}, // As before, and it counted since.
		{1, 3, 1},
		{1, 0, 0},
	} {
		if got := k.delta(x.count, x.lost); got != x.want {
			t.Errorf("%d: %d, want %d", i, got, x.want)
		}
	}
}

func TestReaderHidden(t *testing.T) {
	s := NewStore()
	c, err := ParseConfig(&metricsv3.StatsConfig{StatsMatcher: &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_ExclusionList{
		ExclusionList: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "secret."}}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Configure(c)
	r := s.NewReader()
	defer r.Close()
	in := s.Scope("secret")
	in.Counter("c").Inc()
	s.Scope("cluster.web").Counter("c").Inc()
	var tags []Tag
	r.Read(func(m Metric) {
		if tags = m.Tags; m.Extracted != "cluster.c" {
			t.Errorf("read %s", m.Name)
		}
	})
	if len(tags) != 1 || tags[0] != (Tag{"envoy.cluster_name", "web"}) {
		t.Errorf("tags %v", tags)
	}
	in.Counter("c").Inc()
	in.Close()
	if got := deltas(r); got != "cluster.web.c=0" {
		t.Error(got)
	}
}

type timed struct {
	Time Histogram `stat:"time,us"`
}

// TestReaderHistograms: values of histograms that are gone are told, too, as what they were.
func TestReaderHistograms(t *testing.T) {
	s := NewStore()
	r := s.NewReader()
	defer r.Close()
	first, second := Register[timed](s.Scope("a"), 1), Register[timed](s.Scope("a"), 2)
	read := func() (out string) {
		s.Flush()
		r.Read(func(m Metric) {
			out += fmt.Sprintf("%s %v %d %d of %d;", m.Name, m.Kind, m.Unit, m.Interval.Count(), m.Cumulative.Count())
			if m.Kind != KindHistogram || len(m.Bounds) == 0 {
				t.Errorf("%+v", m)
			}
		})
		return out
	}
	first.At(0).Time.Record(5)
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { second.At(1).Time.Record(7) }, "a.time histogram 2 2 of 2;"},
		{func() { first.At(0).Time.Record(6); first.Close(); second.At(0).Time.Record(7) }, "a.time histogram 2 2 of 4;"},
		{func() { second.At(0).Time.Record(7); second.At(1).Time.Record(7); second.Close() }, "a.time histogram 2 2 of 6;"},
		{func() {}, ""},
		{func() {
			first = Register[timed](s.Scope("a"), 1)
			first.At(0).Time.Record(1)
			second = Register[timed](s.Scope("a"), 1)
			second.At(0).Time.Record(2)
			second.Close()
			first.Close()
		}, "a.time histogram 2 2 of 2;"},
		{func() {
			first = Register[timed](s.Scope("a"), 1)
			first.At(0).Time.Record(1)
			first.Close()
			second = Register[timed](s.Scope("a"), 1)
			second.At(0).Time.Record(2)
		}, "a.time histogram 2 2 of 1;"},
	} {
		step.do()
		if got := read(); got != step.want {
			t.Errorf("%s, want %s", got, step.want)
		}
	}
}

// TestReaderForgets: who does not read for long does not remember all that went meanwhile.
func TestReaderForgets(t *testing.T) {
	s := NewStore()
	r := s.NewReader()
	in := s.Scope("x")
	for i := range mostLost + 10 {
		in.Counter(fmt.Sprint(i)).Inc()
	}
	in.Close()
	if n := len(r.lost); n != mostLost {
		t.Errorf("%d names are remembered", n)
	}
	r.Close()
	in = s.Scope("y")
	in.Counter("c").Inc()
	in.Close()
	if n := len(r.lost); n != mostLost {
		t.Errorf("%d names are remembered of a reader that is closed", n)
	}
}

// TestReaderRace: of what many count, while counters are reset and sets come and go, each count is told once.
func TestReaderRace(t *testing.T) {
	const loops, rounds = 4, 50
	s := NewStore()
	r := s.NewReader()
	defer r.Close()
	fixed := Register[readStats](s.Scope("fixed"), loops)
	var wg sync.WaitGroup
	for i := range loops {
		wg.Go(func() {
			for range rounds {
				for range 100 {
					fixed.At(i).Total.Inc()
				}
				own := Register[readStats](s.Scope("coming"), 1)
				own.At(0).Total.Add(3)
				own.Close()
			}
		})
	}
	done := make(chan struct{})
	wg.Go(func() {
		for range rounds {
			s.ResetCounters()
		}
	})
	go func() {
		defer close(done)
		wg.Wait()
	}()
	told := map[string]uint64{}
	read := func() { r.Read(func(m Metric) { told[m.Name] += m.Delta }) }
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		read()
	}
	read()
	if told["fixed.total"] != loops*rounds*100 || told["coming.total"] != loops*rounds*3 {
		t.Errorf("told of %d and %d, want %d and %d", told["fixed.total"], told["coming.total"], loops*rounds*100, loops*rounds*3)
	}
}
