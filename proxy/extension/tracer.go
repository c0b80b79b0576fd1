// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"fmt"
	"strings"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/trace"
)

// Tracer is a tracer extension (envoy.tracers.*).
type Tracer struct {
	// Name is Envoy's canonical name.
	Name string
	// Config is an empty message of the type that configures it.
	Config proto.Message
	// New compiles one use of it.
	New func(cfg proto.Message, s *Services) (trace.Tracer, error)
}

// Tracer compiles a provider of tracing.
func (s *Services) Tracer(p *tracev3.Tracing_Http) (trace.Tracer, error) {
	var known []string
	for i := range s.Registry.Tracers {
		t := &s.Registry.Tracers[i]
		known = append(known, t.Name)
		m, ok, err := Decode(p.GetTypedConfig(), t.Config)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		out, err := t.New(m, s)
		if err != nil {
			return nil, fmt.Errorf("typed_config.%w", err)
		}
		return out, nil
	}
	if p.GetTypedConfig() == nil {
		return nil, fmt.Errorf("typed_config: is missing: configure one of %s", strings.Join(known, ", "))
	}
	return nil, fmt.Errorf("typed_config: the tracer %s is not supported: use envoy.tracers.opentelemetry; an OpenTelemetry collector sends spans on to most others", Name(p.GetTypedConfig()))
}
