// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Packed is a message that is kept for whoever asks for it, or wants to know whether another says the same. The zero
// Packed has none.
type Packed struct {
	message proto.Message
	as      protoreflect.MessageType // of bytes; nil if the message itself is kept
	bytes   string
}

// Keep keeps a message as it is: others have it, too.
func Keep(m proto.Message) Packed { return Packed{message: m} }

// Pack keeps a message that nobody else needs any more in what it takes to send it, which is a tenth of its memory.
func Pack(m proto.Message) Packed {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return Keep(m) // It was not decoded but made, of what cannot be sent.
	}
	return Packed{as: m.ProtoReflect().Type(), bytes: string(b)}
}

// IsZero tells that there is no message.
func (p Packed) IsZero() bool { return p.message == nil && p.as == nil }

// Message returns the message, nil if there is none. It must not be changed.
func (p Packed) Message() proto.Message {
	if p.as == nil {
		return p.message
	}
	m := p.as.New().Interface()
	// What was encoded can be decoded.
	_ = proto.Unmarshal([]byte(p.bytes), m)
	return m
}

// Equal reports whether there is a message in both and they say the same.
func (p Packed) Equal(o Packed) bool {
	switch {
	case p.IsZero() || o.IsZero():
		return false
	case p.as != nil && o.as != nil:
		return p.as == o.as && p.bytes == o.bytes
	}
	return Equal(p.Message(), o.Message())
}
