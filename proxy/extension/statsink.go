// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"errors"
	"fmt"
	"strings"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/stats/sink"
)

// StatsSink is an extension that statistics are sent by (envoy.stat_sinks.*).
type StatsSink struct {
	// Name is Envoy's canonical name.
	Name string
	// Config is an empty message of the type that configures it.
	Config proto.Message
	// New compiles one use of it.
	New func(cfg proto.Message, s *Services) (sink.Sink, error)
}

// ErrNoSink tells of a sink that is none of Weir's.
var ErrNoSink = errors.New("the sink is not supported, and is sent nothing")

// StatsSink compiles a sink of statistics. The error wraps ErrNoSink if there is none of its
// type: requests are served as well without it.
func (s *Services) StatsSink(m *metricsv3.StatsSink) (sink.Sink, error) {
	var known []string
	for i := range s.Registry.StatsSinks {
		x := &s.Registry.StatsSinks[i]
		known = append(known, x.Name)
		cfg, ok, err := Decode(m.GetTypedConfig(), x.Config)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		out, err := x.New(cfg, s)
		if err != nil {
			return nil, fmt.Errorf("typed_config.%w", err)
		}
		return out, nil
	}
	use := strings.Join(known, ", ")
	if m.GetTypedConfig() == nil {
		return nil, fmt.Errorf("typed_config: is missing: configure one of %s", use)
	}
	return nil, fmt.Errorf("typed_config: %w, as %s is not known: use one of %s, or have /stats/prometheus of the admin asked", ErrNoSink, Name(m.GetTypedConfig()), use)
}
