// SPDX-License-Identifier: Apache-2.0

package clientsideweightedroundrobin

import (
	_ "embed"
	"fmt"

	cswrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/schedule"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.load_balancing_policies.client_side_weighted_round_robin"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() upstream.PolicyFactory {
	return upstream.PolicyFactory{Name: Name, Config: &cswrrv3.ClientSideWeightedRoundRobin{}, Fields: supported, New: compile}
}

func compile(m proto.Message) (upstream.Policy, error) {
	c, ok := m.(*cswrrv3.ClientSideWeightedRoundRobin)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", m, Name)
	}
	if c.GetEnableOobLoadReport().GetValue() {
		return nil, xds.Problem{Path: "enable_oob_load_report", Reason: "reports apart from responses are not supported", Remedy: "have hosts report with each response"}
	}
	out := Config{
		Expiration: c.GetWeightExpirationPeriod().AsDuration(), Update: c.GetWeightUpdatePeriod().AsDuration(),
		Penalty: float64(c.GetErrorUtilizationPenalty().GetValue()), Metrics: c.GetMetricNamesForComputingUtilization(),
		SlowStart: schedule.ParseSlowStart(c.GetSlowStartConfig()), Layers: upstream.ParseLayers(nil),
	}
	if d := c.GetBlackoutPeriod(); d != nil {
		if out.Blackout = d.AsDuration(); out.Blackout == 0 {
			out.Blackout = -1
		}
	}
	return New(out), nil
}
