// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	_ "embed"
	"fmt"

	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/hashing"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.load_balancing_policies.maglev"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() upstream.PolicyFactory {
	return upstream.PolicyFactory{Name: Name, Config: &maglevv3.Maglev{}, Fields: supported, New: compile, Sticky: true}
}

func compile(m proto.Message) (upstream.Policy, error) {
	c, ok := m.(*maglevv3.Maglev)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", m, Name)
	}
	out := Config{Size: DefaultSize, Layers: upstream.LayerOptions{ByLocality: c.GetLocalityWeightedLbConfig() != nil}}
	if v := c.GetTableSize(); v != nil {
		out.Size = v.GetValue()
	}
	if !prime(out.Size) {
		return nil, xds.Problem{
			Path: "table_size", Reason: fmt.Sprintf("%d is not a prime, so that hosts could not reach every place of the table", out.Size),
			Remedy: fmt.Sprintf("use %d, or another prime", DefaultSize),
		}
	}
	var err error
	out.Hash, out.Layers.HashPolicies, err = hashing.Parse(c.GetConsistentHashingLbConfig())
	if err != nil {
		return nil, err
	}
	return New(out), nil
}

// prime looks at divisors up to the root of n, which is at most 5,000,011.
func prime(n uint64) bool {
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}
