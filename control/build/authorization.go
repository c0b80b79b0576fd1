// SPDX-License-Identifier: Apache-2.0

package build

import (
	"net/netip"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// An AuthorizationRule lets in, or keeps out, the requests that all of Of are true of: there
// is at least one. Name is what statistics and access logs have for it.
type AuthorizationRule struct {
	Name  string
	Allow bool
	Of    []*Predicate
}

// Admit has a route judge requests by the first rule that is about them, and others by
// otherwise: true lets them in.
func Admit(rules []AuthorizationRule, otherwise bool) *anypb.Any {
	m := &xdsmatcherv3.Matcher{OnNoMatch: verdict("default", otherwise)}
	list := &xdsmatcherv3.Matcher_MatcherList{}
	for _, r := range rules {
		list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{Predicate: each(r.Of), OnMatch: verdict(r.Name, r.Allow)})
	}
	if len(list.Matchers) > 0 {
		m.MatcherType = &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list}
	}
	return Any(&httprbacv3.RBACPerRoute{Rbac: &httprbacv3.RBAC{Matcher: m}})
}

func verdict(name string, allow bool) *xdsmatcherv3.Matcher_OnMatch {
	a := &rbacv3.Action{Name: name, Action: rbacv3.RBAC_DENY}
	if allow {
		a.Action = rbacv3.RBAC_ALLOW
	}
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: Any(a)}}}
}

// HasOneOf is true of requests whose header has one of the values. There is at least one.
func HasOneOf(header string, values []string) *Predicate {
	var any []*Predicate
	for _, v := range values {
		any = append(any, valued(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: header}, "Exact", v))
	}
	return either(any)
}

// HasPath is true of requests for a path, whatever their query: kind is Exact or PathPrefix.
// Patterns are for HasExpression, which knows the path without the query.
func HasPath(kind, value string) *Predicate {
	of := func(kind, value string) *Predicate {
		return valued(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: ":path"}, kind, value)
	}
	if kind == "PathPrefix" {
		return of("Prefix", value)
	}
	return either([]*Predicate{of("Exact", value), of("Prefix", value+"?"), of("Prefix", value+"#")})
}

// IsFrom is true of requests of clients in one of the ranges. There is at least one.
func IsFrom(ranges []netip.Prefix) *Predicate {
	m := &ipv3.Ip{StatPrefix: "clients"}
	for _, p := range ranges {
		m.CidrRanges = append(m.CidrRanges, inRange(p))
	}
	return custom(&networkv3.SourceIPInput{}, m)
}

// HasExpression is true of requests that an expression of CEL is true of.
func HasExpression(e *xdstypev3.CelExpression) *Predicate {
	return custom(&xdsmatcherv3.HttpAttributesCelMatchInput{}, &xdsmatcherv3.CelMatcher{ExprMatch: e})
}

// HasClaim is true of requests whose token of a provider has one of the values in a claim,
// as a text or, with list, in a list. There is at least one.
func HasClaim(provider string, claim, values []string, list bool) *Predicate {
	in := &networkv3.DynamicMetadataInput{Filter: JWTAuthn}
	for _, name := range append([]string{provider}, claim...) {
		in.Path = append(in.Path, &networkv3.DynamicMetadataInput_PathSegment{Segment: &networkv3.DynamicMetadataInput_PathSegment_Key{Key: name}})
	}
	var any []*Predicate
	for _, v := range values {
		m := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: Text(v, false)}}
		if list {
			m = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{
				ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: m}},
			}}
		}
		any = append(any, custom(in, &metadatav3.Metadata{Value: m}))
	}
	return either(any)
}

// Other is true of all other requests.
func Other(p *Predicate) *Predicate {
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p}}
}

// Either is true of requests that one of a list is true of. There is at least one.
func Either(list ...*Predicate) *Predicate { return either(list) }

func custom(input, matcher proto.Message) *Predicate {
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
		Input: &xdscorev3.TypedExtensionConfig{Name: "request", TypedConfig: Any(input)},
		Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{
			CustomMatch: &xdscorev3.TypedExtensionConfig{Name: "matcher", TypedConfig: Any(matcher)},
		},
	}}}
}

func inRange(p netip.Prefix) *corev3.CidrRange {
	return &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}
}
