// SPDX-License-Identifier: Apache-2.0

package leastrequest

import (
	_ "embed"
	"fmt"

	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/schedule"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.load_balancing_policies.least_request"

// maxChoices bounds the work of one pick.
const maxChoices = 1000

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() upstream.PolicyFactory {
	return upstream.PolicyFactory{Name: Name, Config: &leastv3.LeastRequest{}, Fields: supported, New: compile, Blind: true}
}

func compile(m proto.Message) (upstream.Policy, error) {
	c, ok := m.(*leastv3.LeastRequest)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", m, Name)
	}
	out := Config{
		Choices: 2, Bias: 1,
		FullScan:  c.GetEnableFullScan().GetValue() || c.GetSelectionMethod() == leastv3.LeastRequest_FULL_SCAN,
		SlowStart: schedule.ParseSlowStart(c.GetSlowStartConfig()),
		Layers:    upstream.ParseLayers(c.GetLocalityLbConfig()),
	}
	if v := c.GetChoiceCount(); v != nil {
		if v.GetValue() > maxChoices {
			return nil, fmt.Errorf("choice_count: %d is above %d (use enable_full_scan)", v.GetValue(), maxChoices)
		}
		out.Choices = int(v.GetValue())
	}
	if v := c.GetActiveRequestBias(); v != nil {
		if out.Bias = v.GetDefaultValue(); !(out.Bias >= 0) {
			return nil, fmt.Errorf("active_request_bias: %v is below 0 (use 0 to leave active requests out)", out.Bias)
		}
	}
	return New(out), nil
}
