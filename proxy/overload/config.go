// SPDX-License-Identifier: Apache-2.0

package overload

import (
	_ "embed"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/internal/suggest"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Context is what compiling needs of its surroundings.
type Context struct {
	// Monitor compiles the configuration of a resource monitor.
	Monitor func(name string, cfg *anypb.Any) (Maker, error)
	// Sources are what monitors measure by.
	Sources *Sources
	Stats   *stats.Store
	Log     *slog.Logger
	// Trim has others give up memory that they keep for use again.
	Trim func()
}

const (
	// defaultRefresh is how often resources are measured.
	defaultRefresh = time.Second
	// shrinkInterval and unfreedMost are what ShrinkHeapConfig has by default.
	shrinkInterval = 10 * time.Second
	unfreedMost    = 100 << 20
)

// Compile makes a manager, which does not measure yet, and returns all that is wrong with
// its configuration; paths begin with path.
func Compile(m *overloadv3.OverloadManager, path string, c *Context) (*Manager, []xds.Problem) {
	k := &compiler{Context: c, scope: c.Stats.Scope("overload")}
	k.problems = supported.Check(m, path)
	k.manager = &Manager{interval: defaultRefresh, log: c.Log, delay: k.scope.Histogram("refresh_interval_delay", stats.Milliseconds)}
	if d := m.GetRefreshInterval(); d != nil {
		if k.manager.interval = d.AsDuration(); k.manager.interval < time.Millisecond {
			k.fail(path+".refresh_interval", fmt.Sprintf("%v is too short", k.manager.interval), "use 1ms or more; 1s is the default")
			k.manager.interval = defaultRefresh
		}
	}
	for i, r := range m.GetResourceMonitors() {
		k.resource(r, fmt.Sprintf("%s.resource_monitors[%d]", path, i))
	}
	k.buffers(m.GetBufferFactoryConfig(), path+".buffer_factory_config")
	for i, a := range m.GetActions() {
		k.action(a, fmt.Sprintf("%s.actions[%d]", path, i))
	}
	for i, p := range m.GetLoadshedPoints() {
		k.point(p, fmt.Sprintf("%s.loadshed_points[%d]", path, i))
	}
	return k.manager, k.problems
}

type compiler struct {
	*Context
	manager  *Manager
	scope    *stats.Scope
	problems []xds.Problem
}

func (k *compiler) fail(path, reason, remedy string) {
	k.problems = append(k.problems, xds.Problem{Severity: xds.Error, Path: path, Reason: reason, Remedy: remedy})
}

func (k *compiler) resource(m *overloadv3.ResourceMonitor, path string) {
	name := m.GetName()
	switch {
	case name == "":
		k.fail(path+".name", "is empty", "name the resource, as triggers are to")
		return
	case k.find(name) != nil:
		k.fail(path+".name", fmt.Sprintf("there are two resource monitors called %q", name), "rename one")
		return
	}
	made, err := k.Monitor(name, m.GetTypedConfig())
	if err != nil {
		k.fail(path, err.Error(), "")
		return
	}
	monitor, err := made(k.Sources)
	if err != nil {
		k.fail(path+".typed_config", err.Error(), "")
		return
	}
	if l, ok := monitor.(Limiter); ok {
		if k.manager.limiter != nil {
			k.fail(path, "another monitor limits the connections already", "remove one")
		}
		k.manager.limiter = l
	}
	s := k.scope.Scope(name)
	k.manager.resources = append(k.manager.resources, &resource{
		name: name, monitor: monitor, pressure: s.Gauge("pressure"), failed: s.Counter("failed_updates"), skipped: s.Counter("skipped_updates"),
	})
}

func (k *compiler) find(resource string) *resource {
	for _, r := range k.manager.resources {
		if r.name == resource {
			return r
		}
	}
	return nil
}

func (k *compiler) buffers(m *overloadv3.BufferFactoryConfig, path string) {
	if m == nil {
		return
	}
	p := m.GetMinimumAccountToTrackPowerOfTwo()
	if p < 10 || p > 56 {
		k.fail(path+".minimum_account_to_track_power_of_two", fmt.Sprintf("%d is not from 10 to 56", p), "20 tracks streams from 1 MiB")
		return
	}
	k.manager.classes = &Classes{least: uint(p)}
}

// gate compiles what actions and load shed points have in common; nil if the name is not
// taken.
func (k *compiler) gate(name string, triggers []*overloadv3.Trigger, what, path string, known known) *gate {
	if why, ok := known[name]; !ok || why != "" {
		k.unknown(name, why, what, path+".name", known)
		return nil
	}
	return k.named(name, triggers, what, path)
}

// named is gate for a name that may be any.
func (k *compiler) named(name string, triggers []*overloadv3.Trigger, what, path string) *gate {
	if find(k.manager.actions, name) != nil || find(k.manager.points, name) != nil {
		k.fail(path+".name", fmt.Sprintf("%q is there twice", name), "put the triggers of both into one")
		return nil
	}
	s := k.scope.Scope(name)
	g := &gate{name: name, percent: s.Gauge("scale_percent")}
	g.percent.Set(0)
	if len(triggers) == 0 {
		k.fail(path+".triggers", "there are none, so that nothing would ever cause the "+what, "add one, or remove the "+what)
	}
	for i, t := range triggers {
		k.trigger(g, t, fmt.Sprintf("%s.triggers[%d]", path, i))
	}
	return g
}

func (k *compiler) unknown(name, why, what, path string, known known) {
	if why != "" {
		k.fail(path, fmt.Sprintf("%s is not supported: %s", name, why), "")
		return
	}
	var names []string
	for n, why := range known {
		if why == "" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	remedy := "there are " + strings.Join(names, ", ")
	if near, ok := suggest.Nearest(name, maps.Keys(known)); ok {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	k.fail(path, fmt.Sprintf("there is no %s %q", what, name), remedy)
}

func (k *compiler) trigger(g *gate, m *overloadv3.Trigger, path string) {
	r := k.find(m.GetName())
	if r == nil {
		k.fail(path+".name", fmt.Sprintf("there is no resource monitor called %q", m.GetName()), "name one of resource_monitors")
		return
	}
	if slices.ContainsFunc(g.triggers, func(t trigger) bool { return t.resource == r }) {
		k.fail(path+".name", fmt.Sprintf("there is a second trigger for %q", m.GetName()), "remove one")
		return
	}
	t := trigger{resource: r}
	switch o := m.GetTriggerOneof().(type) {
	case *overloadv3.Trigger_Threshold:
		t.to = k.share(o.Threshold.GetValue(), path+".threshold.value")
		t.from = t.to
	case *overloadv3.Trigger_Scaled:
		t.from = k.share(o.Scaled.GetScalingThreshold(), path+".scaled.scaling_threshold")
		t.to = k.share(o.Scaled.GetSaturationThreshold(), path+".scaled.saturation_threshold")
		if t.from >= t.to {
			k.fail(path+".scaled", "scaling_threshold is not below saturation_threshold", "raise saturation_threshold, or use threshold")
		}
	default:
		k.fail(path, "neither threshold nor scaled is set", "set one")
	}
	g.triggers = append(g.triggers, t)
}

func (k *compiler) share(v float64, path string) float64 {
	if !(v >= 0 && v <= 1) {
		k.fail(path, fmt.Sprintf("%v is not from 0 to 1", v), "0.95 is 95 % of the resource")
	}
	return v
}

func (k *compiler) action(m *overloadv3.OverloadAction, path string) {
	name, cfg := m.GetName(), m.GetTypedConfig()
	scaling := &overloadv3.ScaleTimersOverloadActionConfig{}
	reduces := name == ReduceTimeouts || cfg.MessageIs(scaling) && custom(name)
	var g *gate
	if reduces {
		g = k.named(name, m.GetTriggers(), "action", path)
	} else {
		g = k.gate(name, m.GetTriggers(), "action", path, knownActions)
	}
	if g == nil {
		return
	}
	g.active = k.scope.Scope(name).Gauge("active")
	g.active.Set(0)
	k.manager.actions = append(k.manager.actions, g)
	switch at := path + ".typed_config"; {
	case reduces:
		k.reduce(g, cfg, scaling, at)
	case name == ShrinkHeap:
		k.shrinkHeap(g, cfg, at)
	case cfg != nil:
		k.fail(at, "the action takes no configuration", "remove it")
	case name == ResetHighMemoryStream && k.manager.classes == nil:
		k.fail(path, "nothing tells which streams hold much memory", "set buffer_factory_config.minimum_account_to_track_power_of_two")
	}
}

// custom reports whether an action of this name is one more reduce_timeouts, with triggers
// of its own, if it is configured as one: any name that is not Envoy's.
func custom(name string) bool {
	return name != "" && !strings.HasPrefix(name, "envoy.overload_actions.")
}

// decode reads the configuration of an action.
func (k *compiler) decode(cfg *anypb.Any, into proto.Message, path string) bool {
	if cfg == nil {
		k.fail(path, "is missing", "set a "+string(proto.MessageName(into)))
		return false
	}
	if err := cfg.UnmarshalTo(into); err != nil {
		k.fail(path, err.Error(), "use a "+string(proto.MessageName(into)))
		return false
	}
	k.problems = append(k.problems, supported.Check(into, path)...)
	return true
}

func (k *compiler) reduce(g *gate, cfg *anypb.Any, m *overloadv3.ScaleTimersOverloadActionConfig, path string) {
	if !k.decode(cfg, m, path) {
		return
	}
	if len(m.GetTimerScaleFactors()) == 0 {
		k.fail(path+".timer_scale_factors", "there are none, so that nothing would become shorter", "add one")
	}
	k.manager.reducing = append(k.manager.reducing, g)
	seen := map[Timer]bool{}
	for i, f := range m.GetTimerScaleFactors() {
		at := fmt.Sprintf("%s.timer_scale_factors[%d]", path, i)
		t, why := timerOf(f.GetTimer())
		if why != "" {
			k.fail(at+".timer", fmt.Sprintf("%s cannot be shortened", f.GetTimer()), why)
			continue
		}
		if seen[t] {
			k.fail(at+".timer", fmt.Sprintf("%s is there twice", f.GetTimer()), "remove one")
		}
		seen[t] = true
		r := reduction{level: &g.level}
		switch o := f.GetOverloadAdjust().(type) {
		case *overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer_MinTimeout:
			if r.least = int64(o.MinTimeout.AsDuration()); r.least < 0 {
				k.fail(at+".min_timeout", "is negative", "use 0s or more")
			}
		case *overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer_MinScale:
			r.shares, r.share = true, o.MinScale.GetValue()/100
			if !(r.share >= 0 && r.share <= 1) {
				k.fail(at+".min_scale.value", fmt.Sprintf("%v is not from 0 to 100", o.MinScale.GetValue()), "")
			}
		default:
			k.fail(at, "neither min_timeout nor min_scale is set", "set one")
		}
		if k.manager.timeouts[t] == nil {
			k.manager.timeouts[t] = &Timeout{}
		}
		k.manager.timeouts[t].by = append(k.manager.timeouts[t].by, r)
	}
}

func timerOf(t overloadv3.ScaleTimersOverloadActionConfig_TimerType) (timer Timer, why string) {
	switch t {
	case overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_IDLE:
		return ConnectionIdle, ""
	case overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_STREAM_IDLE:
		return StreamIdle, ""
	case overloadv3.ScaleTimersOverloadActionConfig_TRANSPORT_SOCKET_CONNECT:
		return TransportConnect, ""
	case overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_MAX:
		return ConnectionMax, ""
	case overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_STREAM_FLUSH:
		return 0, "HTTP_DOWNSTREAM_STREAM_IDLE bounds the sending of a response, too: use it"
	}
	return 0, "name one of the timers"
}

func (k *compiler) shrinkHeap(g *gate, cfg *anypb.Any, path string) {
	m := &overloadv3.ShrinkHeapConfig{}
	if cfg != nil && !k.decode(cfg, m, path) {
		return
	}
	s := &shrinker{
		level: &g.level, interval: shrinkInterval, most: unfreedMost, trim: k.Trim, free: freeMemory, release: releaseMemory,
		count: k.scope.Scope(g.name).Counter("shrink_count"),
	}
	if d := m.GetTimerInterval(); d != nil {
		if s.interval = d.AsDuration(); s.interval < time.Millisecond {
			k.fail(path+".timer_interval", fmt.Sprintf("%v is too short", s.interval), "10s is the default")
			s.interval = shrinkInterval
		}
	}
	if n := m.GetMaxUnfreedMemoryBytes(); n != nil {
		s.most = n.GetValue()
	}
	k.manager.shrink = s
}

func (k *compiler) point(m *overloadv3.LoadShedPoint, path string) {
	g := k.gate(m.GetName(), m.GetTriggers(), "load shed point", path, knownPoints)
	if g == nil {
		return
	}
	g.level.sheds = k.scope.Scope(m.GetName()).Counter("shed_load_count")
	k.manager.points = append(k.manager.points, g)
}
