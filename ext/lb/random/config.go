// SPDX-License-Identifier: Apache-2.0

package random

import (
	_ "embed"
	"fmt"

	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.load_balancing_policies.random"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() upstream.PolicyFactory {
	return upstream.PolicyFactory{Name: Name, Config: &randomv3.Random{}, Fields: supported, New: compile, Blind: true}
}

func compile(m proto.Message) (upstream.Policy, error) {
	c, ok := m.(*randomv3.Random)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", m, Name)
	}
	return New(Config{Layers: upstream.ParseLayers(c.GetLocalityLbConfig())}), nil
}
