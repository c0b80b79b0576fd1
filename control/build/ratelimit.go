// SPDX-License-Identifier: Apache-2.0

package build

import (
	"net/netip"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// An Action is an entry of the descriptor that a request counts under.
type Action = routev3.RateLimit_Action

// GenericKey is an entry that every request has.
func GenericKey(key, value string) *Action {
	return &Action{ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{
		GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorKey: key, DescriptorValue: value},
	}}
}

// HeaderEntry is an entry whose value is a header's; requests without it have no
// descriptor.
func HeaderEntry(key, header string) *Action {
	return &Action{ActionSpecifier: &routev3.RateLimit_Action_RequestHeaders_{
		RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{DescriptorKey: key, HeaderName: header},
	}}
}

// HeaderMatchEntry is an entry of requests whose header matches, or with not does not;
// the others have no descriptor.
func HeaderMatchEntry(key, value string, m *routev3.HeaderMatcher, not bool) *Action {
	return &Action{ActionSpecifier: &routev3.RateLimit_Action_HeaderValueMatch_{
		HeaderValueMatch: &routev3.RateLimit_Action_HeaderValueMatch{
			DescriptorKey: key, DescriptorValue: value, ExpectMatch: wrapperspb.Bool(!not), Headers: []*routev3.HeaderMatcher{m},
		},
	}}
}

// QueryEntry is an entry whose value is a parameter of the query's.
func QueryEntry(key, name string) *Action {
	return &Action{ActionSpecifier: &routev3.RateLimit_Action_QueryParameters_{
		QueryParameters: &routev3.RateLimit_Action_QueryParameters{DescriptorKey: key, QueryParameterName: name},
	}}
}

// QueryMatchEntry is an entry of requests whose parameter matches, or with not does not.
func QueryMatchEntry(key, value string, m *routev3.QueryParameterMatcher, not bool) *Action {
	return &Action{ActionSpecifier: &routev3.RateLimit_Action_QueryParameterValueMatch_{
		QueryParameterValueMatch: &routev3.RateLimit_Action_QueryParameterValueMatch{
			DescriptorKey: key, DescriptorValue: value, ExpectMatch: wrapperspb.Bool(!not), QueryParameters: []*routev3.QueryParameterMatcher{m},
		},
	}}
}

// AddressMatchEntry is an entry of requests whose client is in a range, or with not is
// not.
func AddressMatchEntry(key, value string, in netip.Prefix, not bool) *Action {
	return &Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddressMatch_{
		RemoteAddressMatch: &routev3.RateLimit_Action_RemoteAddressMatch{
			DescriptorKey: key, DescriptorValue: value, AddressMatcher: &matcherv3.AddressMatcher{
				Ranges:      []*xdscorev3.CidrRange{{AddressPrefix: in.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(in.Bits()))}},
				InvertMatch: not,
			},
		},
	}}
}

// AddressEntry is an entry whose value is the client's address; its key is
// remote_address.
func AddressEntry() *Action {
	return &Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddress_{RemoteAddress: &routev3.RateLimit_Action_RemoteAddress{}}}
}

// TokenBucket is refilled with all its tokens at a time.
func TokenBucket(tokens uint32, every time.Duration) *typev3.TokenBucket {
	return &typev3.TokenBucket{MaxTokens: tokens, TokensPerFill: wrapperspb.UInt32(tokens), FillInterval: duration(every)}
}

// Hits is how much a request counts.
func Hits(n uint64) *routev3.RateLimit_HitsAddend {
	return &routev3.RateLimit_HitsAddend{Number: wrapperspb.UInt64(n)}
}

// HitsFromMetadata has a request count as much as its metadata says.
func HitsFromMetadata(namespace, key string) *routev3.RateLimit_HitsAddend {
	return &routev3.RateLimit_HitsAddend{Format: "%DYNAMIC_METADATA(" + namespace + ":" + key + ")%"}
}

// LimitFromMetadata has a request's metadata say what the limit is: requests_per_unit and
// unit.
func LimitFromMetadata(namespace, key string) *routev3.RateLimit_Override {
	return &routev3.RateLimit_Override{OverrideSpecifier: &routev3.RateLimit_Override_DynamicMetadata_{
		DynamicMetadata: &routev3.RateLimit_Override_DynamicMetadata{MetadataKey: &metadatav3.MetadataKey{
			Key: namespace, Path: []*metadatav3.MetadataKey_PathSegment{{Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: key}}},
		}},
	}}
}

const localStats = "http_local_rate_limiter"

// NoLocalLimit is a filter that limits nothing until a route says so.
func NoLocalLimit() *localratelimitv3.LocalRateLimit {
	return &localratelimitv3.LocalRateLimit{StatPrefix: localStats}
}

// LocalLimit limits the requests of a route in this proxy: those that count under no
// descriptor may be so many in a time.
func LocalLimit(requests uint32, every time.Duration) *localratelimitv3.LocalRateLimit {
	return &localratelimitv3.LocalRateLimit{
		StatPrefix: localStats, TokenBucket: TokenBucket(requests, every), FilterEnabled: all(), FilterEnforced: all(),
		EnableXRatelimitHeaders: commonratelimitv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03, AlwaysConsumeDefaultTokenBucket: wrapperspb.Bool(false),
	}
}

// WithoutHeaders has a limit tell nothing in headers.
func WithoutHeaders(m *localratelimitv3.LocalRateLimit) {
	m.EnableXRatelimitHeaders = commonratelimitv3.XRateLimitHeadersRFCVersion_OFF
}

// Shadow has a limit count, and let all pass.
func Shadow(m *localratelimitv3.LocalRateLimit) { m.FilterEnforced = Fraction(0, 1) }

// AddLocal adds the limit of requests whose descriptor has these entries, by keys and
// values; an empty value is each, by itself.
func AddLocal(m *localratelimitv3.LocalRateLimit, entries [][2]string, bucket *typev3.TokenBucket, shadow bool) {
	d := &commonratelimitv3.LocalRateLimitDescriptor{TokenBucket: bucket, ShadowMode: shadow}
	for _, e := range entries {
		d.Entries = append(d.Entries, &commonratelimitv3.RateLimitDescriptor_Entry{Key: e[0], Value: e[1]})
	}
	m.Descriptors = append(m.Descriptors, d)
}

func all() *corev3.RuntimeFractionalPercent { return Fraction(1, 1) }
