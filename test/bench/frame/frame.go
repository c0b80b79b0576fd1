// SPDX-License-Identifier: Apache-2.0

// Package frame reads and writes HTTP/2 frames for the benchmark's client and backend: the layouts of RFC 9113 §4 and
// §6 and nothing about streams. Frames are found in and appended to byte slices, so that a whole batch takes one system
// call. It is no base for a product: it checks what it needs to keep its place in the connection and no more.
package frame

import (
	"encoding/binary"
	"fmt"
)

// Preface is what a client sends first (RFC 9113 §3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// HeaderLen is the length of a frame's header, MaxLen the largest payload that either end accepts, both in bytes. MaxLen
// is the protocol's default and the benchmark's ends never announce another.
const (
	HeaderLen = 9
	MaxLen    = 16 << 10
)

// The frame types of RFC 9113 §6.
const (
	Data         = 0x0
	Headers      = 0x1
	RSTStream    = 0x3
	Settings     = 0x4
	Ping         = 0x6
	GoAway       = 0x7
	WindowUpdate = 0x8
	Continuation = 0x9
)

// The flags; which mean something depends on the type.
const (
	Ack        = 0x1
	EndStream  = 0x1
	EndHeaders = 0x4
	Padded     = 0x8
	Priority   = 0x20
)

// The settings that the benchmark sends or obeys (RFC 9113 §6.5.2).
const (
	HeaderTableSize      = 0x1
	EnablePush           = 0x2
	MaxConcurrentStreams = 0x3
	InitialWindowSize    = 0x4
)

// DefaultWindow is the window of a connection, and of a stream if no setting says otherwise; WideWindow the largest
// there can be.
const (
	DefaultWindow = 65535
	WideWindow    = 1<<31 - 1
)

// A Frame is one frame; Payload is part of the buffer it was found in.
type Frame struct {
	Type, Flags uint8
	Stream      uint32
	Payload     []byte
}

// Next finds the frame at the start of b and its whole length n, which is 0 when b does not hold it all. A payload of
// more than MaxLen is an error.
func Next(b []byte) (f Frame, n int, err error) {
	if len(b) < HeaderLen {
		return f, 0, nil
	}
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	if length > MaxLen {
		return f, 0, fmt.Errorf("a frame of %d bytes: at most %d were allowed", length, MaxLen)
	}
	if len(b) < HeaderLen+length {
		return f, 0, nil
	}
	f = Frame{Type: b[3], Flags: b[4], Stream: binary.BigEndian.Uint32(b[5:]) & WideWindow, Payload: b[HeaderLen : HeaderLen+length]}
	return f, HeaderLen + length, nil
}

// Content is the payload of a DATA or HEADERS frame without padding and priority.
func (f Frame) Content() ([]byte, error) {
	p, pad := f.Payload, 0
	if f.Flags&Padded != 0 {
		if len(p) == 0 {
			return nil, fmt.Errorf("a padded frame without the length of its padding")
		}
		pad, p = int(p[0]), p[1:]
	}
	if f.Type == Headers && f.Flags&Priority != 0 {
		if len(p) < 5 {
			return nil, fmt.Errorf("a priority of %d bytes", len(p))
		}
		p = p[5:]
	}
	if pad > len(p) {
		return nil, fmt.Errorf("%d bytes of padding in a rest of %d", pad, len(p))
	}
	return p[:len(p)-pad], nil
}

// Each calls set for every setting in the frame.
func (f Frame) Each(set func(id uint16, value uint32)) error {
	if len(f.Payload)%6 != 0 {
		return fmt.Errorf("settings of %d bytes", len(f.Payload))
	}
	for p := f.Payload; len(p) > 0; p = p[6:] {
		set(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:]))
	}
	return nil
}

// Increment is by how much a WINDOW_UPDATE frame widens the window.
func (f Frame) Increment() (int, error) {
	if len(f.Payload) != 4 {
		return 0, fmt.Errorf("a window update of %d bytes", len(f.Payload))
	}
	return int(binary.BigEndian.Uint32(f.Payload) & WideWindow), nil
}

// AppendHeader appends the header of a frame whose payload of length bytes the caller appends.
func AppendHeader(b []byte, length int, typ, flags uint8, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), typ, flags)
	return binary.BigEndian.AppendUint32(b, stream)
}

// Append appends a whole frame.
func Append(b []byte, typ, flags uint8, stream uint32, payload []byte) []byte {
	return append(AppendHeader(b, len(payload), typ, flags, stream), payload...)
}

// SetStream writes the stream into a frame that was built for another.
func SetStream(b []byte, stream uint32) { binary.BigEndian.PutUint32(b[5:], stream) }

// A Setting is one entry of a SETTINGS frame.
type Setting struct {
	ID    uint16
	Value uint32
}

// AppendSettings appends a SETTINGS frame.
func AppendSettings(b []byte, settings ...Setting) []byte {
	b = AppendHeader(b, 6*len(settings), Settings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, s.ID)
		b = binary.BigEndian.AppendUint32(b, s.Value)
	}
	return b
}

// AppendWindowUpdate appends a frame that widens a window; stream 0 is the connection's.
func AppendWindowUpdate(b []byte, stream uint32, by int) []byte {
	b = AppendHeader(b, 4, WindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(by))
}
