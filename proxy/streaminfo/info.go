// SPDX-License-Identifier: Apache-2.0

// Package streaminfo holds what is known of one request and the connection it
// came by: what access logs print, matchers ask and statistics count. It is
// Envoy's StreamInfo. It holds data only; the codecs, the connection manager,
// the filters and the router write it, each its own part.
package streaminfo

import (
	"crypto/x509"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
)

// Protocol is the protocol of a stream.
type Protocol uint8

// Protocols, as %PROTOCOL% prints them.
const (
	NoProtocol Protocol = iota
	HTTP10
	HTTP11
	HTTP2
	HTTP3
)

// String returns "HTTP/1.1" and the like, or "" if there is none.
func (p Protocol) String() string {
	return [...]string{"", "HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"}[p]
}

// Connection is what is known of one connection. It lives as long as the
// connection and is shared by its streams.
type Connection struct {
	// ID is unique in the process.
	ID uint64
	// Local and Remote are the ends as the proxy treats them; listener filters
	// (PROXY protocol, original destination) may change them.
	Local, Remote address.Addr
	// DirectLocal and DirectRemote are the ends of the socket itself.
	DirectLocal, DirectRemote address.Addr
	// Start is when the connection was accepted or dialled; End when it was
	// closed, zero before.
	Start, End time.Time
	// Handshake is how long the transport's handshake took from Start; 0 if
	// there was none or it has not finished.
	Handshake time.Duration
	// ServerName is the name the client asked for by SNI.
	ServerName string
	// ALPN is the protocol chosen by the handshake; ALPNs the client's offers.
	ALPN  string
	ALPNs []string
	// TransportProtocol is "raw_buffer" or "tls", as a filter chain match asks.
	TransportProtocol string
	// JA3 and JA4 are the fingerprints of the client's hello, if asked for.
	JA3, JA4 string
	// TLS is nil on a cleartext connection.
	TLS *TLS
	// TransportFailure says why the transport (such as a handshake) failed.
	TransportFailure string
	// Termination says why the proxy closed the connection
	// (%CONNECTION_TERMINATION_DETAILS%).
	Termination string
	// CloseReason says why the proxy closed the connection itself
	// (%DOWNSTREAM_LOCAL_CLOSE_REASON%); CloseType is "Normal", "LocalReset"
	// or "RemoteReset" once it is closed.
	CloseReason, CloseType string
	// ListenerName, FilterChainName and ListenerStatPrefix name the
	// configuration that took the connection.
	ListenerName, FilterChainName string
	// TrafficDirection is the listener's.
	TrafficDirection Direction
	// LocalRestored tells that a listener filter has set Local, even if to what
	// it was: another listener may be the one for it (use_original_dst).
	LocalRestored bool
	// Metadata and FilterState live with the connection.
	Metadata    Metadata
	FilterState FilterState
	// ListenerMetadata and FilterChainMetadata are static.
	ListenerMetadata, FilterChainMetadata Metadata
	// Requests counts the streams begun on the connection.
	Requests uint64
}

// Direction is where a listener's traffic goes, as its configuration tells.
type Direction uint8

// Directions, with the numbers of Envoy's TrafficDirection.
const (
	Unspecified Direction = iota
	Inbound
	Outbound
)

// String returns "inbound", "outbound" or "unspecified".
func (d Direction) String() string { return [...]string{"unspecified", "inbound", "outbound"}[d] }

// TLS is what the handshake of one connection settled.
type TLS struct {
	Version      string // "TLSv1.3", as Envoy prints it
	CipherSuite  string
	Group        string // of the key agreement, such as "X25519"
	SessionID    string
	Resumed      bool
	LocalCert    *x509.Certificate
	PeerCerts    []*x509.Certificate // the peer's chain, leaf first; nil if none was presented
	PeerVerified bool
	PeerIssuer   *x509.Certificate // who signed the peer's leaf, in the verified chain
}

// Timing holds the moments of a stream as monotonic nanoseconds since it
// began; 0 is "not yet".
type Timing struct {
	RequestEnd         int64 // the last byte of the request was read
	UpstreamFirstTx    int64 // the first byte was sent upstream
	UpstreamLastTx     int64
	UpstreamFirstRx    int64 // the first byte of the response was read
	UpstreamBodyRx     int64 // the first byte of the response's body was read
	UpstreamLastRx     int64
	DownstreamFirstTx  int64 // the first byte of the response was sent
	DownstreamLastTx   int64
	DownstreamLastAck  int64 // the client acknowledged the last byte (HTTP/3)
	UpstreamConnect    int64 // a connection for this stream began to be dialled
	UpstreamConnected  int64
	UpstreamHandshaked int64
	// Points are moments that filters named (%COMMON_DURATION%).
	Points map[string]int64
}

// Stream is what is known of one request.
type Stream struct {
	Conn *Connection
	// Start is when the first byte of the request was read.
	Start    time.Time
	Duration time.Duration // set when the stream ends
	Timing   Timing
	Protocol Protocol
	// Remote is the client as x-forwarded-for and the like tell it
	// (%DOWNSTREAM_REMOTE_ADDRESS%).
	Remote address.Addr
	// ID is the request's stream ID (%STREAM_ID%), by default x-request-id.
	ID            string
	Status        int // the response's status code; 0 if none was sent
	StatusDetails string
	Flags         Flags

	// Bytes on the downstream side: bodies, and what crossed the wire.
	BodyReceived, BodySent     uint64
	HeaderReceived, HeaderSent uint64 // heads as they crossed the wire
	WireReceived, WireSent     uint64
	// Heads as they were before compression (HTTP/2, HTTP/3).
	PlainHeaderReceived, PlainHeaderSent uint64
	// Retransmissions (HTTP/3).
	BytesRetransmitted, PacketsRetransmitted uint64

	// Names of what the request was matched to.
	RouteName       string
	VirtualHostName string
	VirtualCluster  string
	ClusterName     string
	// ClusterStatName is the cluster's alt_stat_name, or "" if it has none.
	ClusterStatName     string
	RouteMetadata       Metadata
	VirtualHostMetadata Metadata
	ClusterMetadata     Metadata

	// Internal tells whether the request comes from inside
	// (x-envoy-internal).
	Internal bool
	// HealthCheck marks a health check's request, which access logs may skip.
	HealthCheck bool
	// Attempts counts the tries upstream.
	Attempts int
	Upstream Upstream

	Metadata    Metadata
	FilterState FilterState

	// Request and Response are the stream's heads, for those who format or
	// match at any later moment; nil before there are any.
	Request         *header.Map
	RequestTrailer  *header.Map
	Response        *header.Map
	ResponseTrailer *header.Map

	// TraceID and SpanID are those of the downstream span in hexadecimal, or nil. They are
	// valid until the stream ends.
	TraceID, SpanID []byte
	// TraceForced tells that the request is traced because the service forced
	// it (x-envoy-force-trace).
	TraceForced bool
	// CustomFlags are what filters noted, joined by commas (%CUSTOM_FLAGS%).
	CustomFlags string
	// LocalReplyBody is the body of a reply made here (%LOCAL_REPLY_BODY%).
	LocalReplyBody []byte
}

// Upstream is what is known of the last attempt.
type Upstream struct {
	// HostName is the endpoint's name; HostAddress its address.
	HostName    string
	HostAddress address.Addr
	// Local and Remote are the ends of the connection used.
	Local, Remote address.Addr
	ConnectionID  uint64
	Protocol      Protocol
	TLS           *TLS
	ServerName    string
	// FailureReason is %UPSTREAM_TRANSPORT_FAILURE_REASON%.
	FailureReason string
	// HostMetadata and Locality are the endpoint's.
	HostMetadata Metadata
	Locality     Locality
	// Bytes that crossed the wire in all attempts.
	WireSent, WireReceived     uint64
	HeaderSent, HeaderReceived uint64
	// Heads as they were before compression.
	PlainHeaderSent, PlainHeaderReceived uint64
	// HostsAttempted are the addresses tried, in order.
	HostsAttempted []address.Addr
	// HostNamesAttempted are the names of HostsAttempted ("" where there is
	// none); ConnectionIDsAttempted the connections used.
	HostNamesAttempted     []string
	ConnectionIDsAttempted []uint64
	// CloseReason and CloseType are as those of [Connection].
	CloseReason, CloseType string
	// FilterState is what the upstream's own filters hold.
	FilterState FilterState
	// PoolReadyTime is how long the stream waited for a connection.
	PoolReady time.Duration
}

// Locality is where an endpoint is.
type Locality struct{ Region, Zone, SubZone string }

// Metadata is what filters and configuration tell about a stream, a route or a
// host: per namespace (such as "envoy.lb"), a tree of nil, bool, float64,
// string, []any and map[string]any.
type Metadata map[string]map[string]any

// Lookup returns the value at a path in a namespace.
func (m Metadata) Lookup(namespace string, path ...string) (any, bool) {
	var v any = m[namespace]
	if m[namespace] == nil {
		return nil, false
	}
	for _, p := range path {
		o, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = o[p]; !ok {
			return nil, false
		}
	}
	return v, true
}

// FilterState holds typed objects that filters hand to one another under
// well-known names (Envoy's filter state). Its string form, for logs and
// matchers, is given with the object.
type FilterState map[string]StateObject

// StateObject is one object of a FilterState.
type StateObject struct {
	Value any
	// Text is what logs and matchers see.
	Text string
	// Shared tells that an internal upstream connection sees the object too.
	Shared bool
}
