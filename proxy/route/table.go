// SPDX-License-Identifier: Apache-2.0

package route

import (
	"sync"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

// Table is a compiled RouteConfiguration. It is immutable and may be used by
// any number of goroutines.
type Table struct {
	// Name is RouteConfiguration.name.
	Name string
	// InternalOnlyHeaders are removed from requests that come from outside.
	InternalOnlyHeaders []header.Name
	Metadata            streaminfo.Metadata
	// VirtualHosts are those that stand in the configuration itself.
	VirtualHosts []*VirtualHost

	// common is what its virtual hosts need of it. They do not know the table itself, so
	// that one compiled later can have them, too.
	common     *common
	hosts      *hosts            // of all virtual hosts
	delivered  names[*delivered] // those that were delivered for it, by the names of that
	hostHeader header.Name
	ignorePort bool
	from       *origin // for the next one
}

// common is what all virtual hosts of a table share.
type common struct {
	ignoreParams     bool
	mostSpecificWins bool
	runtime          match.Runtime
	scratch          *sync.Pool
}

// VirtualHost is a compiled VirtualHost.
type VirtualHost struct {
	Name     string
	Metadata streaminfo.Metadata
	// Routes are the routes in order; nil if Matcher picks them.
	Routes []*Route
	// IncludeRequestAttemptCount sends x-envoy-attempt-count upstream,
	// IncludeAttemptCountInResponse downstream.
	IncludeRequestAttemptCount    bool
	IncludeAttemptCountInResponse bool
	// IncludeIsTimeoutRetryHeader sends x-envoy-is-timeout-retry upstream with
	// tries that follow a timeout.
	IncludeIsTimeoutRetryHeader bool
	RateLimits                  []RateLimit
	CORS                        *CORS // deprecated; nil if not configured

	common      *common
	set         routeSet
	tree        *match.Tree[*routeSet]
	requireTLS  tlsRequirement
	tlsRedirect *Route
	clusters    []virtualCluster
}

type tlsRequirement uint8

const (
	tlsNone tlsRequirement = iota
	tlsExternal
	tlsAll
)

type virtualCluster struct {
	name    string
	headers match.Headers
}

// Match returns the route a request takes, or nil if it matches no virtual
// host or no route of its virtual host. It allocates nothing.
func (t *Table) Match(r *Request) *Route {
	vh := t.VirtualHost(r)
	if vh == nil {
		return nil
	}
	return vh.Match(r)
}

// VirtualHost returns the virtual host of a request, or nil.
func (t *Table) VirtualHost(r *Request) *VirtualHost {
	if t.hosts.others == 0 {
		return t.hosts.any
	}
	host := r.Header.Get(t.hostHeader)
	if host == nil {
		return nil
	}
	if t.ignorePort {
		if i := portStart(host); i >= 0 {
			host = host[:i]
		}
	}
	return t.hosts.find(host)
}

// Match returns the route of a request to the virtual host, or nil.
func (v *VirtualHost) Match(r *Request) *Route {
	if v.requireTLS != tlsNone && v.needsTLS(r) {
		return v.tlsRedirect
	}
	set := &v.set
	if v.tree != nil {
		s, res := v.tree.Match(match.Data{Request: r.Header, Stream: r.Info, Random: r.Random})
		if res != match.Matched {
			return nil
		}
		set = s
	}
	route := set.find(v.common, r)
	if route != nil && route.weighted != nil {
		return route.weighted.pick(route, r)
	}
	return route
}

// needsTLS reports whether a request must be redirected to https. What counts
// is x-forwarded-proto, which the connection manager sets from the transport
// or takes from a trusted hop; the scheme may say something else.
func (v *VirtualHost) needsTLS(r *Request) bool {
	proto := r.Header.Get(header.XForwardedProto)
	if proto == nil {
		proto = r.Header.Get(header.Scheme)
	}
	if string(proto) == "https" {
		return false
	}
	if v.requireTLS == tlsAll {
		return true
	}
	return string(r.Header.Get(header.XEnvoyInternal)) != "true"
}

// HasVirtualClusters reports whether virtual clusters are configured.
func (v *VirtualHost) HasVirtualClusters() bool { return len(v.clusters) > 0 }

// VirtualCluster returns the name of the first virtual cluster whose headers
// match, "other" if none does, and "" if there are none.
func (v *VirtualHost) VirtualCluster(h *header.Map) string {
	for i := range v.clusters {
		if v.clusters[i].headers.Match(h) {
			return v.clusters[i].name
		}
	}
	if len(v.clusters) > 0 {
		return "other"
	}
	return ""
}

// scratch is memory for values that must be put together before they are set.
type scratch struct {
	buf  []byte
	plan []planned
}

func newScratch() *sync.Pool {
	return &sync.Pool{New: func() any { return new(scratch) }}
}
