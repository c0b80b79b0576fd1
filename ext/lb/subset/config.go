// SPDX-License-Identifier: Apache-2.0

package subset

import (
	_ "embed"
	"fmt"
	"slices"

	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.load_balancing_policies.subset"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() upstream.PolicyFactory {
	return upstream.PolicyFactory{Name: Name, Config: &subsetv3.Subset{}, Fields: supported, Nest: compile}
}

func compile(m proto.Message, in *upstream.Nesting) (upstream.Policy, error) {
	c, ok := m.(*subsetv3.Subset)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", m, Name)
	}
	child, err := in.Policy("subset_lb_policy", c.GetSubsetLbPolicy())
	if err != nil {
		return nil, err
	}
	out := Config{
		Fallback: Fallback(c.GetFallbackPolicy()) + NoFallback, Default: c.GetDefaultSubset().AsMap(), Policy: child,
		RedundantKeys: c.GetAllowRedundantKeys(), ByLocality: c.GetLocalityWeightAware(), ScaleLocality: c.GetScaleLocalityWeight(),
		PanicAny: c.GetPanicModeAny(), ListAsAny: c.GetListAsAny(),
		FallbackList: c.GetMetadataFallbackPolicy() == subsetv3.Subset_FALLBACK_LIST,
	}
	if out.ScaleLocality && !out.ByLocality {
		return nil, xds.Problem{Path: "scale_locality_weight", Reason: "has no meaning without locality_weight_aware", Remedy: "set that, or remove this"}
	}
	for i, s := range c.GetSubsetSelectors() {
		path := fmt.Sprintf("subset_selectors[%d]", i)
		sel := Selector{Keys: s.GetKeys(), SingleHost: s.GetSingleHostPerSubset(), Fallback: Fallback(s.GetFallbackPolicy()), FallbackKeys: s.GetFallbackKeysSubset()}
		if p := sel.check(); p != "" {
			return nil, xds.Problem{Path: path, Reason: p, Remedy: "correct the selector"}
		}
		out.Selectors = append(out.Selectors, sel)
	}
	return New(out), nil
}

// check tells what is wrong with a selector, as Envoy does.
func (s *Selector) check() string {
	switch {
	case len(s.Keys) == 0:
		return "has no keys"
	case s.SingleHost && len(s.Keys) != 1:
		return "single_host_per_subset asks for exactly one key"
	case s.Fallback != KeysSubset:
		if len(s.FallbackKeys) > 0 {
			return "fallback_keys_subset has no meaning without the fallback policy KEYS_SUBSET"
		}
		return ""
	case len(s.FallbackKeys) == 0:
		return "fallback_keys_subset is empty"
	}
	for _, k := range s.FallbackKeys {
		if !slices.Contains(s.Keys, k) {
			return fmt.Sprintf("fallback_keys_subset has %q, which is not one of the keys", k)
		}
	}
	for _, k := range s.Keys {
		if !slices.Contains(s.FallbackKeys, k) {
			return ""
		}
	}
	return "fallback_keys_subset is the same as keys"
}
