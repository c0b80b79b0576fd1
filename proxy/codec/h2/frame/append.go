// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"encoding/binary"
	"slices"
)

// AppendHeader appends a frame header. A Length above LimitMaxFrameSize cannot
// be written and is the caller's mistake.
func AppendHeader(dst []byte, h Header) []byte {
	return append(dst,
		byte(h.Length>>16), byte(h.Length>>8), byte(h.Length), byte(h.Type), byte(h.Flags),
		byte(h.StreamID>>24), byte(h.StreamID>>16), byte(h.StreamID>>8), byte(h.StreamID))
}

// AppendDataHeader appends the header of a DATA frame with length bytes of
// content, which the caller writes behind it.
func AppendDataHeader(dst []byte, stream, length uint32, endStream bool) []byte {
	h := Header{Length: length, Type: Data, StreamID: stream}
	if endStream {
		h.Flags = EndStream
	}
	return AppendHeader(dst, h)
}

// AppendHeaders appends an encoded field block as one HEADERS frame and as many
// CONTINUATION frames as maxFrame, the peer's SETTINGS_MAX_FRAME_SIZE, demands.
func AppendHeaders(dst, block []byte, stream, maxFrame uint32, endStream bool) []byte {
	start := len(dst)
	dst = append(OpenHeaders(dst), block...)
	return CloseHeaders(dst, start, stream, maxFrame, endStream)
}

// OpenHeaders appends room for the header of a HEADERS frame: the caller
// encodes the field block right behind it and then calls CloseHeaders, which
// saves a copy of the block.
func OpenHeaders(dst []byte) []byte {
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// CloseHeaders makes dst[start:], which OpenHeaders began and which holds a
// whole field block, frames of at most maxFrame: HEADERS and, if it has to be,
// CONTINUATION.
func CloseHeaders(dst []byte, start int, stream, maxFrame uint32, endStream bool) []byte {
	h := Header{Type: Headers, StreamID: stream}
	if endStream {
		h.Flags = EndStream
	}
	size, limit := len(dst)-start-HeaderLen, int(maxFrame)
	if size <= limit {
		h.Length = uint32(size)
		h.Flags |= EndHeaders
		AppendHeader(dst[:start], h)
		return dst
	}
	// From the last fragment to the first: each moves right by one frame header
	// for each fragment before it, and nothing is overwritten that is yet to move.
	more := (size - 1) / limit
	dst = slices.Grow(dst, more*HeaderLen)
	dst = dst[:len(dst)+more*HeaderLen]
	first := start + HeaderLen
	for k := more; k > 0; k-- {
		from, n := first+k*limit, min(limit, size-k*limit)
		to := from + k*HeaderLen
		copy(dst[to:to+n], dst[from:from+n])
		c := Header{Length: uint32(n), Type: Continuation, StreamID: stream}
		if k == more {
			c.Flags = EndHeaders
		}
		AppendHeader(dst[:to-HeaderLen], c)
	}
	h.Length = maxFrame
	AppendHeader(dst[:start], h)
	return dst
}

// AppendSettings appends a SETTINGS frame.
func AppendSettings(dst []byte, settings ...Setting) []byte {
	dst = AppendHeader(dst, Header{Length: uint32(6 * len(settings)), Type: Settings})
	for _, s := range settings {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.ID))
		dst = binary.BigEndian.AppendUint32(dst, s.Value)
	}
	return dst
}

// AppendSettingsAck appends the acknowledgement of the peer's settings.
func AppendSettingsAck(dst []byte) []byte {
	return AppendHeader(dst, Header{Type: Settings, Flags: Ack})
}

// AppendPing appends a PING, or with ack the answer to one.
func AppendPing(dst []byte, data [8]byte, ack bool) []byte {
	h := Header{Length: 8, Type: Ping}
	if ack {
		h.Flags = Ack
	}
	return append(AppendHeader(dst, h), data[:]...)
}

// AppendGoAway appends a GOAWAY; debug may be empty.
func AppendGoAway(dst []byte, lastStream uint32, code Code, debug string) []byte {
	dst = AppendHeader(dst, Header{Length: uint32(8 + len(debug)), Type: GoAway})
	dst = binary.BigEndian.AppendUint32(dst, lastStream)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, debug...)
}

// AppendWindowUpdate appends a WINDOW_UPDATE for a stream, or for the
// connection if stream is 0. The increment is 1 to MaxWindow.
func AppendWindowUpdate(dst []byte, stream, increment uint32) []byte {
	dst = AppendHeader(dst, Header{Length: 4, Type: WindowUpdate, StreamID: stream})
	return binary.BigEndian.AppendUint32(dst, increment)
}

// AppendRSTStream appends a RST_STREAM.
func AppendRSTStream(dst []byte, stream uint32, code Code) []byte {
	dst = AppendHeader(dst, Header{Length: 4, Type: RSTStream, StreamID: stream})
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}
