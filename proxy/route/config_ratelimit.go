// SPDX-License-Identifier: Apache-2.0

package route

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"weir.dev/weir/proxy/match"
)

// CompileRateLimits compiles entries that stand outside a route table, such as
// in a filter's configuration.
func CompileRateLimits(l []*routev3.RateLimit, ctx Context) ([]RateLimit, []Problem) {
	c := &compiler{ctx: ctx, problems: &[]Problem{}, seen: map[Problem]bool{}}
	out := c.rateLimits(l)
	return out, *c.problems
}

func (c *compiler) rateLimits(l []*routev3.RateLimit) []RateLimit {
	var out []RateLimit
	for i, r := range l {
		at := c.at("rate_limits[%d]", i)
		rl := RateLimit{
			Stage:        r.GetStage().GetValue(),
			DisableKey:   r.GetDisableKey(),
			OnStreamDone: r.GetApplyOnStreamDone(),
		}
		switch r.GetXRatelimitOption() {
		case routev3.RateLimit_OFF:
			rl.XRateLimit = Disabled
		case routev3.RateLimit_DRAFT_VERSION_03:
			rl.XRateLimit = Enabled
		}
		for j, a := range r.GetActions() {
			rl.Actions = append(rl.Actions, at.at("actions[%d]", j).rateLimitAction(a))
		}
		rl.Limit = at.at("limit").rateLimitOverride(r.GetLimit())
		if h := r.GetHitsAddend(); h != nil {
			rl.Hits = &HitsAddend{Number: 1, Negative: h.GetIsNegativeHits(), Format: at.at("hits_addend.format").formatter(h.GetFormat())}
			if h.GetNumber() != nil {
				rl.Hits.Number = h.GetNumber().GetValue()
			}
		}
		out = append(out, rl)
	}
	return out
}

func (c *compiler) rateLimitOverride(o *routev3.RateLimit_Override) *RateLimitOverride {
	switch s := o.GetOverrideSpecifier().(type) {
	case *routev3.RateLimit_Override_DynamicMetadata_:
		out := &RateLimitOverride{}
		out.Namespace, out.Path = metadataKey(s.DynamicMetadata.GetMetadataKey())
		return out
	case *routev3.RateLimit_Override_RateLimit:
		return &RateLimitOverride{RequestsPerUnit: s.RateLimit.GetRequestsPerUnit(), Unit: s.RateLimit.GetUnit().String()}
	case nil:
		if o != nil {
			c.reject("is empty: set dynamic_metadata or rate_limit")
		}
	}
	return nil
}

func (c *compiler) rateLimitAction(a *routev3.RateLimit_Action) RateLimitAction {
	switch s := a.GetActionSpecifier().(type) {
	case *routev3.RateLimit_Action_SourceCluster_:
		return RateLimitAction{Kind: LimitSourceCluster, Key: "source_cluster"}
	case *routev3.RateLimit_Action_DestinationCluster_:
		return RateLimitAction{Kind: LimitDestinationCluster, Key: "destination_cluster"}
	case *routev3.RateLimit_Action_RequestHeaders_:
		h := s.RequestHeaders
		return RateLimitAction{Kind: LimitRequestHeaders, Key: h.GetDescriptorKey(), Header: requestHeader(h.GetHeaderName()), SkipIfAbsent: h.GetSkipIfAbsent()}
	case *routev3.RateLimit_Action_QueryParameters_:
		q := s.QueryParameters
		return RateLimitAction{Kind: LimitQueryParameters, Key: q.GetDescriptorKey(), Query: q.GetQueryParameterName(), SkipIfAbsent: q.GetSkipIfAbsent()}
	case *routev3.RateLimit_Action_RemoteAddress_:
		return RateLimitAction{Kind: LimitRemoteAddress, Key: "remote_address"}
	case *routev3.RateLimit_Action_MaskedRemoteAddress_:
		out := RateLimitAction{Kind: LimitMaskedRemoteAddress, Key: "masked_remote_address", V4Bits: 32, V6Bits: 128}
		if m := s.MaskedRemoteAddress.GetV4PrefixMaskLen(); m != nil {
			out.V4Bits = int(m.Value)
		}
		if m := s.MaskedRemoteAddress.GetV6PrefixMaskLen(); m != nil {
			out.V6Bits = int(m.Value)
		}
		return out
	case *routev3.RateLimit_Action_GenericKey_:
		g := s.GenericKey
		return c.at("generic_key").valued(LimitGenericKey, "generic_key", g.GetDescriptorKey(), g.GetDescriptorValue(), g.GetDefaultValue())
	case *routev3.RateLimit_Action_HeaderValueMatch_:
		m, at := s.HeaderValueMatch, c.at("header_value_match")
		out := at.valued(LimitHeaderValueMatch, "header_match", m.GetDescriptorKey(), m.GetDescriptorValue(), m.GetDefaultValue())
		out.Expect, out.Headers = boolOr(m.GetExpectMatch(), true), at.headers("headers", m.GetHeaders())
		return out
	case *routev3.RateLimit_Action_QueryParameterValueMatch_:
		m, at := s.QueryParameterValueMatch, c.at("query_parameter_value_match")
		out := at.valued(LimitQueryParameterValueMatch, "query_match", m.GetDescriptorKey(), m.GetDescriptorValue(), m.GetDefaultValue())
		out.Expect = boolOr(m.GetExpectMatch(), true)
		for i, q := range m.GetQueryParameters() {
			cm, err := match.CompileQuery(q)
			if at.at("query_parameters[%d]", i).fail(err) {
				out.Queries = append(out.Queries, cm)
			}
		}
		return out
	}
	return c.rateLimitMetadata(a)
}

func (c *compiler) rateLimitMetadata(a *routev3.RateLimit_Action) RateLimitAction {
	switch s := a.GetActionSpecifier().(type) {
	case *routev3.RateLimit_Action_DynamicMetadata:
		d := s.DynamicMetadata
		out := RateLimitAction{Kind: LimitDynamicMetadata, Key: d.GetDescriptorKey(), Default: d.GetDefaultValue()}
		out.Namespace, out.Path = metadataKey(d.GetMetadataKey())
		return out
	case *routev3.RateLimit_Action_Metadata:
		d := s.Metadata
		out := RateLimitAction{Kind: LimitDynamicMetadata, Key: d.GetDescriptorKey(), Default: d.GetDefaultValue(), SkipIfAbsent: d.GetSkipIfAbsent()}
		out.Namespace, out.Path = metadataKey(d.GetMetadataKey())
		switch d.GetSource() {
		case routev3.RateLimit_Action_MetaData_DYNAMIC:
		case routev3.RateLimit_Action_MetaData_ROUTE_ENTRY:
			out.Kind = LimitRouteMetadata
		case routev3.RateLimit_Action_MetaData_CLUSTER_ENTRY:
			out.Kind = LimitClusterMetadata
		default:
			c.at("metadata.source").reject("%s is not supported: use DYNAMIC, ROUTE_ENTRY or CLUSTER_ENTRY", d.GetSource())
		}
		return out
	case *routev3.RateLimit_Action_RemoteAddressMatch_:
		m, at := s.RemoteAddressMatch, c.at("remote_address_match")
		out := at.valued(LimitRemoteAddressMatch, "remote_address_match", m.GetDescriptorKey(), m.GetDescriptorValue(), m.GetDefaultValue())
		addr, err := match.CompileAddress(m.GetAddressMatcher())
		at.at("address_matcher").fail(err)
		out.Address, out.Expect = addr, true
		return out
	case *routev3.RateLimit_Action_Extension:
		at := c.at("extension")
		if c.ctx.RateLimitExtension == nil {
			at.reject("descriptor producer %q is not supported", s.Extension.GetName())
			return RateLimitAction{Kind: LimitExtension}
		}
		v, err := c.ctx.RateLimitExtension(s.Extension.GetName(), s.Extension.GetTypedConfig())
		at.fail(err)
		return RateLimitAction{Kind: LimitExtension, Extension: v}
	}
	c.reject("has no action: set generic_key, request_headers, remote_address or another")
	return RateLimitAction{}
}

// valued compiles an action whose entry has a key with a default and a value
// that may be a format.
func (c *compiler) valued(kind RateLimitKind, defKey, key, text, def string) RateLimitAction {
	if key == "" {
		key = defKey
	}
	out := RateLimitAction{Kind: kind, Key: key, Default: def}
	if v := c.at("descriptor_value").format(text); v != nil {
		out.Value, out.ValueFormat = v.text, v.format
	}
	return out
}
