// SPDX-License-Identifier: Apache-2.0

package ringhash

import (
	_ "embed"
	"fmt"

	ringhashv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/hashing"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.load_balancing_policies.ring_hash"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() upstream.PolicyFactory {
	return upstream.PolicyFactory{Name: Name, Config: &ringhashv3.RingHash{}, Fields: supported, New: compile, Sticky: true}
}

func compile(m proto.Message) (upstream.Policy, error) {
	c, ok := m.(*ringhashv3.RingHash)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", m, Name)
	}
	out := Config{
		Murmur:  c.GetHashFunction() == ringhashv3.RingHash_MURMUR_HASH_2,
		MinSize: defaultMin, MaxSize: limit,
		Layers: upstream.LayerOptions{ByLocality: c.GetLocalityWeightedLbConfig() != nil},
	}
	if v := c.GetMinimumRingSize(); v != nil {
		out.MinSize = v.GetValue()
	}
	if v := c.GetMaximumRingSize(); v != nil {
		out.MaxSize = v.GetValue()
	}
	if out.MinSize == 0 || out.MinSize > out.MaxSize {
		return nil, xds.Problem{
			Path: "minimum_ring_size", Reason: fmt.Sprintf("%d is 0 or above maximum_ring_size, which is %d", out.MinSize, out.MaxSize),
			Remedy: "choose a number between",
		}
	}
	if h := c.GetConsistentHashingLbConfig(); h != nil {
		o, policies, err := hashing.Parse(h)
		if err != nil {
			return nil, err
		}
		out.Hash, out.Layers.HashPolicies = o, policies
		return New(out), nil
	}
	//nolint:staticcheck // The older fields count where the newer message is not given.
	out.Hash = hashing.Options{UseHostname: c.GetUseHostnameForHashing(), Balance: c.GetHashBalanceFactor().GetValue()}
	return New(out), nil
}
