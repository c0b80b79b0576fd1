// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

type sslStats struct {
	Handshake Counter `stat:"handshake"`
}

type testStats struct {
	Total  Counter   `stat:"downstream_cx_total"`
	Active Gauge     `stat:"downstream_cx_active"`
	Length Histogram `stat:"downstream_cx_length_ms,ms"`
	Codes  Codes     `stat:"downstream_rq_"`
	SSL    sslStats  `stat:"ssl."`
}

// values is what a store shows, histograms as their number of values.
func values(s *Store) map[string]string {
	out := map[string]string{}
	s.Visit(func(m Metric) {
		switch m.Kind {
		case KindCounter:
			out[m.Name] = fmt.Sprint(m.Count)
		case KindGauge:
			out[m.Name] = fmt.Sprint(m.Level)
		case KindHistogram:
			out[m.Name] = fmt.Sprint(m.Cumulative.Count())
		case KindText:
			out[m.Name] = m.Text
		}
	})
	return out
}

func wantValues(t *testing.T, s *Store, want map[string]string) {
	t.Helper()
	if d := cmp.Diff(want, values(s)); d != "" {
		t.Errorf("values differ (-want +got):\n%s", d)
	}
}

func TestRegisterAddsUpShards(t *testing.T) {
	s := NewStore()
	r := Register[testStats](s.Scope("listener.0.0.0.0:80."), 3)
	r.At(0).Total.Inc()
	r.At(2).Total.Add(4)
	r.At(0).Active.Inc()
	r.At(2).Active.Dec()
	r.At(2).Active.Add(5)
	r.At(1).Length.Record(12)
	r.At(2).Codes.Inc(503)
	r.At(2).Codes.Inc(99)
	r.At(2).Codes.Inc(600)
	r.At(0).SSL.Handshake.Inc()
	want := map[string]string{
		"listener.0.0.0.0_80.downstream_cx_total":     "5",
		"listener.0.0.0.0_80.downstream_cx_active":    "5",
		"listener.0.0.0.0_80.downstream_cx_length_ms": "1",
		"listener.0.0.0.0_80.downstream_rq_503":       "1",
		"listener.0.0.0.0_80.ssl.handshake":           "1",
	}
	wantValues(t, s, want)
	if got := r.At(2).Codes.Value(503); got != 1 {
		t.Errorf("Codes.Value(503) = %d, want 1", got)
	}
	r.Close()
	r.Close()
	wantValues(t, s, map[string]string{})
}

func TestSameNameTwice(t *testing.T) {
	s := NewStore()
	old := Register[testStats](s.Scope("http.in."), 1)
	old.At(0).Total.Add(3)
	old.At(0).Active.Inc()
	old.At(0).Length.Record(7)
	old.At(0).Codes.Inc(200)
	next := Register[testStats](s.Scope("http").Scope("in"), 2)
	next.At(1).Total.Add(2)
	next.At(1).Length.Record(7)
	next.At(1).Codes.Inc(200)
	both := map[string]string{
		"http.in.downstream_cx_total": "5", "http.in.downstream_cx_active": "1", "http.in.downstream_cx_length_ms": "2",
		"http.in.downstream_rq_200": "2", "http.in.ssl.handshake": "0",
	}
	wantValues(t, s, both)

	old.Close() // its gauge leaves, what it counted stays
	both["http.in.downstream_cx_active"] = "0"
	wantValues(t, s, both)

	s.ResetCounters()
	both["http.in.downstream_cx_total"] = "0"
	delete(both, "http.in.downstream_rq_200")
	wantValues(t, s, both)

	next.Close()
	wantValues(t, s, map[string]string{})
	if len(s.kept) != 0 || len(s.sources) != 0 {
		t.Errorf("left behind: %d kept, %d sources", len(s.kept), len(s.sources))
	}
}

func TestSameNameCutElsewhere(t *testing.T) {
	s := NewStore()
	r := Register[testStats](s.Scope("a.b"), 1)
	r.At(0).Total.Add(2)
	sc := s.Scope("a")
	sc.Counter("b.downstream_cx_total").Inc()
	r.Close()
	wantValues(t, s, map[string]string{"a.b.downstream_cx_total": "3"})
	sc.Close()
	wantValues(t, s, map[string]string{})
}

func TestScope(t *testing.T) {
	s := NewStore()
	sc := s.Scope("cluster.web")
	sc.Counter("upstream_rq_503").Add(2)
	sc.Counter("upstream_rq_503").Inc()
	sc.Gauge("version").Set(9)
	sc.Histogram("upstream_rq_time", Milliseconds).Record(1)
	sc.Text("version_text").Set("v1")
	sc.Scope("ssl").Counter("x:y").Inc()
	s.Scope("").Counter("plain").Inc()
	wantValues(t, s, map[string]string{
		"cluster.web.upstream_rq_503": "3", "cluster.web.version": "9", "cluster.web.upstream_rq_time": "1",
		"cluster.web.version_text": "v1", "cluster.web.ssl.x_y": "1", "plain": "1",
	})
	if sc.Prefix() != "cluster.web." || sc.Store() != s {
		t.Errorf("Prefix %q", sc.Prefix())
	}
	sc.Close()
	wantValues(t, s, map[string]string{"cluster.web.ssl.x_y": "1", "plain": "1"})
}

func TestScopeManyNames(t *testing.T) {
	s := NewStore()
	sc := s.Scope("vhost")
	const n = 5000
	for i := range n {
		sc.Counter(fmt.Sprint(i)).Inc()
	}
	for i := range n {
		sc.Counter(fmt.Sprint(i)).Inc()
	}
	got := values(s)
	if len(got) != n {
		t.Fatalf("%d names, want %d", len(got), n)
	}
	for name, v := range got {
		if v != "2" {
			t.Errorf("%s = %s, want 2", name, v)
		}
	}
}

func TestWrongUsePanics(t *testing.T) {
	s := NewStore()
	s.Scope("").Counter("a")
	sc := s.Scope("x")
	sc.Counter("c")
	tests := map[string]func(){
		"other kind":   func() { sc.Gauge("c") },
		"no shards":    func() { Register[testStats](sc, 0) },
		"not a struct": func() { Register[int](sc, 1) },
		"no name":      func() { Register[struct{ C Counter }](sc, 1) },
		"unknown unit": func() {
			Register[struct {
				H Histogram `stat:"h,miles"`
			}](sc, 1)
		},
		"foreign field": func() {
			Register[struct {
				N int `stat:"n"`
			}](sc, 1)
		},
		"shard too high": func() { Register[testStats](sc, 1).At(1) },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestUsed(t *testing.T) {
	s := NewStore()
	r := Register[testStats](s.Scope("l"), 1)
	used := func() string {
		var names []string
		s.Visit(func(m Metric) {
			if m.Used {
				names = append(names, m.Name)
			}
		})
		return strings.Join(names, " ")
	}
	if got := used(); got != "" {
		t.Errorf("used before use: %s", got)
	}
	r.At(0).Active.Inc()
	r.At(0).Active.Dec()
	r.At(0).Total.Inc()
	s.ResetCounters()
	if got, want := used(), "l.downstream_cx_active l.downstream_cx_total"; got != want {
		t.Errorf("used %q, want %q", got, want)
	}
}

func TestFlush(t *testing.T) {
	s := NewStore()
	h := s.Scope("").Histogram("h", Unspecified)
	counts := func() (interval, cumulative uint64) {
		s.Visit(func(m Metric) { interval, cumulative = m.Interval.Count(), m.Cumulative.Count() })
		return
	}
	step := func(wantI, wantC uint64) {
		t.Helper()
		if i, c := counts(); i != wantI || c != wantC {
			t.Errorf("interval %d, cumulative %d, want %d and %d", i, c, wantI, wantC)
		}
	}
	h.Record(5)
	step(0, 1)
	s.Flush()
	step(1, 1)
	h.Record(5)
	h.Record(500)
	step(1, 3)
	s.Flush()
	step(2, 3)
	s.Flush()
	step(0, 3)
}

// TestFlushHasWhatWent: what a source recorded that has gone since is in the interval, if its name is still there.
func TestFlushHasWhatWent(t *testing.T) {
	s := NewStore()
	stays, goes := s.Scope("x").Histogram, s.Scope("x")
	stays("h", Unspecified).Record(5)
	h := goes.Histogram("h", Unspecified)
	h.Record(7)
	s.Flush()
	h.Record(9)
	goes.Close()
	goes = s.Scope("y")
	goes.Histogram("h", Unspecified).Record(1)
	goes.Close()
	s.Flush()
	var got []string
	s.Visit(func(m Metric) {
		got = append(got, fmt.Sprint(m.Name, " ", m.Interval.Count(), " of ", m.Cumulative.Count()))
	})
	if want := []string{"x.h 1 of 3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestFlushOfMany: a flush makes nothing of histograms that have recorded nothing since the last.
func TestFlushOfMany(t *testing.T) {
	s := NewStore()
	for i := range 100 {
		in := s.Scope(fmt.Sprint("cluster.", i))
		in.Histogram("h", Unspecified).Record(5)
		Register[testStats](in, 2).At(1).Length.Record(5)
	}
	s.Flush()
	if few := testing.AllocsPerRun(10, s.Flush); few > 250 {
		t.Errorf("a flush of nothing makes %v allocations", few)
	}
}

func TestShardsKeepApart(t *testing.T) {
	r := Register[testStats](NewStore().Scope("x"), 2)
	a, b := uintptr(unsafe.Pointer(r.At(0))), uintptr(unsafe.Pointer(r.At(1)))
	if gap := max(a, b) - min(a, b); gap < unsafe.Sizeof(testStats{})+cacheLine {
		t.Errorf("shards are %d bytes apart", gap)
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := NewStore()
	r := Register[testStats](s.Scope("x"), 2)
	sc := s.Scope("y")
	code := []byte("upstream_rq_503")
	f := func() {
		p := r.At(1)
		p.Total.Inc()
		p.Active.Inc()
		p.Length.Record(1234)
		p.Codes.Inc(200)
		p.Active.Dec()
		sc.Counter(string(code)).Inc()
	}
	f()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrent(t *testing.T) {
	s := NewStore()
	const loops, rounds = 4, 2000
	r := Register[testStats](s.Scope("x"), loops)
	sc := s.Scope("x")
	var wg sync.WaitGroup
	for i := range loops {
		wg.Go(func() {
			for n := range rounds {
				r.At(i).Total.Inc()
				r.At((i + 1) % loops).Length.Record(uint64(n))
				r.At(0).Codes.Inc(200 + n%3)
				sc.Counter("downstream_cx_total").Inc()
				sc.Counter(fmt.Sprint("c", n%100)).Inc()
				if n%500 == 0 {
					s.Flush()
					s.Visit(func(Metric) {})
					Register[testStats](s.Scope("x"), 1).Close()
				}
			}
		})
	}
	wg.Wait()
	got := values(s)
	if want := fmt.Sprint(2 * loops * rounds); got["x.downstream_cx_total"] != want {
		t.Errorf("total %s, want %s", got["x.downstream_cx_total"], want)
	}
	if want := fmt.Sprint(loops * rounds); got["x.downstream_cx_length_ms"] != want {
		t.Errorf("histogram %s, want %s", got["x.downstream_cx_length_ms"], want)
	}
}

func TestSanitize(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"a.b", "a.b"},
		{".a.b.", "a.b"},
		{"..a..", ".a."},
		{"http://host:80/x", "http_host_80/x"},
		{"a:/b", "a_b"},
		{"[::1]:443", "[__1]_443"},
		{"a\x00b", "a_b"},
	}
	for _, tt := range tests {
		if got := Sanitize(tt.in); got != tt.want {
			t.Errorf("Sanitize(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestHistogramBuckets(t *testing.T) {
	tests := []struct {
		v     uint64
		lower float64
		width float64
	}{
		{0, 0, 0}, {1, 1, 0.1}, {9, 9, 0.1}, {10, 10, 1}, {99, 99, 1}, {100, 100, 10}, {109, 100, 10}, {999, 990, 10},
		{1000, 1000, 100}, {123456, 120000, 10000}, {math.MaxUint64, 1.8e19, 1e18},
	}
	for _, tt := range tests {
		var h Histogram
		h.Record(tt.v)
		if d := cmp.Diff(Buckets{{tt.lower, tt.width, 1}}, h.buckets()); d != "" {
			t.Errorf("%d: (-want +got)\n%s", tt.v, d)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var h Histogram
	for range 100 {
		h.Record(200)
	}
	got := h.buckets().Quantiles([]float64{0, 0.25, 0.5, 1})
	if d := cmp.Diff([]float64{200, 202.5, 205, 210}, got); d != "" {
		t.Error(d)
	}
	for _, q := range Buckets(nil).Quantiles([]float64{0, 1}) {
		if !math.IsNaN(q) {
			t.Errorf("quantile of nothing is %v", q)
		}
	}
}
