// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	cswrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/policy/envoygateway/sheet"
)

// maxTable is the largest table of Maglev.
const maxTable = 5_000_011

// balancer chooses hosts.
func (x *settings) balancer() {
	l := x.from.LoadBalancer
	if l == nil || x.base.GetLbPolicy() == clusterv3.Cluster_CLUSTER_PROVIDED {
		return // Of hosts that requests name, none is chosen.
	}
	at := x.at + "loadBalancer"
	slow := time.Duration(0)
	if l.SlowStart != nil {
		if d := x.Duration(at+".slowStart.window", l.SlowStart.Window); d != nil {
			slow = d.AsDuration()
		}
	}
	zones := x.zones(at+".zoneAware", l)
	if x.base.GetCommonLbConfig().GetLocalityWeightedLbConfig() != nil {
		zones = build.ByZone() // The localities of this one are backends, which keep their weights.
	}
	x.Unsupported(at+".dynamicModule", l.DynamicModule, "there are no dynamic modules")
	var policy *clusterv3.LoadBalancingPolicy
	switch l.Type {
	case "LeastRequest":
		policy = build.LeastRequest(slow, zones)
	case "RoundRobin":
		policy = build.RoundRobin(slow, zones)
	case "Random":
		policy = build.Random(zones)
	case "ConsistentHash":
		size := uint64(0)
		if h := l.ConsistentHash; h != nil && h.TableSize != nil {
			if size = *h.TableSize; size < 2 || size > maxTable || !big.NewInt(int64(size)).ProbablyPrime(0) {
				x.Bad(at+".consistentHash.tableSize", "%d is not a prime number up to %d", size, maxTable)
			}
		}
		policy = build.Maglev(size, zones)
	case "BackendUtilization":
		policy = build.ByUtilization(slow, x.utilization(at+".backendUtilization", l.BackendUtilization), zones)
	case "DynamicModule":
		x.Bad(at+".type", "there are no dynamic modules: choose another type")
		return
	default:
		x.Bad(at+".type", "is %q: there are LeastRequest, RoundRobin, Random, ConsistentHash and BackendUtilization", l.Type)
		return
	}
	if slow > 0 && (l.Type == "Random" || l.Type == "ConsistentHash") {
		x.Bad(at+".slowStart", "is for the types LeastRequest, RoundRobin and BackendUtilization")
	}
	if o := l.EndpointOverride; o != nil {
		var headers []string
		for i, e := range o.ExtractFrom {
			if e.Header == nil || *e.Header == "" {
				x.Bad(fmt.Sprintf("%s.endpointOverride.extractFrom[%d].header", at, i), "is required")
				continue
			}
			headers = append(headers, *e.Header)
		}
		policy = build.OverrideHost(headers, policy)
	}
	x.to.LoadBalancingPolicy = policy
}

func (x *settings) utilization(at string, u *api.BackendUtilization) *cswrrv3.ClientSideWeightedRoundRobin {
	out := &cswrrv3.ClientSideWeightedRoundRobin{}
	if u == nil {
		return out
	}
	out.BlackoutPeriod = x.Duration(at+".blackoutPeriod", u.BlackoutPeriod)
	out.WeightExpirationPeriod = x.Duration(at+".weightExpirationPeriod", u.WeightExpirationPeriod)
	out.WeightUpdatePeriod = x.Duration(at+".weightUpdatePeriod", u.WeightUpdatePeriod)
	if p := u.ErrorUtilizationPenaltyPercent; p != nil {
		out.ErrorUtilizationPenalty = wrapperspb.Float(float32(*p) / 100)
	}
	out.MetricNamesForComputingUtilization = u.MetricNamesForComputingUtilization
	x.Unsupported(at+".outOfBand", u.OutOfBand, "load is reported in responses")
	if x.at != "" {
		x.Unsupported(at+".keepResponseHeaders", u.KeepResponseHeaders, "the responses of calls go to no client")
	}
	return out
}

// hashes are what of a request a consistent hash is of.
func hashes(s *sheet.Sheet, at string, h *api.ConsistentHash) []*routev3.RouteAction_HashPolicy {
	if h == nil {
		s.Bad(at, "is required for the type ConsistentHash")
		return nil
	}
	header := func(n api.Named) *routev3.RouteAction_HashPolicy {
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: n.Name},
		}}
	}
	var out []*routev3.RouteAction_HashPolicy
	switch h.Type {
	case "SourceIP":
		return []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}}}
	case "Header":
		if h.Header != nil {
			out = append(out, header(*h.Header))
		}
	case "Headers":
		for _, n := range h.Headers {
			out = append(out, header(n))
		}
	case "Cookie":
		if h.Cookie != nil {
			out = append(out, cookie(s, at+".cookie", h.Cookie))
		}
	case "QueryParams":
		for _, q := range h.QueryParams {
			out = append(out, &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
				QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: q.Name},
			}})
		}
	default:
		s.Bad(at+".type", "is %q: there are SourceIP, Header, Headers, Cookie and QueryParams", h.Type)
		return nil
	}
	if len(out) == 0 {
		s.Bad(at, "has the type %s, and does not say what is hashed", h.Type)
	}
	return out
}

func cookie(s *sheet.Sheet, at string, c *api.Cookie) *routev3.RouteAction_HashPolicy {
	if !build.FieldName(c.Name) {
		s.Bad(at+".name", "%q is not the name of a cookie", c.Name)
	}
	out := &routev3.RouteAction_HashPolicy_Cookie{Name: c.Name, Ttl: s.Duration(at+".ttl", c.TTL)}
	for _, name := range slices.Sorted(maps.Keys(c.Attributes)) {
		if name == "" || !build.CookieText(name+c.Attributes[name]) {
			s.Bad(at+".attributes", "%q=%q is no attribute of a cookie", name, c.Attributes[name])
		}
		out.Attributes = append(out.Attributes, &routev3.RouteAction_HashPolicy_CookieAttribute{Name: name, Value: c.Attributes[name]})
	}
	return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: out}}
}
