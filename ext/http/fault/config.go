// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"fmt"
	"math"

	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.fault"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:   Name,
		Config: &faultv3.HTTPFault{},
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			s, err := compile(cfg)
			if err != nil {
				return nil, err
			}
			scope := c.Scope.Scope("fault")
			return &Filter{
				name: c.Name, slot: c.Slot, own: s, runtime: c.Runtime,
				stats:    stats.Register[Stats](scope, len(c.Loops)),
				clusters: &clusterStats{scope: scope, seen: map[string]bool{}},
			}, nil
		},
		Route: &faultv3.HTTPFault{},
		NewRoute: func(cfg proto.Message, _ *extension.Services) (any, error) {
			return compile(cfg)
		},
	}
}

func compile(cfg proto.Message) (*Settings, error) {
	m, ok := cfg.(*faultv3.HTTPFault)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not an HTTPFault", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	headers, err := match.CompileHeaders(m.GetHeaders())
	if err != nil {
		return nil, fmt.Errorf("headers%w", err)
	}
	s := &Settings{
		delay:     compileDelay(m.GetDelay()),
		abort:     compileAbort(m.GetAbort()),
		rate:      compileRate(m.GetResponseRateLimit()),
		cluster:   m.GetUpstreamCluster(),
		headers:   headers,
		nodes:     m.GetDownstreamNodes(),
		maxActive: math.MaxInt64,
		noStats:   m.GetDisableDownstreamClusterStats(),
		keys: keys{
			delayPercent:  or(m.GetDelayPercentRuntime(), "fault.http.delay.fixed_delay_percent"),
			delayDuration: or(m.GetDelayDurationRuntime(), "fault.http.delay.fixed_duration_ms"),
			abortPercent:  or(m.GetAbortPercentRuntime(), "fault.http.abort.abort_percent"),
			abortStatus:   or(m.GetAbortHttpStatusRuntime(), "fault.http.abort.http_status"),
			abortGRPC:     or(m.GetAbortGrpcStatusRuntime(), "fault.http.abort.grpc_status"),
			maxActive:     or(m.GetMaxActiveFaultsRuntime(), "fault.http.max_active_faults"),
			ratePercent:   or(m.GetResponseRateLimitPercentRuntime(), "fault.http.rate_limit.response_percent"),
		},
	}
	if n := m.GetMaxActiveFaults(); n != nil {
		s.maxActive = int64(n.GetValue())
	}
	if md := m.GetFilterMetadata(); md != nil {
		s.metadata = md.AsMap()
	}
	return s, nil
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func compileDelay(m *commonfaultv3.FaultDelay) *delay {
	if m == nil {
		return nil
	}
	d := &delay{share: match.CompileFraction(m.GetPercentage())}
	if f := m.GetFixedDelay(); f != nil {
		d.fixed = f.AsDuration().Milliseconds()
	} else {
		d.header = true
	}
	return d
}

func compileAbort(m *faultv3.FaultAbort) *abort {
	if m == nil {
		return nil
	}
	a := &abort{share: match.CompileFraction(m.GetPercentage()), body: or(m.GetResponseBody(), "fault filter abort")}
	switch t := m.GetErrorType().(type) {
	case *faultv3.FaultAbort_HttpStatus:
		a.kind, a.code = abortHTTP, int64(t.HttpStatus)
	case *faultv3.FaultAbort_GrpcStatus:
		a.kind, a.code = abortGRPC, int64(t.GrpcStatus)
	default:
		a.kind = abortHeader
	}
	return a
}

func compileRate(m *commonfaultv3.FaultRateLimit) *rate {
	if m == nil {
		return nil
	}
	r := &rate{share: match.CompileFraction(m.GetPercentage())}
	if f := m.GetFixedLimit(); f != nil {
		r.kbps = f.GetLimitKbps()
	} else {
		r.header = true
	}
	return r
}
