// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"errors"
	"fmt"
	"strings"
	"time"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/batch"
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

// SpanExporter returns what sends the spans of a tracer as o says. Its statistics are those
// of tracing.<name>; that scope's keys of the runtime min_flush_spans and flush_interval_ms
// say when spans are sent.
func (s *Services) SpanExporter(name string, o batch.Options) (*batch.Exporter, error) {
	if s.Exporters == nil {
		return nil, errors.New("spans are not sent elsewhere from here: remove the tracer")
	}
	if s.Runtime != nil {
		spans := "tracing." + name + ".min_flush_spans"
		o.Count = func() int {
			n, _ := s.Runtime.Int(spans)
			return int(n)
		}
		if d, ok := s.Milliseconds("tracing." + name + ".flush_interval_ms"); ok {
			o.Interval = d
		}
	}
	st := s.Stats.Scope("tracing." + name)
	o.Stats.Sent, o.Stats.Dropped, o.Stats.Timer = st.Counter("spans_sent"), st.Counter("spans_dropped"), st.Counter("timer_flushed")
	o.Log = s.Log("tracing")
	return s.Exporters.New(o), nil
}

// Milliseconds is the runtime's value of a key as a time above 0, at most an hour.
func (s *Services) Milliseconds(key string) (time.Duration, bool) {
	if s.Runtime == nil {
		return 0, false
	}
	ms, ok := s.Runtime.Int(key)
	return time.Duration(min(ms, int64(time.Hour/time.Millisecond))) * time.Millisecond, ok && ms > 0
}
