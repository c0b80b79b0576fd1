// SPDX-License-Identifier: Apache-2.0

// Package dogstatsd is the sink envoy.stat_sinks.dog_statsd: statistics as lines of statsd with tags, as Datadog's agent
// reads them. How lines look is the matter of proxy/stats/statsd.
package dogstatsd

import (
	_ "embed"
	"fmt"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats/sink"
	"weir.dev/weir/proxy/stats/statsd"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.stat_sinks.dog_statsd"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the sink.
func Extension() extension.StatsSink {
	return extension.StatsSink{Name: Name, Config: &metricsv3.DogStatsdSink{}, New: compile}
}

func compile(cfg proto.Message, s *extension.Services) (sink.Sink, error) {
	m, ok := cfg.(*metricsv3.DogStatsdSink)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	if err := supported.Apply(m, "", s.Warn("DogStatsD sink")); err != nil {
		return nil, err
	}
	f := statsd.Format{Prefix: m.GetPrefix(), Tagging: statsd.AfterValue, Scaled: m.GetScaleHistogramUnitsToMilliseconds()}
	return statsd.Compile(m.GetAddress(), f, m.GetMaxBytesPerDatagram().GetValue(), s.Log("stats"))
}
