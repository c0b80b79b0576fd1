// SPDX-License-Identifier: Apache-2.0

package build

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	awslambdav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_lambda/v3"
	upstreamcodecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/xds/typedstruct"
)

// The filters that stand in front of hosts.
const (
	fnFilter      = "weir.filters.http.fn"
	fnType        = "weir.dev.filters.http.Fn"
	lambdaFilter  = "envoy.filters.http.aws_lambda"
	upstreamCodec = "envoy.filters.http.upstream_codec"
)

// Fn is the filter that calls a function of the Fn Project, with the fields of its
// configuration (ext/http/fn). It panics if one cannot be written as JSON.
func Fn(fields map[string]any) *hcmv3.HttpFilter {
	s := typedstruct.New(fnType)
	value, err := structpb.NewStruct(fields)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	s.Value = value
	return httpFilter(fnFilter, s)
}

// Lambda is the filter that invokes a function of AWS Lambda.
func Lambda(c *awslambdav3.Config) *hcmv3.HttpFilter { return httpFilter(lambdaFilter, c) }

func httpFilter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: Any(m)}}
}

// Calls say how requests to a cluster call a function.
type Calls struct {
	Filter *hcmv3.HttpFilter
	// Timeout of a call; 0 is none.
	Timeout time.Duration
	// Retries is how many other hosts are asked where one is busy. Above 0 they take the
	// place of what routes have.
	Retries uint32
	// Key has all calls go to the same host, which it is hashed to; empty has them go to
	// any.
	Key string
}

// hostsTried is how many hosts are looked at to find one that was not tried.
const hostsTried = 8

// Apply makes a cluster a function's.
func (f Calls) Apply(c *clusterv3.Cluster) {
	o := &httpv3.HttpProtocolOptions{}
	if own := c.TypedExtensionProtocolOptions[HTTPOptions]; own != nil {
		if err := own.UnmarshalTo(o); err != nil {
			panic("BUG: " + err.Error())
		}
	}
	if o.UpstreamProtocolOptions == nil {
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
		}}
	}
	o.HttpFilters = []*hcmv3.HttpFilter{f.Filter, httpFilter(upstreamCodec, &upstreamcodecv3.UpstreamCodec{})}
	if f.Timeout > 0 {
		o.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{MaxStreamDuration: duration(f.Timeout)}
	}
	if f.Retries > 0 {
		o.RetryPolicy = f.retry()
	}
	if f.Key != "" {
		c.LbPolicy = clusterv3.Cluster_MAGLEV
		o.HashPolicy = []*routev3.RouteAction_HashPolicy{constant(f.Key)}
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{HTTPOptions: Any(o)}
}

// retry asks another host if one is busy, or is not there: the function has not run.
func (f Calls) retry() *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		RetryOn: "envoy-ratelimited,connect-failure,refused-stream", NumRetries: wrapperspb.UInt32(f.Retries),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: Any(&previoushostsv3.PreviousHostsPredicate{})},
		}},
		HostSelectionRetryMaxAttempts: hostsTried,
	}
}

// constant hashes every request alike: by its method, for which key is put.
func constant(key string) *routev3.RouteAction_HashPolicy {
	return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{
		HeaderName: ":method",
		RegexRewrite: &matcherv3.RegexMatchAndSubstitute{
			Pattern: &matcherv3.RegexMatcher{Regex: "^.*$"}, Substitution: key,
		},
	}}}
}
