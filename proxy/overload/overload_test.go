// SPDX-License-Identifier: Apache-2.0

package overload

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &overloadv3.OverloadManager{}, &overloadv3.ResourceMonitor{}, &overloadv3.OverloadAction{},
		&overloadv3.LoadShedPoint{}, &overloadv3.Trigger{}, &overloadv3.BufferFactoryConfig{},
		&overloadv3.ScaleTimersOverloadActionConfig{}, &overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer{}, &overloadv3.ShrinkHeapConfig{})
}

// gauge is a resource whose pressure the test sets.
type gauge struct {
	mu       sync.Mutex
	pressure float64
	err      error
	block    chan struct{} // if set, measuring waits for it
}

func (g *gauge) Pressure() (float64, error) {
	g.mu.Lock()
	block := g.block
	g.mu.Unlock()
	if block != nil {
		<-block
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pressure, g.err
}

func (g *gauge) set(pressure float64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pressure, g.err = pressure, err
}

// manager is one whose resources are gauges, by name.
type manager struct {
	*Manager
	gauges map[string]*gauge
	stats  *stats.Store
	log    bytes.Buffer
	trims  atomic.Int32
}

func compile(t *testing.T, json string) (*manager, []xds.Problem) {
	t.Helper()
	p := &overloadv3.OverloadManager{}
	if err := protojson.Unmarshal([]byte(json), p); err != nil {
		t.Fatal(err)
	}
	m := &manager{gauges: map[string]*gauge{}, stats: stats.NewStore()}
	var problems []xds.Problem
	m.Manager, problems = Compile(p, "om", &Context{
		Monitor: func(name string, _ *anypb.Any) (Maker, error) {
			if name == "bad" {
				return nil, errors.New("typed_config: is bad")
			}
			return func(*Sources) (Monitor, error) {
				m.gauges[name] = &gauge{}
				return m.gauges[name], nil
			}, nil
		},
		Stats: m.stats, Log: slog.New(slog.NewTextHandler(&m.log, nil)), Trim: func() { m.trims.Add(1) },
	})
	return m, problems
}

func (m *manager) stat(t *testing.T, name string) string {
	t.Helper()
	var b bytes.Buffer
	if err := m.stats.WriteText(&b, stats.Options{}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

const two = `{"refresh_interval":"0.25s","resource_monitors":[{"name":"heap"},{"name":"cpu"}],
	"actions":[{"name":"envoy.overload_actions.stop_accepting_requests","triggers":[
		{"name":"heap","scaled":{"scaling_threshold":0.8,"saturation_threshold":0.9}},{"name":"cpu","threshold":{"value":0.95}}]}],
	"loadshed_points":[{"name":"envoy.load_shed_points.tcp_listener_accept","triggers":[{"name":"heap","threshold":{"value":0.9}}]}]}`

func TestManager(t *testing.T) {
	m, problems := compile(t, two)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	synctest.Test(t, func(t *testing.T) {
		var levels []float64
		m.OnChange(StopAcceptingRequests, func(v float64) { levels = append(levels, v) })
		active := 0
		m.WhileActive(StopAcceptingRequests, func(float64) { active++ })
		m.Start()
		defer m.Close()
		requests, accept := m.Action(StopAcceptingRequests), m.Point(AcceptTCP)
		const action, point = "overload.envoy.overload_actions.stop_accepting_requests.", "overload.envoy.load_shed_points.tcp_listener_accept."
		for _, step := range []struct {
			heap, cpu       float64
			level           float64
			active, percent string
			sheds           bool
		}{
			{0.5, 0.5, 0, "0", "0", false},
			{0.8, 0.5, 0, "0", "0", false},
			{0.85, 0.5, 0.5, "0", "49", false}, // 0.5 is not quite reached in binary.
			{0.9, 0.5, 1, "1", "100", true},
			{0.5, 0.95, 1, "1", "100", false},
			{0.5, 0.9, 0, "0", "0", false},
		} {
			m.gauges["heap"].set(step.heap, nil)
			m.gauges["cpu"].set(step.cpu, nil)
			time.Sleep(250 * time.Millisecond)
			synctest.Wait()
			if got := requests.Value(); math.Abs(got-step.level) > 1e-6 {
				t.Errorf("at %v and %v the level is %v, want %v", step.heap, step.cpu, got, step.level)
			}
			if got := m.stat(t, action+"active"); got != step.active {
				t.Errorf("at %v and %v active is %s, want %s", step.heap, step.cpu, got, step.active)
			}
			if got := m.stat(t, action+"scale_percent"); got != step.percent {
				t.Errorf("at %v and %v scale_percent is %s, want %s", step.heap, step.cpu, got, step.percent)
			}
			if got := accept.Hits(); got != step.sheds {
				t.Errorf("at %v and %v the load shed point is %v", step.heap, step.cpu, got)
			}
		}
		if n := len(levels); n < 3 || levels[0] >= 1 || levels[n-1] != 0 {
			t.Errorf("levels %v were told", levels)
		}
		if active == 0 {
			t.Error("nothing was done while the action was on")
		}
		if got := m.stat(t, point+"shed_load_count"); got != "1" {
			t.Errorf("shed_load_count is %s, want 1", got)
		}
		if got := m.stat(t, "overload.heap.pressure"); got != "50" {
			t.Errorf("pressure is %s, want 50", got)
		}
		if h := m.delay; h == nil {
			t.Error("there is no refresh_interval_delay")
		}
	})
	if !strings.Contains(m.log.String(), "overloaded: an action is on") {
		t.Errorf("the log does not tell of the action:\n%s", m.log.String())
	}
}

// TestMeasuring has a monitor fail, and one that does not come back in time.
func TestMeasuring(t *testing.T) {
	m, _ := compile(t, two)
	synctest.Test(t, func(t *testing.T) {
		m.Start()
		defer m.Close()
		heap, cpu := m.gauges["heap"], m.gauges["cpu"]
		heap.set(0.9, nil)
		time.Sleep(260 * time.Millisecond)
		heap.set(0, errors.New("no such file"))
		cpu.set(math.NaN(), nil)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if !m.Action(StopAcceptingRequests).Saturated() {
			t.Error("the last pressure does not go on")
		}
		for name, want := range map[string]string{"heap": "2", "cpu": "2"} {
			if got := m.stat(t, "overload."+name+".failed_updates"); got != want {
				t.Errorf("%s: failed_updates is %s, want %s", name, got, want)
			}
		}
		block := make(chan struct{})
		heap.mu.Lock()
		heap.block, heap.err, heap.pressure = block, nil, 0.1
		heap.mu.Unlock()
		cpu.set(0.1, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := m.stat(t, "overload.heap.skipped_updates"); got != "3" {
			t.Errorf("skipped_updates is %s, want 3", got)
		}
		if got := m.stat(t, "overload.cpu.pressure"); got != "10" {
			t.Errorf("the other resource is not measured meanwhile: %s", got)
		}
		close(block)
		synctest.Wait()
		if m.Action(StopAcceptingRequests).Saturated() {
			t.Error("the late measurement is not taken")
		}
	})
	if n := strings.Count(m.log.String(), "cannot be measured"); n != 2 {
		t.Errorf("the log tells %d times that a resource cannot be measured, want once for each:\n%s", n, m.log.String())
	}
}

func TestLevel(t *testing.T) {
	var none *Level
	if none.Hits() || none.Saturated() || none.Value() != 0 {
		t.Error("a level that is not there does something")
	}
	var l Level
	for _, want := range []float64{0, 0.25, 1} {
		l.Set(want)
		hits := 0
		for range 10000 {
			if l.Hits() {
				hits++
			}
		}
		if got := float64(hits) / 10000; math.Abs(got-want) > 0.03 {
			t.Errorf("at %v a share of %v hits", want, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { l.Hits() }); n != 0 {
		t.Errorf("asking allocates %v times", n)
	}
}

func TestTimeout(t *testing.T) {
	m, problems := compile(t, `{"resource_monitors":[{"name":"heap"}],"actions":[
		{"name":"envoy.overload_actions.reduce_timeouts","triggers":[{"name":"heap","threshold":{"value":1}}],
		 "typed_config":{"@type":"type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig","timer_scale_factors":[
			{"timer":"HTTP_DOWNSTREAM_CONNECTION_IDLE","min_timeout":"2s"},{"timer":"HTTP_DOWNSTREAM_STREAM_IDLE","min_scale":{"value":10}}]}},
		{"name":"mine","triggers":[{"name":"heap","threshold":{"value":1}}],
		 "typed_config":{"@type":"type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig","timer_scale_factors":[
			{"timer":"HTTP_DOWNSTREAM_CONNECTION_IDLE","min_timeout":"0s"}]}}]}`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	first, second := m.Action(ReduceTimeouts), m.Action("mine")
	idle, stream := m.Timeout(ConnectionIdle), m.Timeout(StreamIdle)
	of := func(x *Timeout, d time.Duration) time.Duration { return time.Duration(x.Of(int64(d))) }
	tests := []struct {
		first, second float64
		timeout       *Timeout
		limit, want   time.Duration
	}{
		{0, 0, idle, 600 * time.Second, 600 * time.Second},
		{1, 0, idle, 600 * time.Second, 2 * time.Second},
		{0.5, 0, idle, 600 * time.Second, 301 * time.Second},
		{1, 0, idle, time.Second, time.Second}, // Never longer.
		{1, 0, idle, 0, 0},                     // No limit stays none.
		{0.5, 1, idle, 600 * time.Second, 1},   // The shortest of two; 0 would be no limit.
		{1, 0, stream, 600 * time.Second, 60 * time.Second},
		{1, 1, nil, 600 * time.Second, 600 * time.Second},
	}
	for _, c := range tests {
		first.Set(c.first)
		second.Set(c.second)
		if got := of(c.timeout, c.limit); got.Round(time.Millisecond) != c.want.Round(time.Millisecond) || (got == 0) != (c.want == 0) {
			t.Errorf("at %v and %v a limit of %v becomes %v, want %v", c.first, c.second, c.limit, got, c.want)
		}
	}
	if m.Timeout(TransportConnect) != nil {
		t.Error("what is not configured is shortened")
	}
}

func TestClasses(t *testing.T) {
	c := &Classes{least: 20}
	const mib = 1 << 20
	for n, want := range map[uint64]int{0: -1, mib - 1: -1, mib: 0, 2*mib - 1: 0, 2 * mib: 1, 127 * mib: 6, 128 * mib: 7, 4096 * mib: 7} {
		if got := c.Of(n); got != want {
			t.Errorf("%d bytes are of class %d, want %d", n, got, want)
		}
	}
	for level, want := range map[float64]int{0.01: 7, 0.125: 6, 0.3: 5, 0.99: 0, 1: 0} {
		if got := c.From(level); got != want {
			t.Errorf("at %v classes are broken off from %d, want %d", level, got, want)
		}
	}
}

func TestShrinkHeap(t *testing.T) {
	m, problems := compile(t, `{"resource_monitors":[{"name":"heap"}],"actions":[
		{"name":"envoy.overload_actions.shrink_heap","triggers":[{"name":"heap","scaled":{"scaling_threshold":0.5,"saturation_threshold":0.9}}],
		 "typed_config":{"@type":"type.googleapis.com/envoy.config.overload.v3.ShrinkHeapConfig","timer_interval":"2s","max_unfreed_memory_bytes":"1000"}}]}`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		var released atomic.Int32
		free.Store(1001)
		m.shrink.free, m.shrink.release = free.Load, func() { released.Add(1) }
		m.gauges["heap"].set(0.8, nil)
		m.Start()
		defer m.Close()
		time.Sleep(4500 * time.Millisecond)
		if released.Load() != 0 {
			t.Error("memory was released before the action was saturated")
		}
		m.gauges["heap"].set(0.9, nil)
		time.Sleep(4 * time.Second)
		if released.Load() != 2 || m.trims.Load() != 2 || m.stat(t, "overload.envoy.overload_actions.shrink_heap.shrink_count") != "2" {
			t.Errorf("released %d times, and loops trimmed %d times, in two intervals", released.Load(), m.trims.Load())
		}
		free.Store(1000)
		time.Sleep(2 * time.Second)
		if released.Load() != 2 {
			t.Error("memory was released though there is little")
		}
	})
	if n := freeMemory(); n == 0 {
		t.Error("Go's heap has no free memory at all")
	}
}

func TestRefused(t *testing.T) {
	const monitors = `"resource_monitors":[{"name":"heap"}],`
	const action, scale = `"name":"envoy.overload_actions.`, `"@type":"type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig"`
	const triggers = `"triggers":[{"name":"heap","threshold":{"value":0.9}}]`
	tests := []struct{ name, json, want string }{
		{"interval", `{"refresh_interval":"0s"}`, "om.refresh_interval: 0s is too short (use 1ms or more; 1s is the default)"},
		{"no name", `{"resource_monitors":[{}]}`, "om.resource_monitors[0].name: is empty"},
		{"two of a name", `{"resource_monitors":[{"name":"a"},{"name":"a"}]}`, `om.resource_monitors[1].name: there are two resource monitors called "a"`},
		{"bad monitor", `{"resource_monitors":[{"name":"bad"}]}`, "om.resource_monitors[0]: typed_config: is bad"},
		{"unknown action", `{` + monitors + `"actions":[{` + action + `stop_accepting_request",` + triggers + `}]}`, `did you mean "envoy.overload_actions.stop_accepting_requests"?`},
		{"HTTP/3 action", `{` + monitors + `"actions":[{` + action + `close_idle_http_connections",` + triggers + `}]}`, "HTTP/3, which is not served"},
		{"twice", `{` + monitors + `"actions":[{` + action + `shrink_heap",` + triggers + `},{` + action + `shrink_heap",` + triggers + `}]}`, "om.actions[1].name"},
		{"no trigger", `{` + monitors + `"actions":[{` + action + `shrink_heap"}]}`, "om.actions[0].triggers: there are none"},
		{"unknown resource", `{` + monitors + `"actions":[{` + action + `shrink_heap","triggers":[{"name":"x","threshold":{}}]}]}`, `no resource monitor called "x"`},
		{"two triggers", `{` + monitors + `"actions":[{` + action + `shrink_heap","triggers":[{"name":"heap","threshold":{}},{"name":"heap","threshold":{}}]}]}`, `om.actions[0].triggers[1].name: there is a second trigger`},
		{"neither", `{` + monitors + `"actions":[{` + action + `shrink_heap","triggers":[{"name":"heap"}]}]}`, "neither threshold nor scaled"},
		{"above 1", `{` + monitors + `"actions":[{` + action + `shrink_heap","triggers":[{"name":"heap","threshold":{"value":95}}]}]}`, "95 is not from 0 to 1"},
		{"order", `{` + monitors + `"actions":[{` + action + `shrink_heap","triggers":[{"name":"heap","scaled":{"scaling_threshold":0.9,"saturation_threshold":0.9}}]}]}`, "is not below"},
		{"configuration", `{` + monitors + `"actions":[{` + action + `stop_accepting_requests",` + triggers + `,"typed_config":{` + scale + `}}]}`, "om.actions[0].typed_config: the action takes no configuration"},
		{"no factors", `{` + monitors + `"actions":[{` + action + `reduce_timeouts",` + triggers + `}]}`, "om.actions[0].typed_config: is missing"},
		{"empty factors", `{` + monitors + `"actions":[{"name":"x",` + triggers + `,"typed_config":{` + scale + `}}]}`, "timer_scale_factors: there are none"},
		{"custom without factors", `{` + monitors + `"actions":[{"name":"x",` + triggers + `}]}`, `there is no action "x"`},
		{"flush", `{` + monitors + `"actions":[{` + action + `reduce_timeouts",` + triggers + `,"typed_config":{` + scale + `,"timer_scale_factors":[{"timer":"HTTP_DOWNSTREAM_STREAM_FLUSH","min_timeout":"1s"}]}}]}`, "HTTP_DOWNSTREAM_STREAM_IDLE"},
		{"timer", `{` + monitors + `"actions":[{` + action + `reduce_timeouts",` + triggers + `,"typed_config":{` + scale + `,"timer_scale_factors":[{"min_timeout":"1s"}]}}]}`, "name one of the timers"},
		{"no least", `{` + monitors + `"actions":[{` + action + `reduce_timeouts",` + triggers + `,"typed_config":{` + scale + `,"timer_scale_factors":[{"timer":"TRANSPORT_SOCKET_CONNECT"}]}}]}`, "neither min_timeout nor min_scale"},
		{"classes", `{"buffer_factory_config":{"minimum_account_to_track_power_of_two":9}}`, "9 is not from 10 to 56"},
		{"no classes", `{` + monitors + `"actions":[{` + action + `reset_high_memory_stream",` + triggers + `}]}`, "set buffer_factory_config"},
		{"unknown point", `{` + monitors + `"loadshed_points":[{"name":"x",` + triggers + `}]}`, `there is no load shed point "x" (there are envoy.load_shed_points.connection_pool_new_connection`},
		{"HTTP/3 point", `{` + monitors + `"loadshed_points":[{"name":"envoy.load_shed_points.http3_server_go_away_on_dispatch",` + triggers + `}]}`, "HTTP/3 is not served"},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			_, problems := compile(t, c.json)
			if err := xds.Err(problems); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestNone: without an overload manager there is nothing to ask.
func TestNone(t *testing.T) {
	var m *Manager
	m.OnChange(ShrinkHeap, nil)
	if _, limited := m.MaxConnections(); m.Action(ShrinkHeap) != nil || m.Point(AcceptTCP) != nil || m.Timeout(ConnectionIdle) != nil || m.Classes() != nil || limited {
		t.Error("a manager that is not there has something")
	}
	m.Close()
}
