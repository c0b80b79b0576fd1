// SPDX-License-Identifier: Apache-2.0

package frame

import "encoding/binary"

// Preface is what a client sends first (RFC 9113 §3.4); SETTINGS follow.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Sizes and limits of RFC 9113 §4.1, §4.2 and §6.9.
const (
	// HeaderLen is the length of a frame header in bytes.
	HeaderLen = 9
	// MinMaxFrameSize is the default and the least value of
	// SETTINGS_MAX_FRAME_SIZE, LimitMaxFrameSize the greatest.
	MinMaxFrameSize   = 1 << 14
	LimitMaxFrameSize = 1<<24 - 1
	// MaxWindow is the largest flow-control window.
	MaxWindow = 1<<31 - 1
	// DefaultWindow is the window of streams and connection at first.
	DefaultWindow = 1<<16 - 1
)

// Header is the header of a frame.
type Header struct {
	// Length of the payload in bytes, padding included.
	Length   uint32
	Type     Type
	Flags    Flags
	StreamID uint32
}

// Parse reads the frame header that b begins with; ok is false if b is shorter
// than HeaderLen. The reserved bit is ignored, as RFC 9113 §4.1 demands.
func Parse(b []byte) (h Header, ok bool) {
	if len(b) < HeaderLen {
		return Header{}, false
	}
	x := binary.BigEndian.Uint64(b)
	return Header{
		Length:   uint32(x >> 40),
		Type:     Type(x >> 32),
		Flags:    Flags(x >> 24),
		StreamID: (uint32(x)<<8 | uint32(b[8])) & MaxWindow,
	}, true
}

// Check checks what a header alone shows, so that a frame can be refused before
// its payload is there: length against maxFrame (our SETTINGS_MAX_FRAME_SIZE)
// and against the type, and whether it is on a stream or on the connection.
// Frames of unknown types pass if they are not too large (RFC 9113 §5.5), and
// PUSH_PROMISE never does, as it is never enabled here. After a stream error the
// payload is to be skipped.
func (h Header) Check(maxFrame uint32) *Error {
	if h.Length > maxFrame {
		// RFC 9113 §4.2: a connection error if it could alter the state of the
		// whole connection.
		if h.StreamID != 0 && (h.Type == Data || h.Type == Priority) {
			return errLargeStream
		}
		return errLarge
	}
	switch h.Type {
	case Data, Headers, Continuation, Priority, RSTStream:
		if h.StreamID == 0 {
			return errOnZero
		}
	case Settings, Ping, GoAway:
		if h.StreamID != 0 {
			return errOnStream
		}
	case PushPromise:
		return errPush
	}
	switch h.Type {
	case Priority:
		if h.Length != 5 {
			return errPriority
		}
	case RSTStream:
		if h.Length != 4 {
			return errReset
		}
	case Settings:
		switch {
		case h.Flags.Has(Ack) && h.Length != 0:
			return errSettingsAck
		case h.Length%6 != 0:
			return errSettings
		}
	case Ping:
		if h.Length != 8 {
			return errPing
		}
	case GoAway:
		if h.Length < 8 {
			return errGoAway
		}
	case WindowUpdate:
		if h.Length != 4 {
			return errWindow
		}
	}
	return nil
}
