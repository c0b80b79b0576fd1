// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"encoding/binary"
	"iter"
)

// Weight is the priority of a stream as RFC 7540 §5.3 had it. RFC 9113 §5.3.2
// deprecates it: it is read to be checked, and to no other end.
type Weight struct {
	// Parent is the stream depended on.
	Parent uint32
	// Exclusive is the flag of that name.
	Exclusive bool
	// Weight is one less than the weight.
	Weight uint8
}

// ParseData returns the content of a DATA payload, a view of it without the
// padding. The whole of h.Length counts for flow control (RFC 9113 §6.1).
func ParseData(h Header, payload []byte) ([]byte, *Error) { return unpad(h.Flags, payload) }

// unpad cuts the padding. Of its bytes nothing is asked: RFC 9113 §6.1 leaves
// open whether they are checked to be zero.
func unpad(f Flags, b []byte) ([]byte, *Error) {
	if !f.Has(Padded) {
		return b, nil
	}
	if len(b) == 0 {
		return nil, errPadMissing
	}
	n := int(b[0])
	b = b[1:]
	if n > len(b) {
		return nil, errPad
	}
	return b[:len(b)-n], nil
}

// ParseHeaders returns the fragment of the field block in a HEADERS payload, a
// view. With a stream error the fragment is returned as well: it must still be
// decoded, or the decoder's table is no longer the peer's (RFC 9113 §4.3).
func ParseHeaders(h Header, payload []byte) (fragment []byte, err *Error) {
	if !h.Flags.Has(WithPriority) {
		return unpad(h.Flags, payload)
	}
	b, pad := payload, 0
	if h.Flags.Has(Padded) {
		if len(b) == 0 {
			return nil, errPadMissing
		}
		pad, b = int(b[0]), b[1:]
	}
	if len(b) < 5 {
		return nil, errPrioMissing
	}
	// RFC 9113 §6.2: padding may take the room of the fragment, not of the fields
	// before it.
	if pad > len(b)-5 {
		return nil, errPad
	}
	_, err = weight(h.StreamID, b)
	return b[5 : len(b)-pad], err
}

// ParsePriority reads a PRIORITY payload.
func ParsePriority(h Header, payload []byte) (Weight, *Error) {
	if len(payload) != 5 {
		return Weight{}, errPriority
	}
	return weight(h.StreamID, payload)
}

func weight(stream uint32, b []byte) (Weight, *Error) {
	x := binary.BigEndian.Uint32(b)
	w := Weight{Parent: x & MaxWindow, Exclusive: x>>31 != 0, Weight: b[4]}
	// RFC 7540 §5.3.1.
	if w.Parent == stream {
		return w, errSelf
	}
	return w, nil
}

// ParseRSTStream reads a RST_STREAM payload.
func ParseRSTStream(payload []byte) (Code, *Error) {
	if len(payload) != 4 {
		return 0, errReset
	}
	return Code(binary.BigEndian.Uint32(payload)), nil
}

// ParsePing returns the eight bytes that a PING with ACK sends back.
func ParsePing(payload []byte) (data [8]byte, err *Error) {
	if len(payload) != 8 {
		return data, errPing
	}
	return [8]byte(payload), nil
}

// ParseGoAway reads a GOAWAY payload; debug is a view of the peer's own words.
func ParseGoAway(payload []byte) (lastStream uint32, code Code, debug []byte, err *Error) {
	if len(payload) < 8 {
		return 0, 0, nil, errGoAway
	}
	return binary.BigEndian.Uint32(payload) & MaxWindow, Code(binary.BigEndian.Uint32(payload[4:])), payload[8:], nil
}

// ParseWindowUpdate returns the increment of a WINDOW_UPDATE payload, at least
// 1. Whether the window grows beyond MaxWindow is the caller's to check.
func ParseWindowUpdate(h Header, payload []byte) (increment uint32, err *Error) {
	if len(payload) != 4 {
		return 0, errWindow
	}
	increment = binary.BigEndian.Uint32(payload) & MaxWindow
	if increment == 0 {
		if h.StreamID == 0 {
			return 0, errNoIncrement0
		}
		return 0, errNoIncrement
	}
	return increment, nil
}

// CheckSettings checks the payload of SETTINGS and the value of every setting
// (RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1). Unknown settings pass. All are
// checked before any is applied.
func CheckSettings(h Header, payload []byte) *Error {
	if h.Flags.Has(Ack) && len(payload) != 0 {
		return errSettingsAck
	}
	if len(payload)%6 != 0 {
		return errSettings
	}
	for id, value := range AllSettings(payload) {
		if err := CheckSetting(id, value); err != nil {
			return err
		}
	}
	return nil
}

// CheckSetting checks the value of one setting.
func CheckSetting(id SettingID, value uint32) *Error {
	switch {
	case id == EnablePush && value > 1:
		return errEnablePush
	case id == InitialWindowSize && value > MaxWindow:
		return errWindowSize
	case id == MaxFrameSize && (value < MinMaxFrameSize || value > LimitMaxFrameSize):
		return errFrameSize
	case id == EnableConnectProtocol && value > 1:
		return errConnect
	case id == NoRFC7540Priorities && value > 1:
		return errPriorities
	}
	return nil
}

// AllSettings returns the settings of a payload in their order, in which they
// are to be applied (RFC 9113 §6.5.3). A rest shorter than a setting is left.
func AllSettings(payload []byte) iter.Seq2[SettingID, uint32] {
	return func(yield func(SettingID, uint32) bool) {
		for b := payload; len(b) >= 6; b = b[6:] {
			if !yield(SettingID(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:])) {
				return
			}
		}
	}
}
