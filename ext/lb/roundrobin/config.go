// SPDX-License-Identifier: Apache-2.0

package roundrobin

import (
	_ "embed"
	"fmt"

	robinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/schedule"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.load_balancing_policies.round_robin"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() upstream.PolicyFactory {
	return upstream.PolicyFactory{Name: Name, Config: &robinv3.RoundRobin{}, Fields: supported, New: compile, Blind: true}
}

func compile(m proto.Message) (upstream.Policy, error) {
	c, ok := m.(*robinv3.RoundRobin)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", m, Name)
	}
	return New(Config{
		SlowStart: schedule.ParseSlowStart(c.GetSlowStartConfig()),
		Layers:    upstream.ParseLayers(c.GetLocalityLbConfig()),
	}), nil
}
