// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"slices"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/match"
)

// inherited is what routes take from above where they say nothing.
type inherited struct {
	vh      *VirtualHost
	levels  []*level
	mirrors []Mirror
	retry   *RetryPolicy
	hedge   *HedgePolicy
	buffer  uint64
}

func (c *compiler) virtualHost(v *routev3.VirtualHost, t *Table) *VirtualHost {
	vh := &VirtualHost{
		Name:                          v.GetName(),
		common:                        t.common,
		Metadata:                      c.metadata(v.GetMetadata()),
		IncludeRequestAttemptCount:    v.GetIncludeRequestAttemptCount(),
		IncludeAttemptCountInResponse: v.GetIncludeAttemptCountInResponse(),
		IncludeIsTimeoutRetryHeader:   v.GetIncludeIsTimeoutRetryHeader(),
		RateLimits:                    c.rateLimits(v.GetRateLimits()),
	}
	if v.GetCors() != nil {
		vh.CORS = c.at("cors").cors(v.Cors)
	}
	own := &level{
		request:  c.mutations("request", v.GetRequestHeadersToAdd(), v.GetRequestHeadersToRemove()),
		response: c.mutations("response", v.GetResponseHeadersToAdd(), v.GetResponseHeadersToRemove()),
		filters:  c.filters(v.GetTypedPerFilterConfig()),
	}
	in := &inherited{
		vh:      vh,
		levels:  below(t.from.levels, own),
		mirrors: c.mirrors(v.GetRequestMirrorPolicies()),
		buffer:  c.bufferLimit(v.GetPerRequestBufferLimitBytes(), v.GetRequestBodyBufferLimit(), NoLimit),
	}
	if len(in.mirrors) == 0 {
		in.mirrors = t.from.mirrors
	}
	if v.GetRetryPolicy() != nil {
		in.retry = c.at("retry_policy").retry(v.RetryPolicy)
	}
	if v.GetRetryPolicyTypedConfig() != nil {
		c.at("retry_policy_typed_config").reject("retry policy extensions are not supported: use retry_policy")
	}
	if v.GetHedgePolicy() != nil {
		in.hedge = c.at("hedge_policy").hedge(v.HedgePolicy)
	}
	c.rejectSpecifiers(v.GetRouteSpecifiers())
	for i, vc := range v.GetVirtualClusters() {
		at := c.at("virtual_clusters[%d]", i)
		if len(vc.GetHeaders()) == 0 {
			at.reject("has no headers to match: a virtual cluster is defined by headers")
		}
		vh.clusters = append(vh.clusters, virtualCluster{vc.GetName(), at.headers("headers", vc.GetHeaders())})
	}
	c.requireTLS(v, vh)
	c.routesOf(v, vh, in)
	return vh
}

func (c *compiler) requireTLS(v *routev3.VirtualHost, vh *VirtualHost) {
	switch v.GetRequireTls() {
	case routev3.VirtualHost_NONE:
		return
	case routev3.VirtualHost_EXTERNAL_ONLY:
		vh.requireTLS = tlsExternal
	case routev3.VirtualHost_ALL:
		vh.requireTLS = tlsAll
	default:
		c.at("require_tls").reject("value %d is not known: use NONE, EXTERNAL_ONLY or ALL", v.RequireTls)
	}
	vh.tlsRedirect = &Route{
		VirtualHost: vh,
		Redirect:    &Redirect{Status: 301, tls: true},
		BufferLimit: NoLimit,
	}
}

func (c *compiler) routesOf(v *routev3.VirtualHost, vh *VirtualHost, in *inherited) {
	if v.GetMatcher() == nil {
		for i, r := range v.GetRoutes() {
			vh.Routes = append(vh.Routes, c.at("routes[%d]", i).route(r, in))
		}
		vh.set = newRouteSet(vh.Routes)
		return
	}
	if len(v.GetRoutes()) > 0 {
		c.reject("has both matcher and routes: only one of them may be set")
	}
	at := c.at("matcher")
	tree, err := match.CompileTree(v.Matcher, match.TreeContext[*routeSet]{
		Action:  func(a match.ActionConfig) (*routeSet, error) { return at.action(a, in) },
		Input:   c.ctx.MatchInput,
		Matcher: c.ctx.MatchMatcher,
		Runtime: c.ctx.Runtime,
	})
	if at.fail(err) {
		vh.tree = tree
	}
}

// action compiles an action of a virtual host's matcher: a Route or a
// RouteList.
func (c *compiler) action(a match.ActionConfig, in *inherited) (*routeSet, error) {
	at := c.at("actions[%s]", a.Name())
	var one routev3.Route
	var list routev3.RouteList
	switch {
	case a.Any().MessageIs(&one):
		if err := a.Any().UnmarshalTo(&one); err != nil {
			return nil, err
		}
		at.constraints(one.ValidateAll())
		s := newRouteSet([]*Route{at.route(&one, in)})
		return &s, nil
	case a.Any().MessageIs(&list):
		if err := a.Any().UnmarshalTo(&list); err != nil {
			return nil, err
		}
		at.constraints(list.ValidateAll())
		var routes []*Route
		for i, r := range list.Routes {
			routes = append(routes, at.at("routes[%d]", i).route(r, in))
		}
		s := newRouteSet(routes)
		return &s, nil
	}
	return nil, errors.New("action " + a.Any().GetTypeUrl() + " is not supported: use envoy.config.route.v3.Route or RouteList")
}

// bufferLimit reads the newer of the two limits, else the older.
func (c *compiler) bufferLimit(old *wrapperspb.UInt32Value, limit *wrapperspb.UInt64Value, def uint64) uint64 {
	switch {
	case old != nil && limit != nil:
		c.at("per_request_buffer_limit_bytes").reject("request_body_buffer_limit is set too: only one of them may be")
	case limit != nil:
		return limit.Value
	case old != nil:
		return uint64(old.Value)
	}
	return def
}

// filters compiles typed_per_filter_config, unwrapping FilterConfig.
func (c *compiler) filters(m map[string]*anypb.Any) filterSet {
	var set filterSet
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, name := range names {
		at := c.at("typed_per_filter_config[%s]", name)
		cfg, optional := m[name], false
		var w routev3.FilterConfig
		if cfg.MessageIs(&w) {
			if err := cfg.UnmarshalTo(&w); !at.fail(err) {
				continue
			}
			if w.Disabled {
				set = append(set, filterEntry{name: name, toggle: Disabled})
				continue
			}
			if w.Config == nil {
				if !w.IsOptional {
					at.reject("FilterConfig has no config: set config, or disabled to true")
				}
				continue
			}
			if w.Config.GetTypeUrl() == "" {
				set = append(set, filterEntry{name: name, toggle: Enabled}) // config: {}, which enables it and says no more.
				continue
			}
			cfg, optional = w.Config, w.IsOptional
		}
		if c.ctx.CompileFilterConfig == nil {
			at.reject("per-route configuration of filters is not supported here")
			continue
		}
		v, err := c.ctx.CompileFilterConfig(name, cfg)
		if optional && errors.Is(err, ErrUnknownFilter) {
			at.warn("%v: it is optional and has no effect", err)
			continue
		}
		if at.fail(err) {
			set = append(set, filterEntry{name: name, config: v, toggle: Enabled})
		}
	}
	return set
}

// mutations compiles the headers to add and remove of one level; kind is
// "request" or "response".
func (c *compiler) mutations(kind string, add []*corev3.HeaderValueOption, remove []string) *mutations {
	if len(add) == 0 && len(remove) == 0 {
		return nil
	}
	m := &mutations{pool: c.scratch}
	for i, n := range remove {
		if name, ok := c.at("%s_headers_to_remove[%d]", kind, i).settable(n); ok {
			m.remove = append(m.remove, name)
		}
	}
	for i, o := range add {
		c.at("%s_headers_to_add[%d]", kind, i).setter(m, o)
	}
	return m
}

// mutationList compiles a list of HeaderMutations.
func (c *compiler) mutationList(field string, l []*mutationv3.HeaderMutation) mutationList {
	var out mutationList
	for i, h := range l {
		at := c.at("%s[%d]", field, i)
		m := &mutations{pool: c.scratch}
		switch a := h.GetAction().(type) {
		case *mutationv3.HeaderMutation_Remove:
			if name, ok := at.at("remove").removable(a.Remove); ok {
				m.remove = append(m.remove, name)
			}
			out = append(out, mutation{m: m})
		case *mutationv3.HeaderMutation_Append:
			at.at("append").setter(m, a.Append)
			out = append(out, mutation{m: m})
		case *mutationv3.HeaderMutation_RemoveOnMatch_:
			s, err := match.CompileString(a.RemoveOnMatch.GetKeyMatcher())
			if at.at("remove_on_match.key_matcher").fail(err) {
				out = append(out, mutation{remove: s})
			}
		default:
			at.reject("has no action: set remove, append or remove_on_match")
		}
	}
	return out
}

// headers compiles header matchers that must all match.
func (c *compiler) headers(field string, l []*routev3.HeaderMatcher) match.Headers {
	var out match.Headers
	for i, h := range l {
		m, err := match.CompileHeader(h)
		if c.at("%s[%d]", field, i).fail(err) {
			out = append(out, m)
		}
	}
	return out
}

// unmarshal reads an extension's configuration of a known type.
func (c *compiler) unmarshal(a *anypb.Any, m proto.Message) bool {
	if !a.MessageIs(m) {
		c.reject("type %q is not supported: use %s", a.GetTypeUrl(), m.ProtoReflect().Descriptor().FullName())
		return false
	}
	return c.fail(a.UnmarshalTo(m))
}
