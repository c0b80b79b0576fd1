// SPDX-License-Identifier: Apache-2.0

package adaptiveconcurrency

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.adaptive_concurrency"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{Name: Name, Config: &adaptivev3.AdaptiveConcurrency{}, New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*adaptivev3.AdaptiveConcurrency)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not an AdaptiveConcurrency", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	settings, err := compile(m.GetGradientControllerConfig())
	if err != nil {
		return nil, fmt.Errorf("gradient_controller_config.%w", err)
	}
	f := &Filter{
		slot: c.Slot, runtime: c.Runtime, enabled: match.CompileRuntimeFlag(m.GetEnabled()),
		status: http.StatusServiceUnavailable,
		stats:  stats.Register[Stats](c.Scope.Scope("adaptive_concurrency.gradient_controller"), len(c.Loops)),
	}
	if code := int(m.GetConcurrencyLimitExceededStatus().GetCode()); code >= 400 {
		f.status = code
	}
	f.controller = newController(settings, len(c.Loops), f.stats.At(0))
	stop := func() {}
	if len(c.Loops) > 0 {
		stop = f.controller.run(c.Loops[0])
	}
	if c.Own != nil {
		c.Own(func() {
			stop()
			f.stats.Close()
		})
	}
	return f, nil
}

// Envoy's defaults.
const (
	defaultPercentile = 50
	defaultMaximum    = 1000
	defaultRequests   = 50
	defaultJitter     = 15
	defaultMinimum    = 3
	defaultBuffer     = 25
)

func compile(m *adaptivev3.GradientControllerConfig) (settings, error) {
	limits, rtt := m.GetConcurrencyLimitParams(), m.GetMinRttCalcParams()
	s := settings{
		percentile: percent(m.GetSampleAggregatePercentile(), defaultPercentile),
		max:        number(limits.GetMaxConcurrencyLimit(), defaultMaximum),
		update:     limits.GetConcurrencyUpdateInterval().AsDuration(),
		interval:   rtt.GetInterval().AsDuration(),
		fixed:      rtt.GetFixedValue().AsDuration(),
		requests:   number(rtt.GetRequestCount(), defaultRequests),
		jitter:     percent(rtt.GetJitter(), defaultJitter),
		measuring:  number(rtt.GetMinConcurrency(), defaultMinimum),
		buffer:     percent(rtt.GetBuffer(), defaultBuffer),
	}
	s.min = number(limits.GetMinConcurrencyLimit(), uint32(s.measuring))
	switch {
	case s.update < time.Millisecond:
		return s, errors.New("concurrency_limit_params.concurrency_update_interval: set it to 1ms or more")
	case s.interval == 0 && s.fixed == 0:
		return s, errors.New("min_rtt_calc_params: neither interval nor fixed_value is set: set interval to have the minimal latency measured, or fixed_value to tell it")
	case s.interval != 0 && s.interval < time.Millisecond:
		return s, errors.New("min_rtt_calc_params.interval: set it to 1ms or more, or leave it out and set fixed_value")
	case s.interval != 0 && s.fixed != 0:
		return s, errors.New("min_rtt_calc_params: interval and fixed_value contradict each other: leave out interval to have the fixed value count")
	case s.min > s.max:
		return s, fmt.Errorf("concurrency_limit_params: the limit can be no less than %d and no more than %d: raise max_concurrency_limit, or lower min_concurrency_limit (min_concurrency if that is not set)", s.min, s.max)
	}
	return s, nil
}

func percent(p *typev3.Percent, def float64) float64 {
	if p != nil {
		def = p.GetValue()
	}
	return def / 100
}

func number(v *wrapperspb.UInt32Value, def uint32) int64 {
	if v != nil {
		def = v.GetValue()
	}
	return int64(def)
}
