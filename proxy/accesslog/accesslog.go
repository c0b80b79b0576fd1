// SPDX-License-Identifier: Apache-2.0

// Package accesslog decides which streams are logged: the interface of a sink,
// the types of a record and Envoy's access log filters
// (envoy.config.accesslog.v3.AccessLogFilter), compiled. What a sink does with
// a record is the matter of ext/accesslog.
package accesslog

import "weir.dev/weir/proxy/streaminfo"

// Type says at which moment of a stream a record is made
// (envoy.data.accesslog.v3.AccessLogType).
type Type uint8

// The types, with Envoy's numbers.
const (
	NotSet Type = iota
	TCPUpstreamConnected
	TCPPeriodic
	TCPConnectionEnd
	DownstreamStart
	DownstreamPeriodic
	DownstreamEnd
	UpstreamPoolReady
	UpstreamPeriodic
	UpstreamEnd
	DownstreamTunnelSuccessfullyEstablished
	UDPTunnelUpstreamConnected
	UDPPeriodic
	UDPSessionEnd
	TCPConnectionStart
	numTypes = iota
)

var typeNames = [numTypes]string{
	"NotSet", "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd", "DownstreamStart", "DownstreamPeriodic",
	"DownstreamEnd", "UpstreamPoolReady", "UpstreamPeriodic", "UpstreamEnd", "DownstreamTunnelSuccessfullyEstablished",
	"UdpTunnelUpstreamConnected", "UdpPeriodic", "UdpSessionEnd", "TcpConnectionStart",
}

// String returns Envoy's name of the type, as %ACCESS_LOG_TYPE% prints it.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return ""
}

// Sink takes records.
type Sink interface {
	// Log records a stream. It does not block, keeps nothing of info, and is
	// called on the event loop of the stream. shard is that loop's number: a
	// sink may keep something per shard, since no two calls with the same
	// shard run at the same time. Any number from 0 is good; a sink that was
	// made for fewer shards locks.
	Log(shard int, info *streaminfo.Stream, typ Type)
}

// Filter tells whether a stream is logged. It is immutable and safe for
// concurrent use.
type Filter func(info *streaminfo.Stream, typ Type) bool

// Log is one configured access log: a sink behind a filter.
type Log struct {
	sink   Sink
	filter Filter
}

// New returns a log that passes on to sink what filter is true for; a nil
// filter is true for all.
func New(sink Sink, filter Filter) *Log { return &Log{sink: sink, filter: filter} }

// Log implements [Sink].
func (l *Log) Log(shard int, info *streaminfo.Stream, typ Type) {
	if l.filter == nil || l.filter(info, typ) {
		l.sink.Log(shard, info, typ)
	}
}
