// SPDX-License-Identifier: Apache-2.0

package adaptiveconcurrency

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config) }

func TestHistogram(t *testing.T) {
	for us := uint64(0); us < 1<<33; us += us/50 + 1 {
		b := bucketOf(us)
		if b >= numBuckets {
			t.Fatalf("%d is in bucket %d of %d", us, b, numBuckets)
		}
		if got := middleOf(b); us < 1<<32 && math.Abs(got-float64(us)) > float64(us)/32+.5 {
			t.Errorf("%d is told as %v", us, got)
		}
	}
	hs := make([]histogram, 2)
	for i := range 100 {
		hs[i%2].add(uint64(i) * 1000)
	}
	for _, q := range []float64{0, .5, .9, 1} {
		copied := make([]histogram, 2)
		for i := range hs {
			for b := range hs[i].buckets {
				copied[i].buckets[b].Store(hs[i].buckets[b].Load())
			}
		}
		want := max(q*100-1, 0) * 1000
		if got, n := take(copied, q); n != 100 || math.Abs(got-want) > want/16+1 {
			t.Errorf("quantile %v of %d: %v, want %v", q, n, got, want)
		}
		if _, n := take(copied, q); n != 0 {
			t.Errorf("%d are left", n)
		}
	}
}

// lab is a controller whose clock is the test's.
type lab struct {
	*controller
	now    int64
	agains []time.Duration
}

func newLab(s settings) *lab {
	l := &lab{controller: newController(s, 2, &Stats{}), now: int64(time.Hour)}
	l.again = func(d time.Duration) { l.agains = append(l.agains, d) }
	return l
}

// serve has n requests answered in d each, all at once as far as they are let in.
func (l *lab) serve(n int, d time.Duration) (refused int) {
	in := 0
	for range n {
		if l.begin() {
			in++
		} else {
			refused++
		}
	}
	begun := l.now
	l.now += int64(d)
	for i := range in {
		l.done(i%2, begun, l.now)
	}
	return refused
}

var standard = settings{percentile: .5, min: 3, max: 1000, update: 100 * time.Millisecond, interval: time.Minute, requests: 10, measuring: 3, buffer: .25}

func TestController(t *testing.T) {
	l := newLab(standard)
	l.measure(l.now)
	if l.stats.Measuring.Value() != 1 || l.stats.Limit.Value() != 3 {
		t.Fatalf("limit %d while it is measured", l.limit.Load())
	}
	for range 3 {
		if refused := l.serve(5, 10*time.Millisecond); refused != 2 {
			t.Fatalf("%d of 5 refused, 3 at a time", refused)
		}
	}
	l.update() // Nothing ends a measurement but its requests.
	l.serve(1, 10*time.Millisecond)
	if l.stats.Measuring.Value() != 0 || !slices.Equal(l.agains, []time.Duration{time.Minute}) {
		t.Fatalf("the measurement is not over: %v", l.agains)
	}
	if ms := l.stats.Minimal.Value(); ms < 9 || ms > 10 {
		t.Errorf("minimal latency %d ms", ms)
	}
	// As fast as ever: the limit rises to its maximum.
	for range 40 {
		l.serve(int(l.limit.Load()), 10*time.Millisecond)
		l.update()
	}
	if n := l.limit.Load(); n != 1000 {
		t.Errorf("limit %d after 40 good windows", n)
	}
	// Four times as slow: it falls by half, and what it lets burst, at each window.
	l.serve(1000, 40*time.Millisecond)
	l.update()
	if n := l.limit.Load(); n != 500+22 {
		t.Errorf("limit %d after a slow window", n)
	}
	if l.stats.Gradient.Value() != 500 || l.stats.Burst.Value() != 22 {
		t.Errorf("gradient %d, burst %d", l.stats.Gradient.Value(), l.stats.Burst.Value())
	}
	for range 40 {
		l.serve(1, time.Second)
		l.update()
	}
	if n := l.limit.Load(); n != 3 {
		t.Errorf("limit %d after 40 slow windows", n)
	}
	if len(l.agains) < 2 || l.agains[1] != 0 {
		t.Errorf("a limit that stays at its minimum does not have the minimal latency measured: %v", l.agains)
	}
	if n := l.outstanding.Load(); n != 0 {
		t.Errorf("%d outstanding at rest", n)
	}
	before := l.limit.Load()
	l.update() // A window without requests changes nothing.
	if l.limit.Load() != before {
		t.Error("the limit moved by itself")
	}
}

// TestOldSamples: requests from before a measurement do not count in it.
func TestOldSamples(t *testing.T) {
	l := newLab(standard)
	begun := l.now
	if !l.begin() {
		t.Fatal("refused")
	}
	l.now += int64(time.Second)
	l.measure(l.now)
	l.done(0, begun, l.now)
	if n := l.missing.Load(); n != 10 {
		t.Errorf("%d samples are missing, not 10", n)
	}
	l.measure(l.now) // One at a time.
	if l.before != 3 {
		t.Errorf("the limit to go on with is %d", l.before)
	}
}

func TestFixed(t *testing.T) {
	s := standard
	s.interval, s.fixed = 0, 20*time.Millisecond
	l := newLab(s)
	if l.stats.Minimal.Value() != 20 {
		t.Errorf("%d ms", l.stats.Minimal.Value())
	}
	for range 10 {
		l.serve(3, time.Second)
		l.update()
	}
	if len(l.agains) > 0 {
		t.Error("a fixed minimal latency is measured")
	}
	for range 40 {
		l.serve(3, 10*time.Millisecond)
		l.update()
	}
	if n := l.limit.Load(); n != 1000 {
		t.Errorf("limit %d", n)
	}
}

const one = `{"gradient_controller_config":{"concurrency_limit_params":{"concurrency_update_interval":"3600s"},"min_rtt_calc_params":{"interval":"3600s","min_concurrency":1}},"enabled":{"default_value":true,"runtime_key":"on"}`

func TestRefusal(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), one+`,"concurrency_limit_exceeded_status":{"code":429}}`)
	answer, called := make(chan struct{}), make(chan struct{})
	first := rig.Start(streamtest.Request{Body: streamtest.Pieces("x")}, streamtest.Upstream{After: answer, OnPiece: func(string) { close(called) }})
	<-called
	res := rig.Run(streamtest.Request{}, streamtest.Upstream{})
	if res.Called || res.Status != 429 || res.Body != "reached concurrency limit" || res.Info.StatusDetails != "reached_concurrency_limit" {
		t.Errorf("%+v", res)
	}
	rig.SetRuntime(map[string]string{"on": "false"})
	if res := rig.Run(streamtest.Request{}, streamtest.Upstream{}); res.Status != 200 {
		t.Errorf("switched off: %+v", res)
	}
	rig.SetRuntime(map[string]string{"on": ""})
	close(answer)
	if res := first.Wait(); res.Status != 200 {
		t.Errorf("%+v", res)
	}
	// However requests end, their place is free again.
	for _, up := range []streamtest.Upstream{{}, {Status: 500}, {Err: errors.New("gone")}, {}} {
		if res := rig.Run(streamtest.Request{}, up); res.Status == 429 {
			t.Errorf("%+v", res)
		}
	}
	if n := rig.Counter("http.test.adaptive_concurrency.gradient_controller.rq_blocked"); n != 1 {
		t.Errorf("%d blocked", n)
	}
}

func TestBadConfig(t *testing.T) {
	rig := streamtest.New(t)
	config := func(limits, rtt string) string {
		return `{"gradient_controller_config":{"concurrency_limit_params":{` + limits + `},"min_rtt_calc_params":{` + rtt + `}}}`
	}
	for config, want := range map[string]string{
		`{}`: "ConcurrencyControllerConfig",
		config(`"concurrency_update_interval":"0.0001s"`, `"interval":"1s"`):                      "concurrency_update_interval",
		config(`"concurrency_update_interval":"1s"`, ``):                                          "neither interval nor fixed_value",
		config(`"concurrency_update_interval":"1s"`, `"interval":"1s","fixed_value":"1s"`):        "contradict",
		config(`"concurrency_update_interval":"1s","max_concurrency_limit":2`, `"interval":"1s"`): "no less than 3 and no more than 2",
		config(`"concurrency_update_interval":"1s"`, `"interval":"1s","min_concurrency":0`):       "MinConcurrency",
	} {
		if _, err := rig.Compile(Extension(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func TestAllocations(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), one+"}")
	if n := rig.Allocs(streamtest.Request{}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
