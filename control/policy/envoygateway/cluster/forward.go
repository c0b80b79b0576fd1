// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/policy/envoygateway/sheet"
)

// Forwarding puts what settings say of requests into an action.
func Forwarding(s *sheet.Sheet, at string, from *api.ClusterSettings, a *routev3.RouteAction) {
	if l := from.LoadBalancer; l != nil && l.Type == "ConsistentHash" {
		a.HashPolicy = hashes(s, at+"loadBalancer.consistentHash", l.ConsistentHash)
	}
	if t := from.Timeout; t != nil && t.HTTP != nil {
		a.Timeout = s.Duration(at+"timeout.http.requestTimeout", t.HTTP.RequestTimeout)
		a.IdleTimeout = s.Duration(at+"timeout.http.streamIdleTimeout", t.HTTP.StreamIdleTimeout)
		if d := s.Duration(at+"timeout.http.maxStreamDuration", t.HTTP.MaxStreamDuration); d != nil {
			a.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: d}
		}
	}
	if from.Retry != nil {
		a.RetryPolicy = retryOf(s, at+"retry", from.Retry)
	}
}

// What is tried again if a policy does not say.
const (
	defaultRetryOn   = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	defaultRetryCode = 503
	defaultRetries   = 2
	otherHostTries   = 5

	retriableCodes = "retriable-status-codes"
)

func triggers() []string {
	return []string{
		"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx", "refused-stream", retriableCodes,
		"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
	}
}

func retryOf(s *sheet.Sheet, at string, r *api.Retry) *routev3.RetryPolicy {
	out := &routev3.RetryPolicy{
		RetryOn: defaultRetryOn, RetriableStatusCodes: []uint32{defaultRetryCode},
		NumRetries: wrapperspb.UInt32(uint32(max(0, ptr.Deref(r.NumRetries, defaultRetries)))),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: build.Any(&previoushostsv3.PreviousHostsPredicate{})},
		}},
		HostSelectionRetryMaxAttempts: otherHostTries,
	}
	if n := r.NumAttemptsPerPriority; n != nil && *n > 0 {
		out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: build.Any(&previousprioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: *n}),
			},
		}
	}
	if on := r.RetryOn; on != nil && len(on.Triggers)+len(on.HTTPStatusCodes) > 0 {
		list := slices.Clone(on.Triggers)
		for _, t := range list {
			if !slices.Contains(triggers(), t) {
				s.Bad(at+".retryOn.triggers", "%q is not a trigger: there are %s", t, strings.Join(triggers(), ", "))
			}
		}
		if len(on.HTTPStatusCodes) > 0 && !slices.Contains(list, retriableCodes) {
			list = append(list, retriableCodes)
		}
		for _, code := range on.HTTPStatusCodes {
			if code < 100 || code > 599 {
				s.Bad(at+".retryOn.httpStatusCodes", "%d is not a status from 100 to 599", code)
			}
		}
		out.RetryOn, out.RetriableStatusCodes = strings.Join(list, ","), on.HTTPStatusCodes
	}
	if p := r.PerRetry; p != nil {
		out.PerTryTimeout = s.Duration(at+".perRetry.timeout", p.Timeout)
		if b := p.BackOff; b != nil {
			out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{
				BaseInterval: s.Positive(at+".perRetry.backOff.baseInterval", b.BaseInterval, time.Millisecond), MaxInterval: s.Positive(at+".perRetry.backOff.maxInterval", b.MaxInterval, time.Millisecond),
			}
			if b.BaseInterval == nil {
				s.Bad(at+".perRetry.backOff.baseInterval", "is required")
			}
		}
	}
	return out
}
