// SPDX-License-Identifier: Apache-2.0

package bandwidthlimit

import (
	"errors"
	"fmt"
	"time"

	bandwidthlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/tokenbucket"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.bandwidth_limit"

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name:   Name,
		Config: &bandwidthlimitv3.BandwidthLimit{},
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			l, err := compile(cfg, c.Services)
			if err != nil {
				return nil, err
			}
			return &Filter{name: c.Name, slot: c.Slot, own: l, runtime: c.Runtime}, nil
		},
		Route: &bandwidthlimitv3.BandwidthLimit{},
		NewRoute: func(cfg proto.Message, s *extension.Services) (any, error) {
			l, err := compile(cfg, s)
			if err == nil && l.bucket == nil {
				err = errors.New("limit_kbps is missing: say how much may pass, or disable the filter for the route")
			}
			return l, err
		},
	}
}

// defaultFill is Envoy's fill_interval.
const defaultFill = 50 * time.Millisecond

// maxRate bounds limit_kbps, so that a second's bytes can be counted.
const maxRate = 1 << 43

func compile(cfg proto.Message, s *extension.Services) (*Limit, error) {
	m, ok := cfg.(*bandwidthlimitv3.BandwidthLimit)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a BandwidthLimit", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	mode := m.GetEnableMode()
	l := &Limit{
		request:  mode&bandwidthlimitv3.BandwidthLimit_REQUEST != 0,
		response: mode&bandwidthlimitv3.BandwidthLimit_RESPONSE != 0,
		fill:     defaultFill,
		enabled:  match.CompileRuntimeFlag(m.GetRuntimeEnabled()),
	}
	if d := m.GetFillInterval(); d != nil {
		l.fill = d.AsDuration()
	}
	if k := m.GetLimitKbps(); k != nil {
		if k.GetValue() > maxRate {
			return nil, fmt.Errorf("limit_kbps: %d is more than %d", k.GetValue(), maxRate)
		}
		rate := k.GetValue() << 10
		l.bucket = tokenbucket.New(tokenbucket.Rate{Most: rate, Fill: rate, Every: time.Second}, engine.Nano())
	}
	if m.GetEnableResponseTrailers() && l.response {
		prefix := m.GetResponseTrailerPrefix()
		if prefix != "" {
			prefix += "-"
		}
		l.tell = &trailers{
			request: header.NewName(prefix + "bandwidth-request-delay-ms"), requestFilter: header.NewName(prefix + "bandwidth-request-filter-delay-ms"),
			response: header.NewName(prefix + "bandwidth-response-delay-ms"), responseFilter: header.NewName(prefix + "bandwidth-response-filter-delay-ms"),
		}
	}
	scope := s.Stats.Scope(stats.Sanitize(m.GetStatPrefix()) + ".http_bandwidth_limit")
	l.sent, l.received = newDirection(scope, "request"), newDirection(scope, "response")
	return l, nil
}
