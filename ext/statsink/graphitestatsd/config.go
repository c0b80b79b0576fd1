// SPDX-License-Identifier: Apache-2.0

// Package graphitestatsd is the sink envoy.stat_sinks.graphite_statsd: statistics as lines of statsd with tags, as Graphite
// reads them. How lines look is the matter of proxy/stats/statsd.
package graphitestatsd

import (
	_ "embed"
	"fmt"

	graphitestatsdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/graphite_statsd/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats/sink"
	"weir.dev/weir/proxy/stats/statsd"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.stat_sinks.graphite_statsd"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the sink.
func Extension() extension.StatsSink {
	return extension.StatsSink{Name: Name, Config: &graphitestatsdv3.GraphiteStatsdSink{}, New: compile}
}

func compile(cfg proto.Message, s *extension.Services) (sink.Sink, error) {
	m, ok := cfg.(*graphitestatsdv3.GraphiteStatsdSink)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	if err := supported.Apply(m, "", s.Warn("Graphite statsd sink")); err != nil {
		return nil, err
	}
	f := statsd.Format{Prefix: m.GetPrefix(), Tagging: statsd.AfterName, Scaled: m.GetScaleHistogramUnitsToMilliseconds()}
	return statsd.Compile(m.GetAddress(), f, m.GetMaxBytesPerDatagram().GetValue(), s.Log("stats"))
}
