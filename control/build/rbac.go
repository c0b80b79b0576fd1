// SPDX-License-Identifier: Apache-2.0

package build

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A Principal is who asks, and for what: all that is known of a request can be said of
// it.
type Principal = rbacv3.Principal

// Allow has a route let in the requests of one of the principals, which have names for
// statistics, and no others.
func Allow(principals map[string]*Principal) *anypb.Any {
	return Any(&httprbacv3.RBACPerRoute{Rbac: &httprbacv3.RBAC{Rules: allowing(principals)}})
}

// AllowConnections lets in the connections of one of the principals, and no others. Its
// statistics begin with prefix.
func AllowConnections(prefix string, principals map[string]*Principal) *networkrbacv3.RBAC {
	return &networkrbacv3.RBAC{StatPrefix: prefix, Rules: allowing(principals)}
}

func allowing(principals map[string]*Principal) *rbacv3.RBAC {
	rules := &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: map[string]*rbacv3.Policy{}}
	for name, p := range principals {
		rules.Policies[name] = &rbacv3.Policy{
			Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}}, Principals: []*Principal{p},
		}
	}
	return rules
}

// AllOf are the requests that are of each principal; of none, all.
func AllOf(list ...*Principal) *Principal {
	switch len(list) {
	case 0:
		return &Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
	case 1:
		return list[0]
	}
	return &Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: list}}}
}

// OneOf are the requests that are of a principal. There is at least one.
func OneOf(list ...*Principal) *Principal {
	if len(list) == 1 {
		return list[0]
	}
	return &Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: list}}}
}

// Not are all other requests.
func Not(p *Principal) *Principal {
	return &Principal{Identifier: &rbacv3.Principal_NotId{NotId: p}}
}

// ClientIn are the requests of clients in a range.
func ClientIn(in netip.Prefix) *Principal {
	return &Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: &corev3.CidrRange{
		AddressPrefix: in.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(in.Bits())),
	}}}
}

// HasHeader are the requests with a header.
func HasHeader(m *routev3.HeaderMatcher) *Principal {
	return &Principal{Identifier: &rbacv3.Principal_Header{Header: m}}
}

// HasPath are the requests for a path, which has no query.
func HasPath(m *StringMatcher) *Principal {
	return &Principal{Identifier: &rbacv3.Principal_UrlPath{UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: m}}}}
}

// HasClaim are the requests whose token has a claim, as a text or, with list, in a list.
func HasClaim(provider string, claim []string, value string, list bool) *Principal {
	m := &matcherv3.MetadataMatcher{Filter: JWTAuthn, Path: []*matcherv3.MetadataMatcher_PathSegment{segment(provider)}}
	for _, name := range claim {
		m.Path = append(m.Path, segment(name))
	}
	m.Value = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: Text(value, false)}}
	if list {
		m.Value = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{
			ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: m.Value}},
		}}
	}
	return &Principal{Identifier: &rbacv3.Principal_Metadata{Metadata: m}}
}

func segment(key string) *matcherv3.MetadataMatcher_PathSegment {
	return &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key}}
}
