// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"weir.dev/weir/proxy/match"
)

// Back-off between tries by default.
const (
	defaultBackOff      = 25 * time.Millisecond
	defaultResetBackOff = 300 * time.Second
)

func (c *compiler) retry(p *routev3.RetryPolicy) *RetryPolicy {
	on, unknown := ParseRetryOn(p.GetRetryOn())
	if unknown != "" {
		c.at("retry_on").warn("condition %q is not known and has no effect", unknown)
	}
	if on&RetryHTTP3PostConnect != 0 {
		c.at("retry_on").warn("http3-post-connect-failure has no effect: hosts are not spoken to in HTTP/3")
	}
	r := &RetryPolicy{
		On:                on,
		NumRetries:        1,
		PerTryTimeout:     c.duration("per_try_timeout", p.GetPerTryTimeout(), 0),
		PerTryIdleTimeout: c.duration("per_try_idle_timeout", p.GetPerTryIdleTimeout(), 0),
		HostAttempts:      1,
		BackOffBase:       defaultBackOff,
		BackOffMax:        10 * defaultBackOff,
		Headers:           c.headers("retriable_headers", p.GetRetriableHeaders()),
		RequestHeaders:    c.headers("retriable_request_headers", p.GetRetriableRequestHeaders()),
	}
	if n := p.GetNumRetries(); n != nil {
		r.NumRetries = n.Value
	}
	if n := p.GetHostSelectionRetryMaxAttempts(); n != 0 {
		r.HostAttempts = n
	}
	for _, s := range p.GetRetriableStatusCodes() {
		r.StatusCodes = append(r.StatusCodes, int(s))
	}
	c.retryExtensions(p, r)
	if b := p.GetRetryBackOff(); b != nil {
		at := c.at("retry_back_off")
		r.BackOffSet = true
		r.BackOffBase = max(time.Millisecond, at.duration("base_interval", b.GetBaseInterval(), 0))
		if b.GetBaseInterval() == nil {
			at.at("base_interval").reject("is missing")
		}
		r.BackOffMax = 10 * r.BackOffBase
		if b.GetMaxInterval() != nil {
			r.BackOffMax = max(time.Millisecond, at.duration("max_interval", b.GetMaxInterval(), 0))
		}
		if r.BackOffMax < r.BackOffBase {
			at.at("max_interval").reject("%s is less than base_interval, %s", r.BackOffMax, r.BackOffBase)
		}
	}
	if b := p.GetRateLimitedRetryBackOff(); b != nil {
		at := c.at("rate_limited_retry_back_off")
		r.RateLimited = &RateLimitedBackOff{
			MaxInterval: max(time.Millisecond, at.duration("max_interval", b.GetMaxInterval(), defaultResetBackOff)),
		}
		for _, h := range b.GetResetHeaders() {
			r.RateLimited.Headers = append(r.RateLimited.Headers, ResetHeader{
				Name: requestHeader(h.GetName()),
				Unix: h.GetFormat() == routev3.RetryPolicy_UNIX_TIMESTAMP,
			})
		}
	}
	if p.GetRefreshClusterOnRetry() {
		c.at("refresh_cluster_on_retry").warn("has no effect: it is for cluster specifier plugins, which are not supported")
	}
	return r
}

func (c *compiler) retryExtensions(p *routev3.RetryPolicy, r *RetryPolicy) {
	for i, h := range p.GetRetryHostPredicate() {
		at := c.at("retry_host_predicate[%d]", i)
		if c.ctx.RetryHostPredicate == nil {
			at.reject("host predicate %q is not supported", h.GetName())
			continue
		}
		v, err := c.ctx.RetryHostPredicate(h.GetName(), h.GetTypedConfig())
		at.fail(err)
		r.HostPredicates = append(r.HostPredicates, v)
	}
	if e := p.GetRetryPriority(); e != nil {
		at := c.at("retry_priority")
		if c.ctx.RetryPriority == nil {
			at.reject("retry priority %q is not supported", e.GetName())
		} else {
			v, err := c.ctx.RetryPriority(e.GetName(), e.GetTypedConfig())
			at.fail(err)
			r.Priority = v
		}
	}
	for i, e := range p.GetRetryOptionsPredicates() {
		c.at("retry_options_predicates[%d]", i).reject("retry options predicate %q is not supported", e.GetName())
	}
}

// hedge compiles a hedge policy, and warns of what it asks in vain.
func (c *compiler) hedge(p *routev3.HedgePolicy) *HedgePolicy {
	if n := p.GetInitialRequests(); n != nil && n.GetValue() == 0 {
		c.at("initial_requests").reject("must be at least 1")
	} else if n.GetValue() > 1 {
		c.at("initial_requests").warn("has no effect, as in Envoy: one request is sent, and others by hedge_on_per_try_timeout")
	}
	if p.GetAdditionalRequestChance().GetNumerator() > 0 {
		c.at("additional_request_chance").warn("has no effect, as in Envoy: a further request is sent by hedge_on_per_try_timeout only")
	}
	return &HedgePolicy{OnPerTryTimeout: p.GetHedgeOnPerTryTimeout()}
}

func (c *compiler) mirrors(l []*routev3.RouteAction_RequestMirrorPolicy) []Mirror {
	var out []Mirror
	for i, p := range l {
		at := c.at("request_mirror_policies[%d]", i)
		if (p.GetCluster() == "") == (p.GetClusterHeader() == "") {
			at.reject("must have cluster or cluster_header, and not both")
		}
		m := Mirror{
			Cluster:     p.GetCluster(),
			Fraction:    match.RuntimeFraction{Default: match.All},
			KeepHost:    p.GetDisableShadowHostSuffixAppend(),
			HostRewrite: p.GetHostRewriteLiteral(),
			mutations:   at.mutationList("request_headers_mutations", p.GetRequestHeadersMutations()),
		}
		if v := p.GetTraceSampled(); v != nil {
			m.Untraced = !v.GetValue()
		}
		if h := p.GetClusterHeader(); h != "" {
			m.ClusterHeader = requestHeader(h)
		}
		if p.GetRuntimeFraction() != nil {
			m.Fraction = match.CompileRuntimeFraction(p.RuntimeFraction)
		}
		out = append(out, m)
	}
	return out
}

func (c *compiler) hashPolicies(l []*routev3.RouteAction_HashPolicy) HashPolicies {
	var out HashPolicies
	for i, h := range l {
		at := c.at("hash_policy[%d]", i)
		p := hashPolicy{terminal: h.GetTerminal()}
		switch s := h.GetPolicySpecifier().(type) {
		case *routev3.RouteAction_HashPolicy_Header_:
			p.kind, p.header = hashHeader, requestHeader(s.Header.GetHeaderName())
			if s.Header.GetRegexRewrite() != nil {
				w, err := match.CompileRewrite(s.Header.RegexRewrite)
				at.at("header.regex_rewrite").fail(err)
				p.rewrite = w
			}
		case *routev3.RouteAction_HashPolicy_Cookie_:
			p.kind, p.cookie = hashCookie, at.at("cookie").hashCookie(s.Cookie)
		case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
			if !s.ConnectionProperties.GetSourceIp() {
				continue // Then the policy has no effect, as in Envoy.
			}
			p.kind = hashSourceIP
		case *routev3.RouteAction_HashPolicy_QueryParameter_:
			p.kind, p.key = hashQuery, s.QueryParameter.GetName()
		case *routev3.RouteAction_HashPolicy_FilterState_:
			p.kind, p.key = hashFilterState, s.FilterState.GetKey()
		default:
			at.reject("has no policy: set header, cookie, connection_properties or another")
		}
		out = append(out, p)
	}
	return out
}

func (c *compiler) hashCookie(k *routev3.RouteAction_HashPolicy_Cookie) *HashCookie {
	h := &HashCookie{Name: k.GetName(), Path: k.GetPath(), TTL: c.optDuration("ttl", k.GetTtl())}
	if strings.ContainsAny(h.Name+h.Path, "\r\n\x00;") {
		c.reject("name and path may not have line breaks or semicolons")
	}
	for _, a := range k.GetAttributes() {
		h.Attributes = append(h.Attributes, CookieAttribute{a.GetName(), a.GetValue()})
	}
	return h
}

func (c *compiler) cors(p *routev3.CorsPolicy) *CORS {
	o := &CORS{
		AllowMethods:                 p.GetAllowMethods(),
		AllowHeaders:                 p.GetAllowHeaders(),
		ExposeHeaders:                p.GetExposeHeaders(),
		MaxAge:                       p.GetMaxAge(),
		AllowCredentials:             boolOr(p.GetAllowCredentials(), false),
		AllowPrivateNetworkAccess:    boolOr(p.GetAllowPrivateNetworkAccess(), false),
		ForwardNotMatchingPreflights: boolOr(p.GetForwardNotMatchingPreflights(), true),
		Enabled:                      match.RuntimeFraction{Default: match.All},
	}
	for i, m := range p.GetAllowOriginStringMatch() {
		s, err := match.CompileString(m)
		if c.at("allow_origin_string_match[%d]", i).fail(err) {
			o.AllowOrigins = append(o.AllowOrigins, s)
		}
	}
	if f := p.GetFilterEnabled(); f != nil {
		o.Enabled = match.CompileRuntimeFraction(f)
	}
	if f := p.GetShadowEnabled(); f != nil {
		o.Shadow = match.CompileRuntimeFraction(f)
	}
	return o
}

// CompileHashPolicies compiles hash policies that stand outside of a route, in a load
// balancing policy. The error names the field below hash_policy.
func CompileHashPolicies(l []*routev3.RouteAction_HashPolicy) (HashPolicies, error) {
	if len(l) == 0 {
		return nil, nil
	}
	c := &compiler{problems: &[]Problem{}, seen: map[Problem]bool{}}
	out := c.hashPolicies(l)
	for _, p := range *c.problems {
		if !p.Warning {
			return nil, p
		}
	}
	return out, nil
}
