// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/build"
)

// headers are changes to headers, as Envoy has them.
type headers struct {
	requestAdd, responseAdd       []*corev3.HeaderValueOption
	requestRemove, responseRemove []string
	authority                     string
}

func headersOf(h *istiov1.Headers) headers {
	out := headers{}
	if h == nil {
		return out
	}
	if r := h.Request; r != nil {
		out.requestAdd = append(options(r.Set, false), options(r.Add, true)...)
		out.requestRemove = r.Remove
		for _, set := range []map[string]string{r.Add, r.Set} {
			for name, value := range set {
				if authorityHeader(name) {
					out.authority = value
				}
			}
		}
	}
	if r := h.Response; r != nil {
		out.responseAdd = append(options(r.Set, false), options(r.Add, true)...)
		out.responseRemove = r.Remove
	}
	return out
}

// options are headers that are added, or that replace those of their name. Values are
// formats, as in Envoy.
func options(set map[string]string, add bool) []*corev3.HeaderValueOption {
	action := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	if add {
		action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	}
	var out []*corev3.HeaderValueOption
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if authorityHeader(name) || strings.HasPrefix(name, ":") {
			continue
		}
		out = append(out, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: set[name]}, AppendAction: action})
	}
	return out
}

func (h headers) edit(r *routev3.Route) {
	r.RequestHeadersToAdd = append(r.RequestHeadersToAdd, h.requestAdd...)
	r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, h.requestRemove...)
	r.ResponseHeadersToAdd = append(r.ResponseHeadersToAdd, h.responseAdd...)
	r.ResponseHeadersToRemove = append(r.ResponseHeadersToRemove, h.responseRemove...)
}

// redirectCode returns Envoy's word for a status, or -1.
func redirectCode(status uint32) routev3.RedirectAction_RedirectResponseCode {
	i := slices.Index([]uint32{301, 302, 303, 307, 308}, status)
	return routev3.RedirectAction_RedirectResponseCode(i) // Envoy has them in this order.
}

// Where the port of a redirect comes from.
const (
	derivedProtocol = "FROM_PROTOCOL_DEFAULT"
	derivedRequest  = "FROM_REQUEST_PORT"
)

// redirectOf answers with another place.
func redirectOf(in *istiov1.HTTPRedirect, listen int32, secure bool) *routev3.Route_Redirect {
	r := &routev3.RedirectAction{HostRedirect: in.Authority}
	switch {
	case in.PrefixRewrite != "":
		r.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: in.PrefixRewrite}
	case in.URI != "":
		r.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: in.URI}
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	if in.Scheme != "" {
		scheme = in.Scheme
		r.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: scheme}
	}
	switch {
	case in.Port != nil:
		r.PortRedirect = *in.Port
	case in.DerivePort == derivedRequest:
		r.PortRedirect = uint32(listen)
	}
	if r.PortRedirect == 80 && scheme == "http" || r.PortRedirect == 443 && scheme == "https" {
		r.PortRedirect = 0 // It goes without saying.
	}
	if in.RedirectCode != 0 {
		r.ResponseCode = redirectCode(in.RedirectCode)
	}
	return &routev3.Route_Redirect{Redirect: r}
}

// answerOf answers by itself.
func answerOf(in *istiov1.HTTPDirectResponse) *routev3.Route_DirectResponse {
	out := build.Answer(in.Status)
	switch b := in.Body; {
	case b == nil:
	case b.String != nil:
		out.DirectResponse.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: *b.String}}
	default:
		out.DirectResponse.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b.Bytes}}
	}
	return out
}

// rewrite changes what is asked for.
func rewrite(in *istiov1.HTTPRewrite, authority string, a *routev3.RouteAction) {
	if in != nil {
		switch r := in.URIRegexRewrite; {
		case r != nil:
			a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: build.Regex(r.Match), Substitution: r.Rewrite}
		case in.URI != "":
			a.PrefixRewrite = in.URI
		}
		authority = first(in.Authority, authority)
	}
	if authority != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: authority}
	}
}

// What is tried again where nothing says, as in Istio, and how often.
const (
	retryOn       = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	retryAttempts = 2
	retryStatus   = 503
	// otherHosts is how often another host is looked for.
	otherHosts = 5
)

// retryOf says when to try again; nil is never. hashed requests stay at their host.
func retryOf(in *istiov1.HTTPRetry, hashed bool) *routev3.RetryPolicy {
	if in != nil && in.Attempts == 0 {
		return nil
	}
	out := build.Retry{On: retryOn, Attempts: retryAttempts, Codes: []uint32{retryStatus}}.Policy()
	out.HostSelectionRetryMaxAttempts = otherHosts
	others := !hashed
	if in != nil {
		out.NumRetries = wrapperspb.UInt32(uint32(in.Attempts))
		if in.RetryOn != "" {
			on, codes := reasonsToRetry(in.RetryOn)
			if len(codes) > 0 && !slices.Contains(on, "retriable-status-codes") {
				on = append(on, "retriable-status-codes")
			}
			out.RetryOn, out.RetriableStatusCodes = strings.Join(on, ","), codes
		}
		if d := duration(in.PerTryTimeout); d > 0 {
			out.PerTryTimeout = durationpb.New(d)
		}
		if d := duration(in.Backoff); d > 0 {
			out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(d)}
		}
		if in.RetryIgnorePreviousHosts != nil {
			others = *in.RetryIgnorePreviousHosts
		}
		if in.RetryRemoteLocalities != nil && *in.RetryRemoteLocalities {
			out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
				Name: "envoy.retry_priorities.previous_priorities",
				ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
					TypedConfig: build.Any(&previousprioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 2}),
				},
			}
		}
	}
	if others {
		out.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: build.Any(&previoushostsv3.PreviousHostsPredicate{})},
		}}
	}
	return out
}

// fraction returns a percentage as Envoy has it.
func fraction(percent float64) *typev3.FractionalPercent {
	const million = 1_000_000
	return &typev3.FractionalPercent{Numerator: uint32(percent*million/100 + 0.5), Denominator: typev3.FractionalPercent_MILLION}
}

// faultOf is what the fault filter does for a route.
func faultOf(in *istiov1.HTTPFaultInjection) *anypb.Any {
	out := &faultv3.HTTPFault{}
	if d := in.Delay; d != nil {
		percent := float64(d.Percent)
		if d.Percentage != nil {
			percent = d.Percentage.Value
		}
		out.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(duration(d.FixedDelay))}, Percentage: fraction(percent),
		}
	}
	if a := in.Abort; a != nil {
		out.Abort = &faultv3.FaultAbort{Percentage: fraction(0)}
		if a.Percentage != nil {
			out.Abort.Percentage = fraction(a.Percentage.Value)
		}
		if code, ok := grpcCode(a.GRPCStatus); ok {
			out.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: code}
		} else {
			out.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(a.HTTPStatus)}
		}
	}
	return build.Any(out)
}

// grpcCode reads a status of gRPC, by its name or number.
func grpcCode(text string) (uint32, bool) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil && n <= uint64(codes.Unauthenticated) {
		return uint32(n), true
	}
	var code codes.Code
	if text == "" || code.UnmarshalJSON([]byte(strconv.Quote(strings.ToUpper(text)))) != nil {
		return 0, false
	}
	return uint32(code), true
}

// corsOf is what the CORS filter does for a route.
func corsOf(in *istiov1.CorsPolicy) *anypb.Any {
	out := &corsv3.CorsPolicy{
		AllowMethods: strings.Join(in.AllowMethods, ","), AllowHeaders: strings.Join(in.AllowHeaders, ","), ExposeHeaders: strings.Join(in.ExposeHeaders, ","),
		ForwardNotMatchingPreflights: wrapperspb.Bool(in.UnmatchedPreflights != "IGNORE"),
	}
	for _, o := range in.AllowOrigins {
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, text(o))
	}
	if len(in.AllowOrigins) == 0 {
		for _, o := range in.AllowOrigin {
			if o == "*" {
				out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, build.Text(".*", true))
			} else {
				out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, build.Text(o, false))
			}
		}
	}
	if in.MaxAge != "" {
		out.MaxAge = strconv.FormatInt(int64(duration(in.MaxAge).Seconds()), 10)
	}
	if in.AllowCredentials != nil {
		out.AllowCredentials = wrapperspb.Bool(*in.AllowCredentials)
	}
	return build.Any(out)
}

// hashOf is what a balancer that hashes looks at; nil for others.
func hashOf(h *istiov1.ConsistentHash) *routev3.RouteAction_HashPolicy {
	switch {
	case h == nil:
		return nil
	case h.HTTPHeaderName != "":
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: h.HTTPHeaderName},
		}}
	case h.HTTPCookie != nil:
		cookie := &routev3.RouteAction_HashPolicy_Cookie{Name: h.HTTPCookie.Name, Path: h.HTTPCookie.Path}
		if h.HTTPCookie.TTL != nil {
			cookie.Ttl = durationpb.New(duration(*h.HTTPCookie.TTL))
		}
		for _, a := range h.HTTPCookie.Attributes {
			cookie.Attributes = append(cookie.Attributes, &routev3.RouteAction_HashPolicy_CookieAttribute{Name: a.Name, Value: a.Value})
		}
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: cookie}}
	case h.UseSourceIP:
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}}
	}
	return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
		QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: h.HTTPQueryParameterName},
	}}
}
