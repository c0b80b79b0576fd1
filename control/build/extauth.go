// SPDX-License-Identifier: Apache-2.0

package build

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// authTimeout is how long a service that authorizes requests may take, if nobody says.
const authTimeout = 10 * time.Second

// An Authorizer is a service that says whether requests may pass.
type Authorizer struct {
	Cluster string
	GRPC    bool
	// Body is how much of a request's body it is told, in bytes; one that is longer is
	// refused. 0 is nothing.
	Body uint32
	// Partial has it told the beginning of a longer one instead. Text has a service of
	// gRPC told it as text, and not as bytes.
	Partial, Text bool
	// Timeout is how long it may take; 0 is ten seconds.
	Timeout time.Duration
	// Retry says when it is asked again; nil is never.
	Retry *corev3.RetryPolicy
	// What follows is of HTTP. Prefix goes before the path, Whole takes its place; Request
	// are fields of the request that it is told, Upstream those of its answer that go on to
	// the backend.
	Prefix, Whole     string
	Request, Upstream []string
	// AllUpstream is all of them but the host.
	AllUpstream bool
	// Client are fields of an answer that says no which go to the client; none is all. Add
	// are fields that the service is told besides.
	Client []string
	Add    map[string]string
}

// An AuthorizerFilter is a filter of an Authorizer of its own.
type AuthorizerFilter struct {
	Authorizer
	// Told are the fields of requests that the service is told; none leaves it to its kind.
	Told []string
	// FailOpen lets requests through that nobody judged. Status (0 is 403) is what the
	// others of these are answered.
	FailOpen bool
	Status   uint32
	// Again has requests that may pass be routed anew, by what the service added.
	Again bool
	// Metadata are namespaces of the route's metadata that the service is told.
	Metadata []string
}

func (a Authorizer) timeout() time.Duration {
	if a.Timeout > 0 {
		return a.Timeout
	}
	return authTimeout
}

func (a Authorizer) grpc() *corev3.GrpcService {
	return &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: a.Cluster}},
		Timeout:         duration(a.timeout()), RetryPolicy: a.Retry,
	}
}

// notHost is every name but host: who a request is for is no service's to say.
const notHost = "[^h].*|h|h[^o].*|ho|ho[^s].*|hos|hos[^t].*|host.+"

func (a Authorizer) http() *extauthzv3.HttpService {
	upstream := names(a.Upstream)
	if a.AllUpstream {
		upstream = &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{Text(notHost, true)}}
	}
	return &extauthzv3.HttpService{
		ServerUri:            &corev3.HttpUri{Uri: "http://ext-authz", HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: a.Cluster}, Timeout: duration(a.timeout())},
		PathPrefix:           a.Prefix,
		PathOverride:         a.Whole,
		RetryPolicy:          a.Retry,
		AuthorizationRequest: &extauthzv3.AuthorizationRequest{AllowedHeaders: names(a.Request), HeadersToAdd: added(a.Add)}, //nolint:staticcheck // The filter's own is not of a route.
		AuthorizationResponse: &extauthzv3.AuthorizationResponse{
			AllowedUpstreamHeaders: upstream, AllowedClientHeaders: names(a.Client),
		},
	}
}

func added(fields map[string]string) []*corev3.HeaderValue {
	var out []*corev3.HeaderValue
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		out = append(out, &corev3.HeaderValue{Key: name, Value: fields[name]})
	}
	return out
}

func names(list []string) *matcherv3.ListStringMatcher {
	if len(list) == 0 {
		return nil
	}
	out := &matcherv3.ListStringMatcher{}
	for _, n := range list {
		m := Text(strings.ToLower(n), false)
		m.IgnoreCase = true
		out.Patterns = append(out.Patterns, m)
	}
	return out
}

func (a Authorizer) body() *extauthzv3.BufferSettings {
	if a.Body == 0 {
		return nil
	}
	return &extauthzv3.BufferSettings{MaxRequestBytes: a.Body, AllowPartialMessage: a.Partial, PackAsBytes: !a.Text}
}

// Route is the filter's configuration for a route.
func (a Authorizer) Route() *extauthzv3.ExtAuthzPerRoute {
	s := &extauthzv3.CheckSettings{WithRequestBody: a.body()}
	if a.GRPC {
		s.ServiceOverride = &extauthzv3.CheckSettings_GrpcService{GrpcService: a.grpc()}
	} else {
		s.ServiceOverride = &extauthzv3.CheckSettings_HttpService{HttpService: a.http()}
	}
	return &extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_CheckSettings{CheckSettings: s}}
}

// Filter is the filter itself.
func (a Authorizer) Filter() *extauthzv3.ExtAuthz {
	out := &extauthzv3.ExtAuthz{TransportApiVersion: corev3.ApiVersion_V3}
	if a.GRPC {
		out.Services = &extauthzv3.ExtAuthz_GrpcService{GrpcService: a.grpc()}
	} else {
		out.Services = &extauthzv3.ExtAuthz_HttpService{HttpService: a.http()}
	}
	return out
}

// Filter is the filter.
func (a AuthorizerFilter) Filter() *extauthzv3.ExtAuthz {
	out := a.Authorizer.Filter()
	out.WithRequestBody = a.body()
	out.FailureModeAllow, out.ClearRouteCache, out.RouteMetadataContextNamespaces = a.FailOpen, a.Again, a.Metadata
	out.AllowedHeaders = names(a.Told)
	if a.Status != 0 {
		out.StatusOnError = &typev3.HttpStatus{Code: typev3.StatusCode(a.Status)}
	}
	return out
}

// Authorize has a route ask a filter's own service, and tell it more.
func Authorize(more map[string]string) *anypb.Any {
	return Any(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_CheckSettings{CheckSettings: &extauthzv3.CheckSettings{ContextExtensions: more}}})
}
