// SPDX-License-Identifier: Apache-2.0

// Package route holds compiled route tables: Envoy's RouteConfiguration made
// into an immutable Table that tells, for a request's head, which virtual host
// and route it takes, and what that route does to the request and its
// response. A match costs no allocation and hardly depends on the number of
// virtual hosts and routes (docs/design/0004-route-index.md).
//
// Protobuf messages are read only in the files named config*.go. The package
// does not send anything, knows no clusters and picks no hosts.
package route

import (
	"iter"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/streaminfo"
)

// Request is what matching sees.
type Request struct {
	// Header is the request's head.
	Header *header.Map
	// Info is what is known of the stream and its connection.
	Info *streaminfo.Stream
	// Random is the stream's random number: the same number always takes the
	// same runtime fractions and the same weighted cluster.
	Random uint64
}

// Formatter prints a format string with Envoy's command operators, such as
// "%REQ(x-user)%", for a stream.
type Formatter interface {
	AppendTo(dst []byte, info *streaminfo.Stream) []byte
}

// Route is one route, or, for a route to weighted clusters, the route with one
// of its clusters chosen. Exactly one of Direct, Redirect, Forward and
// NonForwarding is set.
type Route struct {
	// Name is Route.name, for logs; it may be empty.
	Name        string
	VirtualHost *VirtualHost

	Direct   *DirectResponse
	Redirect *Redirect
	Forward  *Forward
	// NonForwarding marks a route whose request no router sends on.
	NonForwarding bool

	Metadata  streaminfo.Metadata
	Decorator *Decorator // nil if none is configured
	Tracing   *Tracing   // nil if none is configured
	// StatPrefix, if set, asks for statistics of this route under
	// vhost.<virtual host>.route.<prefix>.
	StatPrefix string
	// BufferLimit bounds the bytes of a request's body kept for retries and
	// mirrors, the most specific of route and virtual host; NoLimit if none is
	// configured.
	BufferLimit uint64

	path    pathMatcher
	cond    *conditions // nil: none but the path
	levels  []*level    // table, virtual host, route, and perhaps cluster
	cluster *WeightedCluster
	// weighted are the route's variants, one per cluster; set on the route of
	// the table only.
	weighted *weightedClusters
}

// NoLimit is the BufferLimit of a route that has none.
const NoLimit = 1<<64 - 1

// level is what each level of the configuration may say: header mutations and
// filter configurations.
type level struct {
	request  *mutations
	response *mutations
	filters  filterSet
}

// Decorator is Route.decorator: the name of the trace's span.
type Decorator struct {
	Operation string
	// Propagate tells to send x-envoy-decorator-operation upstream; true by
	// default.
	Propagate bool
}

// Tracing is Route.tracing. Fractions are of all by default.
type Tracing struct {
	ClientSampling, RandomSampling, OverallSampling match.Fraction
	Tags                                            []Tag
	// Operation and UpstreamOperation name the spans; nil if not configured.
	Operation, UpstreamOperation Formatter
}

// FilterConfig returns the most specific compiled configuration that the
// route, its virtual host and table have for the filter called name, or nil,
// and whether the most specific level that says anything disables the filter.
func (r *Route) FilterConfig(name string) (config any, disabled bool) {
	t := Unset
	for i := len(r.levels) - 1; i >= 0; i-- {
		e := r.levels[i].filters.find(name)
		if e == nil {
			continue
		}
		if t == Unset {
			t = e.toggle
		}
		if config == nil {
			config = e.config
		}
	}
	return config, t == Disabled
}

// FilterToggle returns what the most specific level that names the filter says
// of it: a configuration enables a filter that is disabled by default.
func (r *Route) FilterToggle(name string) Toggle {
	for i := len(r.levels) - 1; i >= 0; i-- {
		if e := r.levels[i].filters.find(name); e != nil {
			return e.toggle
		}
	}
	return Unset
}

// FilterConfigs returns all configurations for the filter called name, from
// the least specific level (the table) to the most specific (the cluster), for
// filters that merge them.
func (r *Route) FilterConfigs(name string) iter.Seq[any] {
	return func(yield func(any) bool) {
		for _, l := range r.levels {
			if e := l.filters.find(name); e != nil && e.config != nil && !yield(e.config) {
				return
			}
		}
	}
}

// Toggle is what a level of the configuration says of a filter.
type Toggle uint8

// Toggles.
const (
	Unset Toggle = iota
	Enabled
	Disabled
)

// filterSet is typed_per_filter_config of one level.
type filterSet []filterEntry

type filterEntry struct {
	name   string
	config any // nil if enabled or disabled without one
	toggle Toggle
}

func (s filterSet) find(name string) *filterEntry {
	for i := range s {
		if s[i].name == name {
			return &s[i]
		}
	}
	return nil
}

// Forward is RouteAction: the request is sent to a cluster.
type Forward struct {
	// ClusterNotFoundStatus answers a request whose cluster does not exist:
	// 503 by default.
	ClusterNotFoundStatus int
	// Timeout bounds the response, from the end of the request; 0 is none. 15
	// seconds by default.
	Timeout time.Duration
	// IdleTimeout replaces the connection manager's stream_idle_timeout, where Set; 0 is
	// none.
	IdleTimeout OptDuration
	// MaxStreamDuration replaces the connection manager's, where Set.
	MaxStreamDuration OptDuration
	// GRPCTimeoutMax, where Set, lets grpc-timeout set the request's timeout,
	// up to it; 0 lets it set any. GRPCTimeoutOffset is subtracted from it.
	GRPCTimeoutMax, GRPCTimeoutOffset OptDuration
	// UsesMaxStreamDuration tells that max_stream_duration is configured, so
	// that grpc-timeout bounds the stream's duration and not the response.
	UsesMaxStreamDuration bool

	// HighPriority asks for the circuit breaker and load balancing of high
	// priority.
	HighPriority bool
	Retry        *RetryPolicy // nil if none is configured
	Hedge        *HedgePolicy // nil if none is configured
	Mirrors      []Mirror
	HashPolicy   HashPolicies
	// CORS is the deprecated RouteAction.cors, else VirtualHost.cors.
	CORS                         *CORS
	RateLimits                   []RateLimit
	IncludeVirtualHostRateLimits bool
	// Upgrades has what the route says of upgrade types; see [Forward.Upgrade].
	Upgrades []Upgrade
	Connect  *ConnectConfig // nil: CONNECT is proxied, not terminated
	// InternalRedirect is nil if redirects are passed on.
	InternalRedirect *InternalRedirectPolicy
	// AutoHostRewrite takes the chosen host's name as host; see
	// [Route.RewriteHost].
	AutoHostRewrite bool

	cluster       string
	clusterHeader header.Name
	metadataMatch streaminfo.Metadata
	rewrite       rewrites
}

// OptDuration is a duration that may not be configured.
type OptDuration struct {
	Value time.Duration
	Set   bool
}

// Or returns the duration, or d if none is configured.
func (o OptDuration) Or(d time.Duration) time.Duration {
	if o.Set {
		return o.Value
	}
	return d
}

// Upgrade is what a route says of one upgrade type.
type Upgrade struct {
	Type    string // in lower case, such as "websocket"
	Enabled bool
}

// Upgrade returns what the route says of an upgrade type, compared without
// case; Unset leaves it to the connection manager.
func (f *Forward) Upgrade(typ []byte) Toggle {
	for i := range f.Upgrades {
		if header.EqualLower(typ, f.Upgrades[i].Type) {
			if f.Upgrades[i].Enabled {
				return Enabled
			}
			return Disabled
		}
	}
	return Unset
}

// ConnectConfig tells to terminate CONNECT and send its payload upstream.
type ConnectConfig struct {
	// ProxyProtocol makes the header that is sent first; nil is none.
	ProxyProtocol *proxyproto.Sender
	// AllowPost takes the body of a POST for payload too.
	AllowPost bool
}

// HedgePolicy is RouteAction.hedge_policy.
type HedgePolicy struct {
	// OnPerTryTimeout tells that a try which takes too long goes on while another is
	// made.
	OnPerTryTimeout bool
}

// CORS is the deprecated CorsPolicy of routes and virtual hosts.
type CORS struct {
	AllowOrigins                 match.Strings
	AllowMethods, AllowHeaders   string
	ExposeHeaders, MaxAge        string
	AllowCredentials             bool
	AllowPrivateNetworkAccess    bool
	ForwardNotMatchingPreflights bool // true by default
	// Enabled and Shadow are of all and of none by default.
	Enabled, Shadow match.RuntimeFraction
}
