// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/build"
)

// matchOf is what a Mapping matches, but for its host name.
func matchOf(m *mapping) *routev3.RouteMatch {
	s := m.spec
	out := &routev3.RouteMatch{}
	switch {
	case is(s.PrefixRegex):
		build.PathRegex(out, s.Prefix)
	case is(s.PrefixExact):
		build.PathExact(out, s.Prefix)
	default:
		// A prefix is one of letters: /a is /ab, too.
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: s.Prefix}
	}
	if s.CaseSensitive != nil {
		out.CaseSensitive = wrapperspb.Bool(*s.CaseSensitive)
	}
	for _, p := range m.headers {
		out.Headers = append(out.Headers, headerMatch(p))
	}
	if m.hostRegex != "" {
		out.Headers = append(out.Headers, build.Header(":authority", m.hostRegex, true))
	}
	for _, p := range m.query {
		q := build.Query(p.name, p.value, p.regex)
		if p.present {
			q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
		}
		out.QueryParameters = append(out.QueryParameters, q)
	}
	return out
}

func headerMatch(p pair) *routev3.HeaderMatcher {
	h := build.Header(p.name, p.value, p.regex)
	if p.present {
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
	}
	return h
}

// redirectCode returns Envoy's word for a status, or -1.
func redirectCode(status int) routev3.RedirectAction_RedirectResponseCode {
	i := slices.Index([]int{301, 302, 303, 307, 308}, status)
	return routev3.RedirectAction_RedirectResponseCode(i) // Envoy has them in this order.
}

// redirectOf is the action of a Mapping whose service is the host to redirect to.
func redirectOf(s *emissaryv3.MappingSpec) *routev3.Route_Redirect {
	host := s.Service
	r := &routev3.RedirectAction{}
	if scheme, rest, ok := strings.Cut(host, "://"); ok {
		host = rest
		r.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: scheme}
	}
	r.HostRedirect = host
	switch {
	case s.PathRedirect != "":
		r.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: s.PathRedirect}
	case s.PrefixRedirect != "":
		r.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: s.PrefixRedirect}
	case s.RegexRedirect != nil:
		r.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: substitute(s.RegexRedirect)}
	}
	if s.RedirectResponseCode != nil {
		r.ResponseCode = redirectCode(*s.RedirectResponseCode)
	}
	return &routev3.Route_Redirect{Redirect: r}
}

func substitute(r *emissaryv3.RegexMap) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{Pattern: build.Regex(r.Pattern), Substitution: r.Substitution}
}

// defaultTimeout is how long a request may take where nothing says.
const defaultTimeout = 3000

// forwardOf is the action of a Mapping that leads to a service.
func forwardOf(in *install, m *mapping, cluster string) *routev3.RouteAction {
	s := m.spec
	timeout := int64(defaultTimeout)
	if t := first(s.Timeout, in.config.ClusterRequestTimeout); t != nil {
		timeout = *t
	}
	a := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		Timeout:          ms(timeout), IdleTimeout: msOf(s.IdleTimeout),
	}
	if s.Priority == "high" {
		a.Priority = corev3.RoutingPriority_HIGH
	}
	switch {
	case s.RegexRewrite != nil && s.RegexRewrite.Pattern != "":
		a.RegexRewrite = substitute(s.RegexRewrite)
	case is(s.PrefixRegex):
		// What a regular expression matched has no prefix to rewrite.
	case s.Rewrite == nil:
		a.PrefixRewrite = "/"
	default:
		a.PrefixRewrite = *s.Rewrite // Empty rewrites nothing.
	}
	if s.HostRewrite != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: s.HostRewrite}
	} else if is(s.AutoHostRewrite) {
		a.HostRewriteSpecifier = &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)}
	}
	if r := cmp.Or(s.RetryPolicy, in.config.RetryPolicy); r != nil {
		a.RetryPolicy = retryOf(r)
	}
	if h := hashOf(cmp.Or(s.LoadBalancer, in.config.LoadBalancer)); h != nil {
		a.HashPolicy = []*routev3.RouteAction_HashPolicy{h}
	}
	for _, u := range upgrades(s) {
		a.UpgradeConfigs = append(a.UpgradeConfigs, &routev3.RouteAction_UpgradeConfig{UpgradeType: u})
	}
	return a
}

// upgrades are the protocols that a Mapping lets a connection change to.
func upgrades(s *emissaryv3.MappingSpec) []string {
	all := s.AllowUpgrade
	if is(s.UseWebsocket) {
		all = append(slices.Clip(all), "websocket")
	}
	var out []string
	for _, u := range all {
		if !slices.ContainsFunc(out, func(o string) bool { return strings.EqualFold(o, u) }) {
			out = append(out, u)
		}
	}
	return out
}

func retryOf(r *emissaryv3.RetryPolicy) *routev3.RetryPolicy {
	out := &routev3.RetryPolicy{RetryOn: r.RetryOn, NumRetries: number(r.NumRetries)}
	if d, err := time.ParseDuration(r.PerTryTimeout); err == nil {
		out.PerTryTimeout = durationpb.New(d)
	}
	return out
}

// hashOf is what a balancer that hashes looks at; nil for others.
func hashOf(b *emissaryv3.LoadBalancer) *routev3.RouteAction_HashPolicy {
	switch {
	case b == nil:
		return nil
	case b.Cookie != nil:
		cookie := &routev3.RouteAction_HashPolicy_Cookie{Name: b.Cookie.Name, Path: b.Cookie.Path}
		if d, err := time.ParseDuration(b.Cookie.TTL); err == nil {
			cookie.Ttl = durationpb.New(d)
		}
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: cookie}}
	case b.Header != "":
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: b.Header},
		}}
	case is(b.SourceIP):
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}}
	}
	return nil
}

// edit sets what a Mapping adds to and removes from headers. What it does not speak of
// is as the Module's defaults say; an empty map or list speaks.
func edit(in *install, s *emissaryv3.MappingSpec, service string, out *routev3.Route) {
	d := &in.config.Defaults
	request := first(s.AddRequestHeaders, d.HTTPMapping.AddRequestHeaders, d.AddRequestHeaders)
	response := first(s.AddResponseHeaders, d.HTTPMapping.AddResponseHeaders, d.AddResponseHeaders)
	if request != nil {
		out.RequestHeadersToAdd = addedHeaders(*request)
	}
	if response != nil {
		out.ResponseHeadersToAdd = addedHeaders(*response)
	}
	if l := first(s.RemoveRequestHeaders, d.HTTPMapping.RemoveRequestHeaders); l != nil {
		out.RequestHeadersToRemove = *l
	}
	if l := first(s.RemoveResponseHeaders, d.HTTPMapping.RemoveResponseHeaders); l != nil {
		out.ResponseHeadersToRemove = *l
	}
	if l := first(s.AddLinkerdHeaders, d.HTTPMapping.AddLinkerdHeaders, in.config.AddLinkerdHeaders); is(l) {
		out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, build.SetHeaders(false, [2]string{"l5d-dst-override", service})...)
	}
	if is(in.config.SuppressEnvoyHeaders) {
		for _, name := range []string{"x-envoy-upstream-service-time", "x-envoy-attempt-count", "x-envoy-decorator-operation"} {
			if !slices.Contains(out.ResponseHeadersToRemove, name) {
				out.ResponseHeadersToRemove = append(out.ResponseHeadersToRemove, name)
			}
		}
	}
}

// corsOf is what the CORS filter does for a route.
func corsOf(c *emissaryv3.CORS) *anypb.Any {
	out := &corsv3.CorsPolicy{
		AllowMethods: listed(c.Methods), AllowHeaders: listed(c.Headers), ExposeHeaders: listed(c.ExposedHeaders), MaxAge: c.MaxAge.Value,
	}
	if is(c.Credentials) {
		out.AllowCredentials = wrapperspb.Bool(true)
	}
	for _, o := range originsOf(c) {
		if o == "*" {
			out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, build.Text(".*", true))
			continue
		}
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, build.Text(o, false))
	}
	return build.Any(out)
}

// originsOf reads origins, which may stand in one text with commas.
func originsOf(c *emissaryv3.CORS) []string {
	var out []string
	for _, text := range c.Origins {
		for _, o := range strings.Split(text, ",") {
			if o = strings.TrimSpace(o); o != "" {
				out = append(out, o)
			}
		}
	}
	return out
}

func listed(list emissaryv3.Strings) string { return strings.Join(list, ", ") }
