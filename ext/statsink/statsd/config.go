// SPDX-License-Identifier: Apache-2.0

package statsd

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats/sink"
	"weir.dev/weir/proxy/stats/statsd"
	"weir.dev/weir/proxy/upstream/clusterdial"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.stat_sinks.statsd"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the sink.
func Extension() extension.StatsSink {
	return extension.StatsSink{Name: Name, Config: &metricsv3.StatsdSink{}, New: compile}
}

func compile(cfg proto.Message, s *extension.Services) (sink.Sink, error) {
	m, ok := cfg.(*metricsv3.StatsdSink)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	if err := supported.Apply(m, "", s.Warn("statsd sink")); err != nil {
		return nil, err
	}
	f := statsd.Format{Prefix: m.GetPrefix(), Scaled: m.GetScaleHistogramUnitsToMilliseconds()}
	log := s.Log("stats")
	switch {
	case m.GetAddress() != nil:
		return statsd.Compile(m.GetAddress(), f, 0, log)
	case m.GetTcpClusterName() != "":
		dialer, cluster := clusterdial.New(s.Loops, s.Clusters), m.GetTcpClusterName()
		return &connection{
			dial:   func(ctx context.Context) (net.Conn, error) { return dialer.Dial(ctx, cluster) },
			writer: statsd.NewWriter(f), overflow: s.Stats.Scope("statsd").Counter("cx_overflow"),
			log: log.With("cluster", cluster),
		}, nil
	}
	return nil, errors.New("address: is missing: give it for UDP, or tcp_cluster_name for TCP")
}
