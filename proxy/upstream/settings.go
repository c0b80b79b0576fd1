// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"net/netip"
	"strings"
	"time"

	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream/breaker"
	"weir.dev/weir/proxy/upstream/outlier"
)

// Settings are a cluster's compiled configuration: Envoy's Cluster message without
// what discovery and balancing have taken for themselves. They are immutable.
type Settings struct {
	Name        string
	AltStatName string
	// ServiceName is what EDS is asked for, if that is not the name.
	ServiceName string
	// ReportsLoad has the management server told of the load, if it asks (lrs_server).
	ReportsLoad bool
	// LoadMetrics are the metrics of hosts' own load reports (ORCA) that are told then
	// (lrs_report_endpoint_metrics).
	LoadMetrics []string
	// ConnectTimeout is 5 s by default.
	ConnectTimeout time.Duration
	// PerConnectionBufferLimit in bytes, 1 MiB by default.
	PerConnectionBufferLimit uint32
	// TCPIdleTimeout closes a TCP pool's unused connection, 10 min by default; 0 is never.
	TCPIdleTimeout time.Duration
	// MaxRequestsPerConnection, 0 is no limit.
	MaxRequestsPerConnection uint32
	HTTP                     HTTPOptions
	// Thresholds of the circuit breakers, by breaker.Priority.
	Thresholds [2]breaker.Thresholds
	// MaxConnectionsPerHost, over all loops; 0 is no limit.
	MaxConnectionsPerHost int64
	Bind                  BindConfig
	KeepAlive             KeepAlive
	HappyEyeballs         HappyEyeballs
	// Transport makes what connections are wrapped in; TransportMatches overrule it
	// for hosts whose metadata matches.
	Transport        TransportConfig
	TransportMatches []TransportMatch
	Metadata         streaminfo.Metadata
	// CloseOnHealthFailure closes a host's connections when it becomes unhealthy.
	CloseOnHealthFailure bool
	// WaitForWarm makes a change of the cluster wait for the first answer of its new
	// discovery; true by default.
	WaitForWarm bool
	Preconnect  Preconnect
	// PoolPerDownstream gives each downstream connection upstream connections of its
	// own (connection_pool_per_downstream_connection).
	PoolPerDownstream bool
	// CloseOnHostSetChange drains all connections when the set of hosts changes.
	CloseOnHostSetChange bool
	// OverrideStatuses has a bit (1 << HealthStatus) for each status in which a host
	// may be asked for by name (override_host_status).
	OverrideStatuses uint8
	// MergeWindow gathers changes of health and weight for this long; 0 is at once.
	MergeWindow time.Duration
	// HostSets tells how host sets are computed.
	HostSets SetOptions
	// KeepHealthy keeps hosts that discovery drops as long as active checks find them
	// healthy; true by default (ignore_health_on_host_removal).
	KeepHealthy bool
	// Outlier is how hosts are judged by their responses; nil is not at all.
	Outlier *outlier.Config
	// TrackBudgets and TrackSizes ask for the statistics of [BudgetStats] and [SizeStats].
	TrackBudgets, TrackSizes bool
	// Blind tells that the policy does not look at requests.
	Blind bool
	// Sticky tells that requests belong to hosts: another host would not do as well.
	Sticky bool
	// DiscoveryName and PolicyName name the extensions in use.
	DiscoveryName, PolicyName string
}

// HTTPVersion is the protocol that a cluster's pools speak.
type HTTPVersion uint8

// HTTP versions.
const (
	// UseHTTP1 and UseHTTP2 are set explicitly; UseHTTP1 is the default.
	UseHTTP1 HTTPVersion = iota
	UseHTTP2
	// UseDownstream takes the downstream's protocol.
	UseDownstream
	// UseALPN takes what the handshake settles, HTTP/1.1 if nothing.
	UseALPN
)

// String names the version as Envoy's configuration does.
func (v HTTPVersion) String() string {
	return [...]string{"http1", "http2", "downstream", "auto"}[v]
}

// HTTPOptions are how a cluster's pools speak HTTP.
type HTTPOptions struct {
	Version HTTPVersion
	// IdleTimeout closes a connection without requests; 1 h by default, 0 is never.
	IdleTimeout time.Duration
	// MaxConnectionDuration drains a connection of that age, 0 is never; jittered by up
	// to MaxConnectionDurationJitter percent more.
	MaxConnectionDuration       time.Duration
	MaxConnectionDurationJitter float64
	// MaxStreamDuration ends a stream of that age, 0 is never.
	MaxStreamDuration time.Duration
	// Override is what the cluster says in place of routes.
	Override route.Override
	// Errors tells which responses outlier detection takes as errors; nil is those of 5xx.
	Errors Predicate
	// MaxHeaders is the number of response header fields, 100 by default.
	MaxHeaders uint32
	// MaxResponseHeadersKB is the size of a response's head, 60 by default.
	MaxResponseHeadersKB uint32
	// AutoSNI takes the server name from the request, from header SNIHeader if given,
	// otherwise from :authority; AutoSANValidation verifies the certificate against it.
	AutoSNI, AutoSANValidation bool
	SNIHeader                  string
	HTTP1                      HTTP1Options
	HTTP2                      h2.Options
	// Filters are what each attempt to reach a host passes before it is sent
	// (http_filters); nil is none.
	Filters *stream.Chain
}

// KeyFormat says how HTTP/1 header names are written.
type KeyFormat uint8

// Header key formats.
const (
	KeyLower KeyFormat = iota
	KeyProperCase
	KeyPreserveCase
)

// HTTP1Options are Envoy's Http1ProtocolOptions as far as they concern a client.
type HTTP1Options struct {
	KeyFormat KeyFormat
	// Trailers passes trailers on; they are dropped by default.
	Trailers bool
	// AllowChunkedLength takes responses with both Transfer-Encoding and
	// Content-Length, ignoring the latter.
	AllowChunkedLength bool
	// FullyQualifiedURL writes absolute-form request targets.
	FullyQualifiedURL bool
	// AllowCustomMethods passes any method.
	AllowCustomMethods bool
	// KeepOnStreamError keeps a connection open after an invalid message where the
	// protocol allows it.
	KeepOnStreamError bool
}

// BindConfig is where upstream connections come from.
type BindConfig struct {
	// Source is the source address, of which the port is 0 to let the kernel choose;
	// the zero AddrPort binds nothing. Extra is used for hosts of the other IP version.
	Source netip.AddrPort
	Extra  []BindSource
	// FreeBind sets IP_FREEBIND.
	FreeBind bool
	Options  []SocketOption
}

// BindSource is one further source address. Options replace those of the BindConfig
// if OwnOptions.
type BindSource struct {
	Source     netip.AddrPort
	OwnOptions bool
	Options    []SocketOption
}

// SourceFor returns the source address and options for a destination: the first
// source of its IP version, or the first one, as Envoy's default selector does.
func (b *BindConfig) SourceFor(dst netip.Addr) (netip.AddrPort, []SocketOption) {
	if len(b.Extra) == 0 || !b.Source.IsValid() || b.Source.Addr().Is4() == dst.Is4() {
		return b.Source, b.Options
	}
	for _, e := range b.Extra {
		if e.Source.Addr().Is4() == dst.Is4() {
			if e.OwnOptions {
				return e.Source, e.Options
			}
			return e.Source, b.Options
		}
	}
	return b.Source, b.Options
}

// SocketState is the moment at which a socket option is set.
type SocketState uint8

// Socket states.
const (
	BeforeBind SocketState = iota
	AfterBind
)

// SocketOption is one option for setsockopt(2): Bytes if not nil, otherwise Int.
type SocketOption struct {
	Description string
	Level, Name int
	Int         int
	Bytes       []byte
	State       SocketState
	// Family is the IP version that the option is for; FamilyAuto is any.
	Family DNSFamily
}

// KeepAlive is TCP keep-alive; a zero field is the kernel's default.
type KeepAlive struct {
	Enabled        bool
	Probes         int
	Time, Interval time.Duration
}

// HappyEyeballs is how addresses of one host are tried (RFC 8305).
type HappyEyeballs struct {
	// First is the version that goes first: FamilyV4Only, FamilyV6Only, or FamilyAuto
	// for that of the host's first address, which is the default.
	First DNSFamily
	// FirstCount of the first version are tried before one of the other, and so on; 1
	// by default.
	FirstCount uint32
}

// Preconnect is Envoy's preconnect_policy: ratios of 1 to 3 connections per needed one;
// 1 is none ahead.
type Preconnect struct {
	PerUpstreamRatio, PredictiveRatio float64
}

// A Transport is a compiled upstream transport socket: it secures each new
// connection before its first use.
type Transport interface {
	// Wrap replaces c.Transport, shaking hands on the task, and fills in what is
	// then known in c.Info. The connection is closed if it returns an error.
	Wrap(t *engine.Task, c *Conn, o *TransportOptions) error
	// Secure reports whether what crosses the wire is encrypted.
	Secure() bool
}

// PerDownstream is a Transport that may tell the host of the downstream connection,
// which its connections can then not be shared by.
type PerDownstream interface{ PerDownstream() bool }

// TransportOptions are what one request, or one downstream connection, asks of the
// transport socket of its upstream connection. Connections are shared only by those
// that ask the same. Nil asks for nothing.
type TransportOptions struct {
	// ServerName is sent as SNI in place of the configured one (auto_sni).
	ServerName string
	// VerifyNames are names of which the host's certificate must have one
	// (auto_san_validation).
	VerifyNames []string
	// ALPN are the protocols to offer in place of the configured ones.
	ALPN []string
	// FallbackALPN are the protocols to offer where none are configured.
	FallbackALPN []string
	// Downstream is the connection that a PROXY protocol header tells of; nil
	// if it tells of none. It makes the connection unfit to be shared.
	Downstream *streaminfo.Connection
}

// Keys of the filter state by which filters ask something of the transport socket of
// an upstream connection.
const (
	serverNameKey = "envoy.network.upstream_server_name"
	verifyKey     = "envoy.network.upstream_subject_alt_names"
	protocolsKey  = "envoy.network.application_protocols"
)

// FromState takes what filters ask for by the filter state's
// envoy.network.upstream_server_name, upstream_subject_alt_names and
// application_protocols, where o does not ask for something else already. It reports
// whether they ask for anything.
func (o *TransportOptions) FromState(st streaminfo.FilterState) (asked bool) {
	if len(st) == 0 {
		return false
	}
	if v := st[serverNameKey].Text; v != "" && o.ServerName == "" {
		o.ServerName, asked = v, true
	}
	if v := names(st[verifyKey]); v != nil && len(o.VerifyNames) == 0 {
		o.VerifyNames, asked = v, true
	}
	if v := names(st[protocolsKey]); v != nil && len(o.ALPN) == 0 {
		o.ALPN, asked = v, true
	}
	return asked
}

// names reads an object that is a list of names.
func names(o streaminfo.StateObject) []string {
	if l, ok := o.Value.([]string); ok {
		return l
	}
	if o.Text == "" {
		return nil
	}
	return strings.Split(o.Text, ",")
}

// TransportConfig names a transport socket; a nil Transport is cleartext (raw_buffer).
type TransportConfig struct {
	Name      string
	Transport Transport
}

// TransportMatch chooses a transport for hosts whose metadata of namespace
// envoy.transport_socket_match has all the given keys and values.
type TransportMatch struct {
	Name      string
	Match     map[string]any
	Transport TransportConfig
}
