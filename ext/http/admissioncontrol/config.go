// SPDX-License-Identifier: Apache-2.0

package admissioncontrol

import (
	"fmt"
	"math"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	admissioncontrolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.admission_control"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{Name: Name, Config: &admissioncontrolv3.AdmissionControl{}, New: newFilter}
}

// Envoy's defaults, and its longest window that can be kept here, in seconds.
const (
	defaultWindow     = 30
	defaultAggression = 1
	defaultThreshold  = 95
	defaultMaximum    = 80
	maxWindow         = 3600
)

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*admissioncontrolv3.AdmissionControl)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not an AdmissionControl", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	seconds, err := window(m.GetSamplingWindow())
	if err != nil {
		return nil, err
	}
	judge, err := compileCriteria(m.GetSuccessCriteria())
	if err != nil {
		return nil, fmt.Errorf("success_criteria.%w", err)
	}
	f := &Filter{
		slot: c.Slot, runtime: c.Runtime, criteria: judge,
		enabled:    match.CompileRuntimeFlag(m.GetEnabled()),
		aggression: match.RuntimeNumber{Default: defaultAggression},
		threshold:  percent(m.GetSrThreshold(), defaultThreshold),
		maximum:    percent(m.GetMaxRejectionProbability(), defaultMaximum),
		rps:        match.RuntimeNumber{Default: float64(m.GetRpsThreshold().GetDefaultValue()), Key: m.GetRpsThreshold().GetRuntimeKey()},
		windows:    make([]Window, len(c.Loops)),
		stats:      stats.Register[Stats](c.Scope.Scope("admission_control"), len(c.Loops)),
	}
	if a := m.GetAggression(); a != nil {
		f.aggression = match.RuntimeNumber{Default: a.GetDefaultValue(), Key: a.GetRuntimeKey()}
	}
	for i := range f.windows {
		f.windows[i].Init(seconds)
	}
	if c.Own != nil {
		c.Own(f.stats.Close)
	}
	return f, nil
}

// window returns how many seconds are looked back, rounded as Envoy does.
func window(d *durationpb.Duration) (int, error) {
	if d == nil {
		return defaultWindow, nil
	}
	n := d.AsDuration().Round(time.Second)
	if n < time.Second || n > maxWindow*time.Second {
		return 0, fmt.Errorf("sampling_window: %s: it must be from 1s to %ds", d.AsDuration(), maxWindow)
	}
	return int(n / time.Second), nil
}

func percent(p *corev3.RuntimePercent, def float64) match.RuntimeNumber {
	if p == nil {
		return match.RuntimeNumber{Default: def}
	}
	return match.RuntimeNumber{Default: p.GetDefaultValue().GetValue(), Key: p.GetRuntimeKey()}
}

func compileCriteria(m *admissioncontrolv3.AdmissionControl_SuccessCriteria) (criteria, error) {
	out := criteria{http: []span{{math.MinInt32, 500}}, grpc: defaultGRPC}
	if h := m.GetHttpCriteria(); h != nil {
		out.http = nil
		for i, r := range h.GetHttpSuccessStatus() {
			// Envoy takes no other: a range is half open.
			if r.GetStart() < 100 || r.GetEnd() > 600 || r.GetStart() >= r.GetEnd() {
				return out, fmt.Errorf("http_criteria.http_success_status[%d]: [%d, %d) is no range of statuses: start at 100 or above, end at 600 or below, and above the start", i, r.GetStart(), r.GetEnd())
			}
			out.http = append(out.http, span{r.GetStart(), r.GetEnd()})
		}
	}
	if g := m.GetGrpcCriteria(); g != nil {
		out.grpc = 0
		for i, code := range g.GetGrpcSuccessStatus() {
			if code > 16 {
				return out, fmt.Errorf("grpc_criteria.grpc_success_status[%d]: gRPC has no status %d: the last is 16", i, code)
			}
			out.grpc |= 1 << code
		}
	}
	return out, nil
}
