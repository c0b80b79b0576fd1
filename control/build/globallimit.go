// SPDX-License-Identifier: Apache-2.0

package build

import (
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/xds"
)

// limitTimeout is how long a request waits for the limiter.
const limitTimeout = 20 * time.Millisecond

// A LimitService is asked about requests whose route says under what they count.
type LimitService struct {
	// Cluster is asked by gRPC; xds.LimiterCluster is the limiter of the proxy's process.
	Cluster, Domain string
	Timeout         time.Duration
	// FailClosed refuses requests for which there is no answer.
	FailClosed bool
	// Exhausted has calls of gRPC refused with RESOURCE_EXHAUSTED instead of UNAVAILABLE.
	Exhausted bool
}

// Filter is the filter that asks.
func (s LimitService) Filter() *ratelimitv3.RateLimit {
	return &ratelimitv3.RateLimit{
		Domain: s.Domain, Timeout: duration(s.Timeout), FailureModeDeny: s.FailClosed, RateLimitedAsResourceExhausted: s.Exhausted,
		RateLimitService: &ratelimitconfigv3.RateLimitServiceConfig{
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: s.Cluster},
			}},
		},
	}
}

// GlobalLimit asks the limiter of the proxy's process, and tells clients what is left. A
// timeout of 0 is 20 ms; failClosed refuses requests for which there is no answer.
func GlobalLimit(timeout time.Duration, failClosed bool) *ratelimitv3.RateLimit {
	if timeout == 0 {
		timeout = limitTimeout
	}
	m := LimitService{Cluster: xds.LimiterCluster, Domain: "weir", Timeout: timeout, FailClosed: failClosed}.Filter()
	m.EnableXRatelimitHeaders, m.DisableXEnvoyRatelimitedHeader = ratelimitv3.RateLimit_DRAFT_VERSION_03, true
	return m
}

// Limiter tells the limiter of a proxy's process what to know, as the cluster that stands
// for it: clusters are delivered before what asks.
func Limiter(limits []*rlsconfv3.RateLimitConfig) *clusterv3.Cluster {
	m := &corev3.Metadata{TypedFilterMetadata: map[string]*anypb.Any{}}
	for _, l := range limits {
		m.TypedFilterMetadata[l.GetDomain()] = Any(l)
	}
	return &clusterv3.Cluster{Name: xds.LimiterCluster, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}, Metadata: m}
}

// RouteLimit says under what the requests of a route count, in a domain.
func RouteLimit(domain string) *ratelimitv3.RateLimitPerRoute {
	return &ratelimitv3.RateLimitPerRoute{Domain: domain}
}

// Descriptor is a node of what a limiter is told: an entry with a value, or with each
// value by itself if it is empty.
func Descriptor(key, value string) *rlsconfv3.RateLimitDescriptor {
	return &rlsconfv3.RateLimitDescriptor{Key: key, Value: value}
}

// LimitPolicy is so many requests in a unit: Second, Minute, Hour, Day, Week, Month or
// Year.
func LimitPolicy(requests uint32, unit string) *rlsconfv3.RateLimitPolicy {
	return &rlsconfv3.RateLimitPolicy{RequestsPerUnit: requests, Unit: rlsconfv3.RateLimitUnit(rlsconfv3.RateLimitUnit_value[strings.ToUpper(unit)])}
}
