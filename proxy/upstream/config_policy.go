// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonlbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringhashv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	robinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// legacyPolicy turns lb_policy, its configuration, and lb_subset_config into the
// messages of the extensions that took their place.
func (k *compiler) legacyPolicy() {
	c := k.cluster
	m := k.legacyMessage()
	var f *PolicyFactory
	if m != nil {
		f = k.policyFor(string(m.ProtoReflect().Descriptor().FullName()))
	}
	if f == nil {
		k.fail("lb_policy", c.GetLbPolicy().String()+" is not supported", "known are "+k.knownPolicies())
		return
	}
	// Envoy has subsets only if there are selectors.
	if len(c.GetLbSubsetConfig().GetSubsetSelectors()) == 0 {
		k.out.PolicyName, k.out.policy = f.Name, k.buildPolicy(legacyPath[c.GetLbPolicy()], f, m)
		return
	}
	subset, err := legacySubset(c.GetLbSubsetConfig(), f.Name, m)
	if err != nil {
		k.failErr("lb_subset_config", err)
		return
	}
	if f = k.policyFor(string(subset.ProtoReflect().Descriptor().FullName())); f == nil {
		k.fail("lb_subset_config", "subsets are not supported", "known are "+k.knownPolicies())
		return
	}
	k.out.PolicyName, k.out.policy = f.Name, k.buildPolicy("lb_subset_config", f, subset)
}

// legacyPath is the field that configures an lb_policy.
var legacyPath = map[clusterv3.Cluster_LbPolicy]string{
	clusterv3.Cluster_ROUND_ROBIN:   "round_robin_lb_config",
	clusterv3.Cluster_LEAST_REQUEST: "least_request_lb_config",
	clusterv3.Cluster_RANDOM:        "common_lb_config",
	clusterv3.Cluster_RING_HASH:     "ring_hash_lb_config",
	clusterv3.Cluster_MAGLEV:        "maglev_lb_config",
}

func (k *compiler) legacyMessage() proto.Message {
	c := k.cluster
	common := c.GetCommonLbConfig()
	var weighted *commonlbv3.LocalityLbConfig_LocalityWeightedLbConfig
	if common.GetLocalityWeightedLbConfig() != nil {
		weighted = &commonlbv3.LocalityLbConfig_LocalityWeightedLbConfig{}
	}
	var hashing *commonlbv3.ConsistentHashingLbConfig
	if h := common.GetConsistentHashingLbConfig(); h != nil {
		hashing = &commonlbv3.ConsistentHashingLbConfig{UseHostnameForHashing: h.GetUseHostnameForHashing(), HashBalanceFactor: h.GetHashBalanceFactor()}
	}
	switch c.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		return &robinv3.RoundRobin{
			LocalityLbConfig: k.legacyLocality(), SlowStartConfig: legacySlowStart(c.GetRoundRobinLbConfig().GetSlowStartConfig()),
		}
	case clusterv3.Cluster_LEAST_REQUEST:
		l := c.GetLeastRequestLbConfig()
		return &leastv3.LeastRequest{
			ChoiceCount: l.GetChoiceCount(), ActiveRequestBias: l.GetActiveRequestBias(),
			SlowStartConfig: legacySlowStart(l.GetSlowStartConfig()), LocalityLbConfig: k.legacyLocality(),
		}
	case clusterv3.Cluster_RANDOM:
		return &randomv3.Random{LocalityLbConfig: k.legacyLocality()}
	case clusterv3.Cluster_RING_HASH:
		r := c.GetRingHashLbConfig()
		m := &ringhashv3.RingHash{
			MinimumRingSize: r.GetMinimumRingSize(), MaximumRingSize: r.GetMaximumRingSize(),
			HashFunction:              ringhashv3.RingHash_XX_HASH,
			ConsistentHashingLbConfig: hashing, LocalityWeightedLbConfig: weighted,
		}
		if r.GetHashFunction() == clusterv3.Cluster_RingHashLbConfig_MURMUR_HASH_2 {
			m.HashFunction = ringhashv3.RingHash_MURMUR_HASH_2
		}
		return m
	case clusterv3.Cluster_MAGLEV:
		return &maglevv3.Maglev{TableSize: c.GetMaglevLbConfig().GetTableSize(), ConsistentHashingLbConfig: hashing, LocalityWeightedLbConfig: weighted}
	case clusterv3.Cluster_CLUSTER_PROVIDED, clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG:
	}
	return nil
}

// legacySubset is lb_subset_config as the message of the subset policy. The enums and
// field names of both are the same.
func legacySubset(l *clusterv3.Cluster_LbSubsetConfig, name string, m proto.Message) (*subsetv3.Subset, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	typed := &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: b}
	s := &subsetv3.Subset{
		FallbackPolicy: subsetv3.Subset_LbSubsetFallbackPolicy(l.GetFallbackPolicy()), DefaultSubset: l.GetDefaultSubset(),
		LocalityWeightAware: l.GetLocalityWeightAware(), ScaleLocalityWeight: l.GetScaleLocalityWeight(),
		PanicModeAny: l.GetPanicModeAny(), ListAsAny: l.GetListAsAny(),
		MetadataFallbackPolicy: subsetv3.Subset_LbSubsetMetadataFallbackPolicy(l.GetMetadataFallbackPolicy()),
		SubsetLbPolicy: &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
			TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: typed},
		}}},
	}
	for _, x := range l.GetSubsetSelectors() {
		s.SubsetSelectors = append(s.SubsetSelectors, &subsetv3.Subset_LbSubsetSelector{
			Keys: x.GetKeys(), SingleHostPerSubset: x.GetSingleHostPerSubset(), FallbackKeysSubset: x.GetFallbackKeysSubset(),
			FallbackPolicy: subsetv3.Subset_LbSubsetSelector_LbSubsetSelectorFallbackPolicy(x.GetFallbackPolicy()),
		})
	}
	return s, nil
}

func legacySlowStart(s *clusterv3.Cluster_SlowStartConfig) *commonlbv3.SlowStartConfig {
	if s == nil {
		return nil
	}
	return &commonlbv3.SlowStartConfig{
		SlowStartWindow: s.GetSlowStartWindow(), Aggression: s.GetAggression(), MinWeightPercent: s.GetMinWeightPercent(),
	}
}

func (k *compiler) legacyLocality() *commonlbv3.LocalityLbConfig {
	c := k.cluster.GetCommonLbConfig()
	if c.GetLocalityWeightedLbConfig() != nil {
		return &commonlbv3.LocalityLbConfig{LocalityConfigSpecifier: &commonlbv3.LocalityLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &commonlbv3.LocalityLbConfig_LocalityWeightedLbConfig{},
		}}
	}
	z := c.GetZoneAwareLbConfig()
	if z == nil {
		return nil
	}
	return &commonlbv3.LocalityLbConfig{LocalityConfigSpecifier: &commonlbv3.LocalityLbConfig_ZoneAwareLbConfig_{
		ZoneAwareLbConfig: &commonlbv3.LocalityLbConfig_ZoneAwareLbConfig{
			RoutingEnabled: z.GetRoutingEnabled(), MinClusterSize: z.GetMinClusterSize(), FailTrafficOnPanic: z.GetFailTrafficOnPanic(),
		},
	}}
}

// ParseLayers compiles the locality_lb_config that several policies share. Without one
// zones are preferred, as in Envoy, which has an effect if the proxies like this one
// are known (local_cluster_name).
func ParseLayers(l *commonlbv3.LocalityLbConfig) LayerOptions {
	if l.GetLocalityWeightedLbConfig() != nil {
		return LayerOptions{ByLocality: true}
	}
	z := l.GetZoneAwareLbConfig()
	o := LayerOptions{FailTrafficOnPanic: z.GetFailTrafficOnPanic(), Zones: ZoneOptions{Enabled: 100, MinClusterSize: 6}}
	if v := z.GetRoutingEnabled(); v != nil {
		o.Zones.Enabled = uint32(min(100, math.Round(v.GetValue())))
	}
	if v := z.GetMinClusterSize(); v != nil {
		o.Zones.MinClusterSize = v.GetValue()
	}
	if z.GetForceLocalityDirectRouting() {
		o.Zones.ForceLocal = 1
	}
	if f := z.GetForceLocalZone(); f != nil {
		o.Zones.ForceLocal = 1
		if v := f.GetMinSize(); v != nil {
			o.Zones.ForceLocal = uint64(v.GetValue())
		}
	}
	o.Zones.ByWeight = strings.HasSuffix(z.GetLocalityBasis().String(), "WEIGHT")
	return o
}
