// SPDX-License-Identifier: Apache-2.0

package route

import (
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// RateLimit is one entry of rate_limits: a descriptor to build and ask about.
type RateLimit struct {
	// Stage tells which filter uses the entry: 0 to 10.
	Stage uint32
	// DisableKey, if set, is a runtime key that disables the entry.
	DisableKey string
	Actions    []RateLimitAction
	// Limit is nil if the limit is not overridden.
	Limit *RateLimitOverride
	// Hits is nil if one hit is counted.
	Hits *HitsAddend
	// OnStreamDone asks when the stream ends, and lets the request pass.
	OnStreamDone bool
	// XRateLimit says whether the response gets x-ratelimit headers; Unset
	// leaves it to the filter.
	XRateLimit Toggle
}

// RateLimitKind is the kind of a RateLimitAction.
type RateLimitKind uint8

// Kinds of actions, each one field of RateLimit.Action.
const (
	LimitSourceCluster RateLimitKind = iota
	LimitDestinationCluster
	LimitRequestHeaders
	LimitQueryParameters
	LimitRemoteAddress
	LimitMaskedRemoteAddress
	LimitGenericKey
	LimitHeaderValueMatch
	LimitQueryParameterValueMatch
	LimitDynamicMetadata
	LimitRouteMetadata
	LimitClusterMetadata
	LimitRemoteAddressMatch
	// LimitExtension is what [Context.RateLimitExtension] compiled.
	LimitExtension
)

// RateLimitAction adds an entry to a descriptor, or stops it.
type RateLimitAction struct {
	Kind RateLimitKind
	// Key is the entry's key, the kind's own name by default.
	Key string
	// Value is the entry's fixed value; ValueFormat, if not nil, formats it.
	Value       string
	ValueFormat Formatter
	// Default is used where the value found is empty.
	Default string
	// Header and Query are where the value comes from.
	Header header.Name
	Query  string
	// SkipIfAbsent leaves out the entry, not the whole descriptor, if the
	// value is missing.
	SkipIfAbsent bool
	// Expect is whether Headers, Queries or the address must match (true) or
	// must not.
	Expect  bool
	Headers match.Headers
	Queries match.Queries
	Address *match.Address
	// Namespace and Path lead to a value of metadata.
	Namespace string
	Path      []string
	// V4Bits and V6Bits are how many bits of a masked address remain.
	V4Bits, V6Bits int
	Extension      any
}

// RateLimitOverride overrides the limit by a value of dynamic metadata, or by
// a fixed limit.
type RateLimitOverride struct {
	Namespace string
	Path      []string
	// RequestsPerUnit and Unit ("SECOND", "MINUTE", ...) are the fixed limit;
	// Unit is "" if the metadata gives it.
	RequestsPerUnit uint32
	Unit            string
}

// HitsAddend is how many hits a request counts for.
type HitsAddend struct {
	Number uint64
	// Format, if not nil, formats the number.
	Format Formatter
	// Negative gives hits back.
	Negative bool
}
