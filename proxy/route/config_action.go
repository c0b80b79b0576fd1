// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	urirewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/streaminfo"
)

// defaultTimeout is RouteAction.timeout by default.
const defaultTimeout = 15 * time.Second

// forward compiles a RouteAction into r; tpl is the route's template, if it
// matches by one.
func (c *compiler) forward(a *routev3.RouteAction, r *Route, in *inherited, tpl *uriTemplate) {
	f := &Forward{
		ClusterNotFoundStatus:        503,
		Timeout:                      c.duration("timeout", a.GetTimeout(), defaultTimeout),
		IdleTimeout:                  c.optDuration("idle_timeout", a.GetIdleTimeout()),
		HighPriority:                 a.GetPriority() == corev3.RoutingPriority_HIGH,
		Retry:                        in.retry,
		Hedge:                        in.hedge,
		Mirrors:                      c.mirrors(a.GetRequestMirrorPolicies()),
		HashPolicy:                   c.hashPolicies(a.GetHashPolicy()),
		CORS:                         in.vh.CORS,
		RateLimits:                   c.rateLimits(a.GetRateLimits()),
		IncludeVirtualHostRateLimits: boolOr(a.GetIncludeVhRateLimits(), false),
		metadataMatch:                c.at("metadata_match").metadata(a.GetMetadataMatch()),
	}
	r.Forward = f
	switch s := a.GetClusterNotFoundResponseCode(); s {
	case routev3.RouteAction_SERVICE_UNAVAILABLE:
	case routev3.RouteAction_NOT_FOUND:
		f.ClusterNotFoundStatus = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		f.ClusterNotFoundStatus = 500
	default:
		c.at("cluster_not_found_response_code").reject("value %d is not known", s)
	}
	if len(f.Mirrors) == 0 {
		f.Mirrors = in.mirrors
	}
	if a.GetRetryPolicy() != nil {
		f.Retry = c.at("retry_policy").retry(a.RetryPolicy)
	}
	if a.GetRetryPolicyTypedConfig() != nil {
		c.at("retry_policy_typed_config").reject("retry policy extensions are not supported: use retry_policy")
	}
	if a.GetHedgePolicy() != nil {
		f.Hedge = c.at("hedge_policy").hedge(a.HedgePolicy)
	}
	if a.GetCors() != nil {
		f.CORS = c.at("cors").cors(a.Cors)
	}
	if a.GetFlushTimeout() != nil {
		c.at("flush_timeout").warn("has no effect: idle_timeout bounds the sending of a response as well")
	}
	if a.GetEarlyDataPolicy() != nil {
		c.at("early_data_policy").warn("is not supported: TLS early data is never accepted")
	}
	c.streamDuration(a, f)
	c.upgrades(a.GetUpgradeConfigs(), f)
	c.internalRedirect(a, f)
	c.hostRewrite(a, f)
	c.pathRewrite(a, f, r, tpl)
	c.clusterOf(a, r)
}

// clusterOf compiles the cluster specifier. It comes last: the variants of a
// route to weighted clusters are copies of what r is by then.
func (c *compiler) clusterOf(a *routev3.RouteAction, r *Route) {
	switch s := a.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		r.Forward.cluster = s.Cluster
	case *routev3.RouteAction_ClusterHeader:
		r.Forward.clusterHeader = requestHeader(s.ClusterHeader)
		if s.ClusterHeader == "" {
			c.at("cluster_header").reject("is empty")
		}
	case *routev3.RouteAction_WeightedClusters:
		c.at("weighted_clusters").weighted(s.WeightedClusters, r)
	case *routev3.RouteAction_ClusterSpecifierPlugin:
		c.at("cluster_specifier_plugin").reject("cluster specifier plugins are not supported: use cluster, cluster_header or weighted_clusters")
	case *routev3.RouteAction_InlineClusterSpecifierPlugin:
		c.at("inline_cluster_specifier_plugin").reject("cluster specifier plugins are not supported: use cluster, cluster_header or weighted_clusters")
	default:
		c.reject("names no cluster: set cluster, cluster_header or weighted_clusters")
	}
}

func (c *compiler) weighted(w *routev3.WeightedCluster, r *Route) {
	wc := &weightedClusters{}
	switch s := w.GetRandomValueSpecifier().(type) {
	case *routev3.WeightedCluster_HeaderName:
		wc.randomHeader = requestHeader(s.HeaderName)
	case *routev3.WeightedCluster_UseHashPolicy:
		wc.useHash = boolOr(s.UseHashPolicy, false)
	}
	if w.GetRuntimeKeyPrefix() != "" && c.ctx.Runtime != nil {
		wc.runtime = c.ctx.Runtime
	}
	for i, cl := range w.GetClusters() {
		at := c.at("clusters[%d]", i)
		if (cl.GetName() == "") == (cl.GetClusterHeader() == "") {
			at.reject("must have name or cluster_header, and not both")
		}
		v := *r
		v.cluster = &WeightedCluster{
			Name:        cl.GetName(),
			Weight:      cl.GetWeight().GetValue(),
			hostRewrite: cl.GetHostRewriteLiteral(),
			runtimeKey:  w.GetRuntimeKeyPrefix() + "." + cl.GetName(),
		}
		if h := cl.GetClusterHeader(); h != "" {
			v.cluster.clusterHeader = requestHeader(h)
		}
		v.cluster.metadataMatch = mergeLB(r.Forward.metadataMatch, at.at("metadata_match").metadata(cl.GetMetadataMatch()))
		own := &level{
			request:  at.mutations("request", cl.GetRequestHeadersToAdd(), cl.GetRequestHeadersToRemove()),
			response: at.mutations("response", cl.GetResponseHeadersToAdd(), cl.GetResponseHeadersToRemove()),
			filters:  at.filters(cl.GetTypedPerFilterConfig()),
		}
		v.levels = append(append([]*level(nil), r.levels...), own)
		wc.routes = append(wc.routes, &v)
		wc.total += uint64(v.cluster.Weight)
	}
	switch {
	case wc.total == 0:
		c.reject("the weights sum up to 0: one must be greater")
	case wc.total > 1<<32-1:
		c.reject("the weights sum up to %d, over 4294967295", wc.total)
	}
	if t := w.GetTotalWeight(); t != nil && uint64(t.Value) != wc.total {
		c.at("total_weight").warn("%d is not the sum of the weights, %d, which is what counts", t.Value, wc.total)
	}
	r.weighted = wc
}

// mergeLB lays a weighted cluster's metadata over its route's.
func mergeLB(route, cluster streaminfo.Metadata) map[string]any {
	own, base := cluster["envoy.lb"], route["envoy.lb"]
	if own == nil || base == nil {
		return own
	}
	m := maps.Clone(base)
	maps.Copy(m, own)
	return m
}

func (c *compiler) streamDuration(a *routev3.RouteAction, f *Forward) {
	f.GRPCTimeoutMax = c.optDuration("max_grpc_timeout", a.GetMaxGrpcTimeout())
	f.GRPCTimeoutOffset = c.optDuration("grpc_timeout_offset", a.GetGrpcTimeoutOffset())
	d := a.GetMaxStreamDuration()
	if d == nil {
		return
	}
	at := c.at("max_stream_duration")
	f.UsesMaxStreamDuration = true
	f.MaxStreamDuration = at.optDuration("max_stream_duration", d.GetMaxStreamDuration())
	f.GRPCTimeoutMax = at.optDuration("grpc_timeout_header_max", d.GetGrpcTimeoutHeaderMax())
	f.GRPCTimeoutOffset = at.optDuration("grpc_timeout_header_offset", d.GetGrpcTimeoutHeaderOffset())
}

func (c *compiler) upgrades(l []*routev3.RouteAction_UpgradeConfig, f *Forward) {
	for i, u := range l {
		at := c.at("upgrade_configs[%d]", i)
		typ := strings.ToLower(u.GetUpgradeType())
		if f.Upgrade([]byte(typ)) != Unset {
			at.reject("upgrade type %q occurs twice", u.GetUpgradeType())
		}
		f.Upgrades = append(f.Upgrades, Upgrade{Type: typ, Enabled: boolOr(u.GetEnabled(), true)})
		cc := u.GetConnectConfig()
		if cc == nil {
			continue
		}
		if typ == "connect-udp" {
			at.at("connect_config").reject("datagrams cannot be taken out of a tunnel yet: leave it out to pass CONNECT-UDP on")
			continue
		}
		if typ != "connect" {
			at.at("connect_config").reject("is for upgrade type CONNECT, not %q", u.GetUpgradeType())
			continue
		}
		f.Connect = &ConnectConfig{AllowPost: cc.GetAllowPost()}
		if p := cc.GetProxyProtocolConfig(); p != nil {
			var err error
			if f.Connect.ProxyProtocol, err = proxyproto.NewSender(p, c.tlvFormat); err != nil {
				at.at("connect_config.proxy_protocol_config").reject("%v", err)
			}
		}
	}
}

// tlvFormat compiles the format of a TLV's value.
func (c *compiler) tlvFormat(m *corev3.SubstitutionFormatString) (proxyproto.Formatter, error) {
	if c.ctx.CompileBodyFormat == nil {
		return nil, errors.New("formats are not supported here")
	}
	f, _, err := c.ctx.CompileBodyFormat(m)
	return f, err
}

func (c *compiler) internalRedirect(a *routev3.RouteAction, f *Forward) {
	p := a.GetInternalRedirectPolicy()
	if p == nil {
		if a.GetInternalRedirectAction() != routev3.RouteAction_HANDLE_INTERNAL_REDIRECT {
			return
		}
		p = &routev3.InternalRedirectPolicy{MaxInternalRedirects: a.GetMaxInternalRedirects()}
	}
	at := c.at("internal_redirect_policy")
	out := &InternalRedirectPolicy{MaxRedirects: 1, AllowCrossSchemeRedirect: p.GetAllowCrossSchemeRedirect()}
	if m := p.GetMaxInternalRedirects(); m != nil {
		out.MaxRedirects = m.Value
	}
	for i, s := range p.GetRedirectResponseCodes() {
		switch s {
		case 301, 302, 303, 307, 308:
			out.Statuses = append(out.Statuses, int(s))
		default:
			at.at("redirect_response_codes[%d]", i).warn("%d is no redirect and has no effect: use 301, 302, 303, 307 or 308", s)
		}
	}
	if len(p.GetRedirectResponseCodes()) == 0 {
		out.Statuses = []int{302}
	}
	for i, e := range p.GetPredicates() {
		pc := at.at("predicates[%d]", i)
		if c.ctx.RedirectPredicate == nil {
			pc.reject("redirect predicate %q is not supported", e.GetName())
			continue
		}
		v, err := c.ctx.RedirectPredicate(e.GetName(), e.GetTypedConfig())
		pc.fail(err)
		out.Predicates = append(out.Predicates, v)
	}
	for i, n := range p.GetResponseHeadersToCopy() {
		if _, ok := at.at("response_headers_to_copy[%d]", i).settable(n); ok {
			out.HeadersToCopy = append(out.HeadersToCopy, requestHeader(n))
		}
	}
	f.InternalRedirect = out
}

func (c *compiler) hostRewrite(a *routev3.RouteAction, f *Forward) {
	w := &f.rewrite
	w.appendXFH = a.GetAppendXForwardedHost()
	switch s := a.GetHostRewriteSpecifier().(type) {
	case *routev3.RouteAction_HostRewriteLiteral:
		w.host = s.HostRewriteLiteral
	case *routev3.RouteAction_AutoHostRewrite:
		f.AutoHostRewrite = boolOr(s.AutoHostRewrite, false)
	case *routev3.RouteAction_HostRewriteHeader:
		if s.HostRewriteHeader != "" {
			w.hostHeader = requestHeader(s.HostRewriteHeader)
		}
	case *routev3.RouteAction_HostRewritePathRegex:
		re, err := match.CompileRewrite(s.HostRewritePathRegex)
		c.at("host_rewrite_path_regex").fail(err)
		w.hostRegex = re
	case *routev3.RouteAction_HostRewrite:
		w.hostFormat = c.at("host_rewrite").format(s.HostRewrite)
	}
}

func (c *compiler) pathRewrite(a *routev3.RouteAction, f *Forward, r *Route, tpl *uriTemplate) {
	w := &f.rewrite
	n := 0
	if a.GetPrefixRewrite() != "" {
		n++
		w.prefix = a.GetPrefixRewrite()
		if r.path.kind == pathTemplate {
			c.at("prefix_rewrite").reject("does not go with path_match_policy: use path_rewrite_policy")
		}
	}
	if a.GetRegexRewrite() != nil {
		n++
		re, err := match.CompileRewrite(a.RegexRewrite)
		c.at("regex_rewrite").fail(err)
		w.regex = re
	}
	if e := a.GetPathRewritePolicy(); e != nil {
		n++
		w.template = c.at("path_rewrite_policy").templateRewrite(e, tpl)
	}
	if a.GetPathRewrite() != "" {
		n++
		w.path = c.at("path_rewrite").format(a.PathRewrite)
	}
	if n > 1 {
		c.reject("only one of prefix_rewrite, regex_rewrite, path_rewrite_policy and path_rewrite may be set")
	}
}

func (c *compiler) templateRewrite(e *corev3.TypedExtensionConfig, tpl *uriTemplate) *templateRewrite {
	var cfg urirewritev3.UriTemplateRewriteConfig
	if !c.unmarshal(e.GetTypedConfig(), &cfg) {
		return nil
	}
	if tpl == nil {
		c.reject("needs a uri_template in match.path_match_policy, whose variables it uses")
		return nil
	}
	w, err := newTemplateRewrite(cfg.PathTemplateRewrite, tpl)
	c.at("typed_config.path_template_rewrite").fail(err)
	return w
}

// duration reads a duration that may not be negative.
func (c *compiler) duration(field string, d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	v, err := goDuration(d)
	c.at("%s", field).fail(err)
	return v
}

func (c *compiler) optDuration(field string, d *durationpb.Duration) OptDuration {
	if d == nil {
		return OptDuration{}
	}
	return OptDuration{Value: c.duration(field, d, 0), Set: true}
}

func goDuration(d *durationpb.Duration) (time.Duration, error) {
	if err := d.CheckValid(); err != nil {
		return 0, err
	}
	v := d.AsDuration()
	if v < 0 {
		return 0, fmt.Errorf("%s is negative", v)
	}
	return v, nil
}
