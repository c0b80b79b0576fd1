// SPDX-License-Identifier: Apache-2.0

package ratelimit

import (
	"fmt"
	"time"

	ratelimitconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/call"
)

// CompileOwn compiles the rate_limits of a filter's configuration, which have neither a
// stage nor a disable_key; none is nil. Errors begin with the field.
func CompileOwn(list []*routev3.RateLimit, ctx route.Context) ([]route.RateLimit, error) {
	for i, l := range list {
		switch {
		case l.GetStage() != nil:
			return nil, fmt.Errorf("rate_limits[%d].stage: has no meaning here: leave it out", i)
		case l.GetDisableKey() != "":
			return nil, fmt.Errorf("rate_limits[%d].disable_key: has no meaning here: leave it out", i)
		}
	}
	out, problems := route.CompileRateLimits(list, ctx)
	for _, p := range problems {
		if !p.Warning {
			return nil, fmt.Errorf("%s: %s", p.Path, p.Reason)
		}
	}
	return out, nil
}

// DefaultTimeout is how long a filter waits where it does not say.
const DefaultTimeout = 20 * time.Millisecond

// Context is what a Service is compiled with.
type Context struct {
	// Limiter is that of this process, nil if it has none.
	Limiter Limiter
	// Clusters are those that a service may be in; HasCluster tells which there are.
	Clusters   *upstream.Manager
	HasCluster func(name string) bool
	Hostname   string
	Warn       func(path, reason string)
}

// CompileService compiles where a filter asks. timeout is the filter's; nil is
// DefaultTimeout, 0 none.
func CompileService(m *ratelimitconfigv3.RateLimitServiceConfig, timeout *durationpb.Duration, c Context) (*Service, error) {
	limit := DefaultTimeout
	if timeout != nil {
		if limit = timeout.AsDuration(); limit < 0 {
			return nil, fmt.Errorf("timeout: %s is negative", limit)
		}
	}
	if err := call.CheckVersion(m.GetTransportApiVersion()); err != nil {
		return nil, fmt.Errorf("rate_limit_service.%w", err)
	}
	s, err := call.Compile(m.GetGrpcService(), call.Context{Hostname: c.Hostname, Warn: func(path, reason string) {
		c.Warn("rate_limit_service.grpc_service."+path, reason)
	}})
	if err != nil {
		return nil, fmt.Errorf("rate_limit_service.grpc_service.%w", err)
	}
	if s.Cluster == InProcess {
		if c.Limiter == nil {
			return nil, fmt.Errorf("rate_limit_service.grpc_service.envoy_grpc.cluster_name: %q is the limiter of this process, which has none: run it with --ratelimit-config, or name the cluster of a rate limit service", InProcess)
		}
		return &Service{local: c.Limiter, timeout: limit}, nil
	}
	if c.HasCluster != nil && !c.HasCluster(s.Cluster) {
		return nil, fmt.Errorf("rate_limit_service.grpc_service.envoy_grpc.cluster_name: there is no cluster %q: add it, or use %q, the limiter of this process", s.Cluster, InProcess)
	}
	// The filter's timeout is that of the call, as in Envoy.
	s.Timeout = limit
	return &Service{remote: call.NewClient(s, c.Clusters)}, nil
}
