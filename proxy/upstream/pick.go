// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
)

// Failure says why a pick returned no host.
type Failure uint8

// Failures.
const (
	// NoFailure: there is a host.
	NoFailure Failure = iota
	// NoHealthyUpstream: the cluster has no host that may be used (response flag UH).
	NoHealthyUpstream
	// DroppedOverload: the load assignment asks to drop this request (response flag
	// UDO).
	DroppedOverload
)

// String is the response code detail that Envoy gives for the failure.
func (f Failure) String() string {
	return [...]string{"", "no_healthy_upstream", "drop_overload"}[f]
}

// MetadataCriterion is one key of a route's metadata match (namespace envoy.lb) and
// its value: nil, bool, float64, string, []any or map[string]any.
type MetadataCriterion struct {
	Key   string
	Value any
}

// A PriorityOverride changes how load is spread over priorities for one request, as
// retry priority extensions do.
type PriorityOverride interface {
	// Load returns the load to use instead of base, which must not be changed. It may
	// return base. attempted are the hosts of earlier tries, in order.
	Load(set *PrioritySet, base *PriorityLoad, attempted []*Host) *PriorityLoad
}

// A HostPredicate tells whether a retry should go to another host than h, given those
// that earlier tries went to.
type HostPredicate func(h *Host, attempted []*Host) bool

// PickContext is what a balancer may know of the request or connection a host is for.
// The zero value is a pick without wishes; it may be reused.
type PickContext struct {
	// Hash is the request's hash, if a hash policy gave one.
	Hash    uint64
	HasHash bool
	// Metadata is the route's metadata match, sorted by key.
	Metadata []MetadataCriterion
	// Connection and Stream are the downstream's; Stream is nil for a TCP connection.
	Connection *streaminfo.Connection
	Stream     *streaminfo.Stream
	Headers    *header.Map
	// Attempted are the hosts that earlier tries of the request went to.
	Attempted []*Host
	// Skip tells to look for another host (retry host predicates). After MaxAttempts
	// further picks the last host is taken nevertheless. MaxAttempts 0 is 1, Envoy's
	// host_selection_retry_max_attempts default.
	Skip        func(*Host) bool
	MaxAttempts int
	// Priorities, if not nil, decides about priorities.
	Priorities PriorityOverride
	// Override are hosts to prefer, in order (stateful sessions). With OverrideStrict
	// no other host is taken.
	Override       []address.Addr
	OverrideStrict bool
	// Attempt counts the hosts that Skip refused within one pick; hashing balancers go on
	// to other places of their table. The worker keeps it.
	Attempt uint32
	// Cookie, if not nil, makes a cookie that a hash policy asks for, gives it to the
	// response, and returns its value.
	Cookie func(*route.HashCookie) string
	// Listed counts the hosts that the override_host policy has taken from what the
	// request lists. The policy keeps it from try to try.
	Listed int
	// Reports, if not nil after a pick, wants the load report that the host may
	// send with its response.
	Reports Reporter
}

// A Reporter takes what hosts tell of their load (ORCA). It is called on the loop.
type Reporter interface {
	// Report takes the fields of a response's head or trailer, and tells whether a report
	// was there that could be read: there is one for each response.
	Report(h *Host, fields *header.Map) bool
}
