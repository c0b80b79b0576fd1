// SPDX-License-Identifier: Apache-2.0

package build

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	cswrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	commonlbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	overridehostv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	robinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	wrrlocalityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The names of balancers.
const (
	leastRequest = "envoy.load_balancing_policies.least_request"
	roundRobin   = "envoy.load_balancing_policies.round_robin"
	randomly     = "envoy.load_balancing_policies.random"
	maglev       = "envoy.load_balancing_policies.maglev"
	overrideHost = "envoy.load_balancing_policies.override_host"
	weighted     = "envoy.load_balancing_policies.client_side_weighted_round_robin"
	byLocality   = "envoy.load_balancing_policies.wrr_locality"
)

// A Locality says how hosts are chosen by the localities that they are in; nil by none.
type Locality = commonlbv3.LocalityLbConfig

// LeastRequest chooses of two hosts the one that has less to do. A new host gets less for
// as long as slow; 0 is none.
func LeastRequest(slow time.Duration, l *Locality) *clusterv3.LoadBalancingPolicy {
	return balancer(leastRequest, &leastv3.LeastRequest{SlowStartConfig: slowStart(slow), LocalityLbConfig: l})
}

// RoundRobin chooses hosts in turn. slow is as in LeastRequest.
func RoundRobin(slow time.Duration, l *Locality) *clusterv3.LoadBalancingPolicy {
	return balancer(roundRobin, &robinv3.RoundRobin{SlowStartConfig: slowStart(slow), LocalityLbConfig: l})
}

// Random chooses any host.
func Random(l *Locality) *clusterv3.LoadBalancingPolicy {
	return balancer(randomly, &randomv3.Random{LocalityLbConfig: l})
}

// ByZone has localities chosen by their weights.
func ByZone() *Locality {
	return &Locality{LocalityConfigSpecifier: &commonlbv3.LocalityLbConfig_LocalityWeightedLbConfig_{
		LocalityWeightedLbConfig: &commonlbv3.LocalityLbConfig_LocalityWeightedLbConfig{},
	}}
}

// Maglev chooses hosts by a hash of the request, from a table; a size of 0 is the default. Of l only whether localities
// have weights counts.
func Maglev(size uint64, l *Locality) *clusterv3.LoadBalancingPolicy {
	m := &maglevv3.Maglev{LocalityWeightedLbConfig: l.GetLocalityWeightedLbConfig()}
	if size > 0 {
		m.TableSize = wrapperspb.UInt64(size)
	}
	return balancer(maglev, m)
}

// ByUtilization chooses hosts by the load that they report. slow is as in LeastRequest, l as in Maglev.
func ByUtilization(slow time.Duration, m *cswrrv3.ClientSideWeightedRoundRobin, l *Locality) *clusterv3.LoadBalancingPolicy {
	m.SlowStartConfig = slowStart(slow)
	out := balancer(weighted, m)
	if l.GetLocalityWeightedLbConfig() != nil {
		out = balancer(byLocality, &wrrlocalityv3.WrrLocality{EndpointPickingPolicy: out})
	}
	return out
}

// OverrideHost has a request name its host in one of these headers, and otherwise another
// balancer choose.
func OverrideHost(headers []string, otherwise *clusterv3.LoadBalancingPolicy) *clusterv3.LoadBalancingPolicy {
	m := &overridehostv3.OverrideHost{FallbackPolicy: otherwise}
	for _, h := range headers {
		m.OverrideHostSources = append(m.OverrideHostSources, &overridehostv3.OverrideHost_OverrideHostSource{Header: h})
	}
	return balancer(overrideHost, m)
}

func balancer(name string, m proto.Message) *clusterv3.LoadBalancingPolicy {
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{TypedExtensionConfig: Extension(name, m)}}}
}

func slowStart(window time.Duration) *commonlbv3.SlowStartConfig {
	if window == 0 {
		return nil
	}
	return &commonlbv3.SlowStartConfig{SlowStartWindow: duration(window)}
}
