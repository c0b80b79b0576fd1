// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"time"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/stats"
)

// Options are the limits of a connection, in either role: Envoy's
// Http2ProtocolOptions, compiled, and what Weir adds to them. They are not changed
// after first use, so any number of connections may share them. A zero field is
// its default.
type Options struct {
	// HPACKTableSize bounds the dynamic tables of both directions in bytes
	// (hpack_table_size), 4096 by default. NoHPACKTable makes it 0.
	HPACKTableSize uint32
	NoHPACKTable   bool
	// MaxConcurrentStreams bounds the streams of a connection
	// (max_concurrent_streams), 1024 by default.
	MaxConcurrentStreams uint32
	// InitialStreamWindow and InitialConnectionWindow are the receive windows in
	// bytes, advertised as they are. If one is 0 it begins small and grows, up to
	// Envoy's defaults of 16 and 24 MiB, as long as what arrives is consumed.
	InitialStreamWindow, InitialConnectionWindow uint32
	// MaxFrameSize is the largest payload of a frame that is taken, 16384 by
	// default, which is also the least (RFC 9113 §4.2).
	MaxFrameSize uint32
	// AllowConnect takes and sends extended CONNECT (RFC 8441; allow_connect).
	AllowConnect bool
	// MaxHeadBytes and MaxHeaders bound names and values of a head or trailer
	// section, 60 KiB, and its fields, 100. Crumbs of Cookie count one by one.
	MaxHeadBytes, MaxHeaders int
	// Underscores is Envoy's headers_with_underscores_action; requests only.
	Underscores codec.Underscores
	// MaxOutboundFrames bounds the frames that wait to be written
	// (max_outbound_frames), 10000 by default, and MaxOutboundControlFrames those
	// of type SETTINGS, PING and RST_STREAM among them, 1000.
	MaxOutboundFrames, MaxOutboundControlFrames uint32
	// MaxConsecutiveInboundEmptyFrames is Envoy's
	// max_consecutive_inbound_frames_with_empty_payload, 1 by default.
	MaxConsecutiveInboundEmptyFrames uint32
	// MaxInboundPriorityFramesPerStream is 100 by default.
	MaxInboundPriorityFramesPerStream uint32
	// MaxInboundWindowUpdateFramesPerDataFrame is 10 by default.
	MaxInboundWindowUpdateFramesPerDataFrame uint32
	// KeepStreamOnError resets one stream for an invalid message instead of ending
	// the connection (override_stream_error_on_invalid_http_message).
	KeepStreamOnError bool
	KeepAlive         KeepAlive
	// HeadTimeout bounds the time in which a request's head arrives, from its first
	// frame to its last (request_headers_timeout); 0 is for ever. Nothing else can
	// arrive meanwhile, so the connection ends with it.
	HeadTimeout time.Duration
	// DisableHuffman writes strings as they are.
	DisableHuffman bool
	// DisallowObsText refuses fields with bytes above 0x7f.
	DisallowObsText bool
	// CustomSettings are sent after Weir's own.
	CustomSettings []Setting

	// MaxPrematureResets is how many young streams a client may reset before they
	// are answered, 200 by default, on top of what comes back with time and with
	// each answer: see guard. PrematureResetRate is how many come back in a second,
	// 20 by default (stream_reset_burst and stream_reset_rate; Envoy's own are 1000
	// and 33, for it counts the resets of old and of answered streams as well).
	MaxPrematureResets, PrematureResetRate uint32
	// Dispatch, if set, decides whenever a client's connection brings something what
	// becomes of the connection.
	Dispatch func() Dispatch

	// MaxGlitches is how many frames that a correct peer seldom sends are put up
	// with at a time, 256 by default.
	MaxGlitches uint32
}

// Dispatch is what becomes of a connection that brings something.
type Dispatch uint8

const (
	// GoOn handles it.
	GoOn Dispatch = iota
	// GoAway takes no further streams; those there are go on, and the connection ends
	// with the last.
	GoAway
	// Close ends the connection and its streams at once, with [ErrShed].
	Close
)

// A Setting is one entry of a SETTINGS frame.
type Setting struct {
	ID    uint16
	Value uint32
}

// KeepAlive is how the peer is asked for a sign of life (Envoy's
// connection_keepalive).
type KeepAlive struct {
	// Interval is the time between PINGs, 0 for none, and Timeout how long the
	// answer may take before the connection is closed.
	Interval, Timeout time.Duration
	// Jitter lengthens an interval by up to this many percent, at random.
	Jitter float64
	// IdleInterval has a client send a PING with a new stream if nothing has
	// arrived for so long (connection_idle_interval); 0 is never.
	IdleInterval time.Duration
}

// Defaults: Envoy's, and where a window is not configured what it begins with.
const (
	defaultTableSize      = 4096
	defaultStreams        = 1024
	defaultHeadBytes      = 60 << 10
	defaultHeaders        = 100
	defaultFrameSize      = 16 << 10
	defaultFrames         = 10000
	defaultControl        = 1000
	defaultEmpty          = 1
	defaultPriorities     = 100
	defaultUpdates        = 10
	defaultResets         = 200
	defaultResetRate      = 20
	defaultGlitches       = 256
	firstStreamWindow     = 256 << 10
	firstConnectionWindow = 1 << 20
	mostStreamWindow      = 16 << 20
	mostConnectionWindow  = 24 << 20
	maxFrameSize          = 1<<24 - 1
	maxWindow             = 1<<31 - 1
)

func or[T uint32 | int](v, def T) T {
	if v != 0 {
		return v
	}
	return def
}

// Streams returns how many streams a client opens on a connection at most.
func (o *Options) Streams() uint32 { return or(o.MaxConcurrentStreams, defaultStreams) }

// limits are Options with the defaults filled in.
type limits struct {
	Options
	streamWindow, connWindow uint32 // advertised at first
	mostStream, mostConn     uint32
}

func (o *Options) limits() limits {
	l := limits{Options: *o}
	l.HPACKTableSize = or(o.HPACKTableSize, defaultTableSize)
	if o.NoHPACKTable {
		l.HPACKTableSize = 0
	}
	l.MaxConcurrentStreams = or(o.MaxConcurrentStreams, defaultStreams)
	l.MaxFrameSize = min(max(o.MaxFrameSize, defaultFrameSize), maxFrameSize)
	l.MaxHeadBytes = or(o.MaxHeadBytes, defaultHeadBytes)
	l.MaxHeaders = or(o.MaxHeaders, defaultHeaders)
	l.MaxOutboundFrames = or(o.MaxOutboundFrames, defaultFrames)
	l.MaxOutboundControlFrames = or(o.MaxOutboundControlFrames, defaultControl)
	l.MaxConsecutiveInboundEmptyFrames = or(o.MaxConsecutiveInboundEmptyFrames, defaultEmpty)
	l.MaxInboundPriorityFramesPerStream = or(o.MaxInboundPriorityFramesPerStream, defaultPriorities)
	l.MaxInboundWindowUpdateFramesPerDataFrame = or(o.MaxInboundWindowUpdateFramesPerDataFrame, defaultUpdates)
	l.MaxPrematureResets = or(o.MaxPrematureResets, defaultResets)
	l.PrematureResetRate = or(o.PrematureResetRate, defaultResetRate)
	l.MaxGlitches = or(o.MaxGlitches, defaultGlitches)
	l.streamWindow, l.mostStream = or(o.InitialStreamWindow, firstStreamWindow), or(o.InitialStreamWindow, mostStreamWindow)
	l.connWindow, l.mostConn = or(o.InitialConnectionWindow, firstConnectionWindow), or(o.InitialConnectionWindow, mostConnectionWindow)
	// A connection's window begins at 65535 and SETTINGS cannot make it smaller.
	l.connWindow = max(l.connWindow, protocolWindow)
	l.mostConn = max(l.mostConn, l.connWindow)
	return l
}

// Stats are Envoy's HTTP/2 codec statistics, below "http2.".
type Stats struct {
	DroppedUnderscores  stats.Counter `stat:"dropped_headers_with_underscores"`
	GoAwaySent          stats.Counter `stat:"goaway_sent"`
	GoAwayGraceful      stats.Counter `stat:"goaway_graceful_sent"`
	HeaderOverflow      stats.Counter `stat:"header_overflow"`
	NoStream            stats.Counter `stat:"headers_cb_no_stream"`
	EmptyFlood          stats.Counter `stat:"inbound_empty_frames_flood"`
	PriorityFlood       stats.Counter `stat:"inbound_priority_frames_flood"`
	WindowUpdateFlood   stats.Counter `stat:"inbound_window_update_frames_flood"`
	KeepAliveTimeout    stats.Counter `stat:"keepalive_timeout"`
	ControlFlood        stats.Counter `stat:"outbound_control_flood"`
	Flood               stats.Counter `stat:"outbound_flood"`
	RejectedUnderscores stats.Counter `stat:"requests_rejected_with_underscores_in_headers"`
	MessagingError      stats.Counter `stat:"rx_messaging_error"`
	RxReset             stats.Counter `stat:"rx_reset"`
	RefusedStream       stats.Counter `stat:"stream_refused_errors"`
	Trailers            stats.Counter `stat:"trailers"`
	TxReset             stats.Counter `stat:"tx_reset"`
	StreamsActive       stats.Gauge   `stat:"streams_active"`
	PendingSendBytes    stats.Gauge   `stat:"pending_send_bytes"`
	OutboundFrames      stats.Gauge   `stat:"outbound_frames_active"`
	OutboundControl     stats.Gauge   `stat:"outbound_control_frames_active"`
	ResetFlood          stats.Counter `stat:"inbound_reset_flood"`
	StreamErrorFlood    stats.Counter `stat:"inbound_stream_errors_flood"`
	LateFlood           stats.Counter `stat:"inbound_closed_stream_frames_flood"`
	RefusedFlood        stats.Counter `stat:"inbound_refused_streams_flood"`
	SettingsFlood       stats.Counter `stat:"inbound_settings_frames_flood"`
	HPACKFlood          stats.Counter `stat:"inbound_hpack_flood"`
	HeadTimeout         stats.Counter `stat:"inbound_header_timeout"`
	ContinuationFlood   stats.Counter `stat:"inbound_continuation_flood"`
}
