// SPDX-License-Identifier: Apache-2.0

package overload

// The overload actions that there are.
const (
	// StopAcceptingRequests answers new requests 503.
	StopAcceptingRequests = "envoy.overload_actions.stop_accepting_requests"
	// DisableHTTPKeepAlive ends connections of HTTP with their next response.
	DisableHTTPKeepAlive = "envoy.overload_actions.disable_http_keepalive"
	// StopAcceptingConnections leaves new connections in the kernel's queue while it is
	// saturated.
	StopAcceptingConnections = "envoy.overload_actions.stop_accepting_connections"
	// RejectIncomingConnections closes new connections at once.
	RejectIncomingConnections = "envoy.overload_actions.reject_incoming_connections"
	// ShrinkHeap gives memory that is free back to the system.
	ShrinkHeap = "envoy.overload_actions.shrink_heap"
	// ReduceTimeouts shortens time limits.
	ReduceTimeouts = "envoy.overload_actions.reduce_timeouts"
	// ResetHighMemoryStream breaks off the streams that hold most memory.
	ResetHighMemoryStream = "envoy.overload_actions.reset_high_memory_stream"
)

// The load shed points that there are.
const (
	// AcceptTCP closes new connections of TCP before their listener filters run.
	AcceptTCP = "envoy.load_shed_points.tcp_listener_accept"
	// DecodeHeaders answers new requests 503.
	DecodeHeaders = "envoy.load_shed_points.http_connection_manager_decode_headers"
	// AbortHTTP1 ends connections of HTTP/1 that bring part of a request.
	AbortHTTP1 = "envoy.load_shed_points.http1_server_abort_dispatch"
	// GoAwayHTTP2 announces the end to connections of HTTP/2 that bring anything.
	GoAwayHTTP2 = "envoy.load_shed_points.http2_server_go_away_on_dispatch"
	// CloseHTTP2 ends connections of HTTP/2 that bring anything, with their streams.
	CloseHTTP2 = "envoy.load_shed_points.http2_server_go_away_and_close_on_dispatch"
	// CreateCodec closes connections with the first bytes that they bring.
	CreateCodec = "envoy.load_shed_points.hcm_ondata_creating_codec"
	// FilterCheck answers requests 503 once the filters have passed them on.
	FilterCheck = "envoy.load_shed_points.http_downstream_filter_check"
	// NewPoolConnection opens no more connections to hosts.
	NewPoolConnection = "envoy.load_shed_points.connection_pool_new_connection"
)

// known tells of each name whether there is what it names; where there is not, why.
type known map[string]string

var knownActions = known{
	StopAcceptingRequests: "", DisableHTTPKeepAlive: "", StopAcceptingConnections: "", RejectIncomingConnections: "",
	ShrinkHeap: "", ReduceTimeouts: "", ResetHighMemoryStream: "",
	"envoy.overload_actions.close_idle_http_connections": "it closes idle connections of HTTP/3, which is not served: use " +
		ReduceTimeouts + " with HTTP_DOWNSTREAM_CONNECTION_IDLE",
}

const noHTTP3 = "HTTP/3 is not served: remove it"

var knownPoints = known{
	AcceptTCP: "", DecodeHeaders: "", AbortHTTP1: "", GoAwayHTTP2: "", CloseHTTP2: "", CreateCodec: "", FilterCheck: "", NewPoolConnection: "",
	"envoy.load_shed_points.http3_server_go_away_on_dispatch":           noHTTP3,
	"envoy.load_shed_points.http3_server_go_away_and_close_on_dispatch": noHTTP3,
}

// A Timer is a kind of time limits that can be shortened.
type Timer uint8

const (
	// ConnectionIdle is how long a connection of HTTP may be without a stream.
	ConnectionIdle Timer = iota
	// StreamIdle is how long nothing of a stream may move.
	StreamIdle
	// TransportConnect is how long a client's handshake may take.
	TransportConnect
	// ConnectionMax is how long a connection of HTTP may last.
	ConnectionMax
	timers
)
