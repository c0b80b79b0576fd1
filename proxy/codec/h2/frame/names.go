// SPDX-License-Identifier: Apache-2.0

package frame

import "strconv"

// Type is the type of a frame (RFC 9113 §6).
type Type uint8

// The types of frames. PriorityUpdate is RFC 9218 §7.1; this package names it
// and no more, so that it is skipped like any unknown type.
const (
	Data           Type = 0x0
	Headers        Type = 0x1
	Priority       Type = 0x2
	RSTStream      Type = 0x3
	Settings       Type = 0x4
	PushPromise    Type = 0x5
	Ping           Type = 0x6
	GoAway         Type = 0x7
	WindowUpdate   Type = 0x8
	Continuation   Type = 0x9
	PriorityUpdate Type = 0x10
)

// String returns the type as RFC 9113 writes it, "RST_STREAM", or its number.
func (t Type) String() string {
	switch t {
	case Data:
		return "DATA"
	case Headers:
		return "HEADERS"
	case Priority:
		return "PRIORITY"
	case RSTStream:
		return "RST_STREAM"
	case Settings:
		return "SETTINGS"
	case PushPromise:
		return "PUSH_PROMISE"
	case Ping:
		return "PING"
	case GoAway:
		return "GOAWAY"
	case WindowUpdate:
		return "WINDOW_UPDATE"
	case Continuation:
		return "CONTINUATION"
	case PriorityUpdate:
		return "PRIORITY_UPDATE"
	}
	return "UNKNOWN_" + strconv.Itoa(int(t))
}

// Flags are the flags of a frame; what a bit means depends on the type.
type Flags uint8

// The flags of RFC 9113 §6.
const (
	// EndStream is for DATA and HEADERS.
	EndStream Flags = 0x1
	// Ack is for SETTINGS and PING.
	Ack Flags = 0x1
	// EndHeaders is for HEADERS and CONTINUATION.
	EndHeaders Flags = 0x4
	// Padded is for DATA and HEADERS.
	Padded Flags = 0x8
	// WithPriority is for HEADERS.
	WithPriority Flags = 0x20
)

// Has reports whether all bits of x are set.
func (f Flags) Has(x Flags) bool { return f&x == x }

// SettingID is the number of a setting (RFC 9113 §6.5.2).
type SettingID uint16

// The settings of RFC 9113 §6.5.2, RFC 8441 §3 and RFC 9218 §2.1.
const (
	HeaderTableSize       SettingID = 0x1
	EnablePush            SettingID = 0x2
	MaxConcurrentStreams  SettingID = 0x3
	InitialWindowSize     SettingID = 0x4
	MaxFrameSize          SettingID = 0x5
	MaxHeaderListSize     SettingID = 0x6
	EnableConnectProtocol SettingID = 0x8
	NoRFC7540Priorities   SettingID = 0x9
)

// String returns the setting's name as RFC 9113 writes it, or its number.
func (s SettingID) String() string {
	switch s {
	case HeaderTableSize:
		return "HEADER_TABLE_SIZE"
	case EnablePush:
		return "ENABLE_PUSH"
	case MaxConcurrentStreams:
		return "MAX_CONCURRENT_STREAMS"
	case InitialWindowSize:
		return "INITIAL_WINDOW_SIZE"
	case MaxFrameSize:
		return "MAX_FRAME_SIZE"
	case MaxHeaderListSize:
		return "MAX_HEADER_LIST_SIZE"
	case EnableConnectProtocol:
		return "ENABLE_CONNECT_PROTOCOL"
	case NoRFC7540Priorities:
		return "NO_RFC7540_PRIORITIES"
	}
	return "UNKNOWN_" + strconv.Itoa(int(s))
}

// Setting is one setting and its value.
type Setting struct {
	ID    SettingID
	Value uint32
}

// Code is an error code (RFC 9113 §7).
type Code uint32

// The error codes of RFC 9113 §7.
const (
	NoError            Code = 0x0
	ProtocolError      Code = 0x1
	InternalError      Code = 0x2
	FlowControlError   Code = 0x3
	SettingsTimeout    Code = 0x4
	StreamClosed       Code = 0x5
	FrameSizeError     Code = 0x6
	RefusedStream      Code = 0x7
	Cancel             Code = 0x8
	CompressionError   Code = 0x9
	ConnectError       Code = 0xa
	EnhanceYourCalm    Code = 0xb
	InadequateSecurity Code = 0xc
	HTTP11Required     Code = 0xd
)

// String returns the code as RFC 9113 writes it, "PROTOCOL_ERROR", or its
// number.
func (c Code) String() string {
	switch c {
	case NoError:
		return "NO_ERROR"
	case ProtocolError:
		return "PROTOCOL_ERROR"
	case InternalError:
		return "INTERNAL_ERROR"
	case FlowControlError:
		return "FLOW_CONTROL_ERROR"
	case SettingsTimeout:
		return "SETTINGS_TIMEOUT"
	case StreamClosed:
		return "STREAM_CLOSED"
	case FrameSizeError:
		return "FRAME_SIZE_ERROR"
	case RefusedStream:
		return "REFUSED_STREAM"
	case Cancel:
		return "CANCEL"
	case CompressionError:
		return "COMPRESSION_ERROR"
	case ConnectError:
		return "CONNECT_ERROR"
	case EnhanceYourCalm:
		return "ENHANCE_YOUR_CALM"
	case InadequateSecurity:
		return "INADEQUATE_SECURITY"
	case HTTP11Required:
		return "HTTP_1_1_REQUIRED"
	}
	return "UNKNOWN_" + strconv.FormatUint(uint64(c), 10)
}
