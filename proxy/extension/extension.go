// SPDX-License-Identifier: Apache-2.0

// Package extension is how extensions come into a proxy: one struct for each
// kind says what an extension is called, which message configures it and how it
// is made. A Registry is the list of those that a binary has; ext/all is the
// whole of it, in one readable function. Nothing registers itself.
package extension

import (
	"log/slog"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/accesslog/logfile"
	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/ratelimit"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/health"
)

// HTTPFilter is an HTTP filter extension (envoy.filters.http.*).
type HTTPFilter struct {
	// Name is Envoy's canonical name.
	Name string
	// Config is an empty message of the type that configures the filter; its
	// type selects the extension, whatever name the chain gives it. One of
	// Weir's own has a TypedStruct with the type_url (typedstruct.New).
	Config proto.Message
	// New compiles one entry of a filter chain.
	New func(cfg proto.Message, c *HTTP) (stream.Filter, error)
	// Route is an empty message of the per-route type, nil if there is none;
	// NewRoute compiles one.
	Route    proto.Message
	NewRoute func(cfg proto.Message, s *Services) (any, error)
	// Terminal marks a filter that ends its chain.
	Terminal bool
	// Place is the chains that the filter may stand in.
	Place Place
}

// NetworkFilter is a network filter extension (envoy.filters.network.*): New
// returns either a filter or, if Terminal, a handler factory.
type NetworkFilter struct {
	Name     string
	Config   proto.Message
	Terminal bool
	New      func(cfg proto.Message, c *Network) (conn.Filter, error)
	Handler  func(cfg proto.Message, c *Network) (conn.Factory, error)
}

// ListenerFilter is a listener filter extension (envoy.filters.listener.*).
type ListenerFilter struct {
	Name   string
	Config proto.Message
	New    func(cfg proto.Message, c *Network) (listener.Filter, error)
}

// UDPFilter is a UDP listener filter extension (envoy.filters.udp_listener.*).
type UDPFilter struct {
	Name   string
	Config proto.Message
	New    func(cfg proto.Message, c *Network) (listener.PacketFactory, error)
}

// Transport is a downstream transport socket extension
// (envoy.transport_sockets.*). A nil factory is bytes as they are.
type Transport struct {
	Name   string
	Config proto.Message
	New    func(cfg proto.Message, s *Services) (listener.TransportFactory, error)
}

// UpstreamTransport is an upstream transport socket extension
// (envoy.transport_sockets.*). A nil transport is bytes as they are.
type UpstreamTransport struct {
	Name   string
	Config proto.Message
	New    func(cfg proto.Message, s *Services) (upstream.Transport, error)
}

// AccessLog is an access log extension (envoy.access_loggers.*).
type AccessLog struct {
	Name string
	// Message is the full name of the message that configures it.
	Message string
	// New returns the constructor of its sinks: files are opened in files,
	// formats compiled by loader. It is nil of one that sends records elsewhere, which has
	// NewRemote.
	New       func(files *logfile.Set, loader *format.Loader) func(cfg *anypb.Any) (accesslog.Sink, error)
	NewRemote func(s *Services, loader *format.Loader) func(cfg *anypb.Any) (accesslog.Sink, error)
}

// AccessLogFilter is an access log filter extension
// (envoy.access_loggers.extension_filters.*).
type AccessLogFilter struct {
	Name string
	// Message is the full name of the message that configures it.
	Message string
	// New returns the constructor of its filters.
	New func() func(cfg *anypb.Any) (accesslog.Filter, error)
}

// Filters returns the constructors of all access log filters by message.
func (r *Registry) Filters() map[string]func(*anypb.Any) (accesslog.Filter, error) {
	m := make(map[string]func(*anypb.Any) (accesslog.Filter, error), len(r.AccessLogFilter))
	for _, f := range r.AccessLogFilter {
		m[f.Message] = f.New()
	}
	return m
}

// Sinks returns the constructors of all access logs by message.
func (r *Registry) Sinks(s *Services, files *logfile.Set, loader *format.Loader) map[string]func(*anypb.Any) (accesslog.Sink, error) {
	m := make(map[string]func(*anypb.Any) (accesslog.Sink, error), len(r.AccessLog))
	for _, a := range r.AccessLog {
		if a.NewRemote != nil {
			m[a.Message] = a.NewRemote(s, loader)
			continue
		}
		m[a.Message] = a.New(files, loader)
	}
	return m
}

// Registry is the extensions of a binary, each found by its message's full
// name, such as envoy.extensions.filters.http.cors.v3.Cors.
type Registry struct {
	HTTP      []HTTPFilter
	Network   []NetworkFilter
	Listener  []ListenerFilter
	UDP       []UDPFilter
	Transport []Transport
	// UpstreamTransport are the transport sockets of clusters, apart from raw_buffer.
	UpstreamTransport []UpstreamTransport
	AccessLog         []AccessLog
	// AccessLogFilter are the access log filters beyond Envoy's own.
	AccessLogFilter []AccessLogFilter
	// Policies and Discoveries are the load balancing policies and the kinds of
	// cluster.
	Policies    []upstream.PolicyFactory
	Discoveries []upstream.DiscoveryFactory
	// RetryHosts and RetryPriorities choose where a retry goes
	// (envoy.retry_host_predicates.*, envoy.retry_priorities.*).
	RetryHosts      Plugins[upstream.HostPredicate]
	RetryPriorities Plugins[upstream.PriorityOverride]
	// RedirectPredicates choose which redirects are followed here
	// (envoy.internal_redirect_predicates.*).
	RedirectPredicates Plugins[route.RedirectPredicate]
	// Monitors measure what may run out (envoy.resource_monitors.*).
	Monitors Plugins[overload.Maker]
	// HealthCheckers are the ways of asking hosts whether they are well.
	HealthCheckers []health.Factory
	// Tracers tell of spans.
	Tracers []Tracer
	// StatsSinks send statistics.
	StatsSinks []StatsSink
}

// Services are what a proxy offers to its extensions. It is complete before the
// first extension is made and is not changed after.
type Services struct {
	Registry *Registry
	Loops    []*engine.Loop
	Stats    *stats.Store
	Clusters *upstream.Manager
	// Secrets are the certificates and keys, replaced while they are in use.
	Secrets *secret.Store
	// Resources are what is delivered on its own: route configurations, endpoints and
	// others, by name.
	Resources *resource.Directory
	// HasCluster tells whether the configuration at hand has a cluster.
	HasCluster func(name string) bool
	Runtime    match.Runtime
	// Limiter is the rate limit service in this process; nil if there is none.
	Limiter ratelimit.Limiter
	Health  *Health
	Node    Node
	// Checking tells that the configuration is only checked: nothing is to be asked of
	// others.
	Checking bool
	// UpstreamTransport compiles a transport socket within another; raw_buffer
	// is nil.
	UpstreamTransport func(*corev3.TransportSocket) (upstream.Transport, error)
	// Exporters send records to collectors of logs and traces.
	Exporters *batch.Set
	// Operators are those of formats besides the ones that package format has.
	Operators map[string]format.Constructor
	// AccessLogs compiles access logs.
	AccessLogs *accesslog.Context
	// Tracing is the provider of connection managers that name none; nil if there is none.
	Tracing *tracev3.Tracing_Http
	// Log returns the logger of a component, such as "upstream".
	Log func(component string) *slog.Logger
}

// Node is who the proxy is.
type Node struct {
	ID, Cluster           string
	Region, Zone, SubZone string
	Hostname              string
	// Metadata is the node's, a tree as those of a stream.
	Metadata map[string]any
}

// HTTP is what an HTTP filter is made with.
type HTTP struct {
	*Services
	// Name is what the filter chain calls the filter, which is also what
	// routes call it.
	Name string
	// Slot is its place in the chain, Place the kind of chain.
	Slot  stream.Slot
	Place Place
	// Scope is the statistics of the connection manager (http.STAT_PREFIX.), or of the
	// cluster (cluster.NAME.).
	Scope *stats.Scope
	// Overload is the overload manager; nil if there is none that acts here.
	Overload *overload.Manager
	// Own keeps what must be closed when the chain is replaced or gone.
	Own func(close func())
	// Await, if not nil, keeps the chain from being used until a resource that it needs
	// is there, or has not come in time.
	Await func(*resource.Watch)
}

// Network is what a network filter or a listener filter is made with.
type Network struct {
	*Services
	// Listener names the listener.
	Listener string
	// Told is told of a field of the configuration that is not taken as it stands, by
	// its path below the filter's; nil is the log.
	Told func(field, reason string)
	// Draining reports that the listener drains.
	Draining func() bool
	// Overload is the overload manager; nil if there is none that acts here.
	Overload *overload.Manager
	// Await keeps the listener's configuration from being used until a resource that it
	// needs is there, or has not come in time.
	Await func(*resource.Watch)
	// Own keeps what must be closed when the listener's configuration is
	// replaced or the listener is gone.
	Own func(close func())
}
