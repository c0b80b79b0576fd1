// SPDX-License-Identifier: Apache-2.0

package frame

// Error says how a frame violates RFC 9113. Errors are made once and compare
// by identity; a nil *Error is no error, so keep it out of the error interface
// until it was checked.
type Error struct {
	// Code goes into the RST_STREAM or GOAWAY that answers.
	Code Code
	// Conn is true for a connection error (RFC 9113 §5.4.1), false for a stream
	// error (§5.4.2): then the connection goes on.
	Conn bool
	// Reason says it to a human.
	Reason string
}

// Error returns code and reason.
func (e *Error) Error() string { return "http/2: " + e.Code.String() + ": " + e.Reason }

var (
	errLarge       = &Error{FrameSizeError, true, "a frame larger than SETTINGS_MAX_FRAME_SIZE"}
	errLargeStream = &Error{FrameSizeError, false, "a frame larger than SETTINGS_MAX_FRAME_SIZE"}
	errOnZero      = &Error{ProtocolError, true, "a frame of a stream on stream 0"}
	errOnStream    = &Error{ProtocolError, true, "a frame of the connection on a stream"}
	errPush        = &Error{ProtocolError, true, "PUSH_PROMISE, which was not enabled"}

	errPadMissing   = &Error{FrameSizeError, true, "a padded frame without the length of its padding"}
	errPad          = &Error{ProtocolError, true, "padding longer than the payload"}
	errPrioMissing  = &Error{FrameSizeError, true, "HEADERS too short for the priority it announces"}
	errPriority     = &Error{FrameSizeError, false, "PRIORITY whose length is not 5"}
	errSelf         = &Error{ProtocolError, false, "a stream that depends on itself"}
	errReset        = &Error{FrameSizeError, true, "RST_STREAM whose length is not 4"}
	errSettings     = &Error{FrameSizeError, true, "SETTINGS whose length is not a multiple of 6"}
	errSettingsAck  = &Error{FrameSizeError, true, "SETTINGS with ACK and a payload"}
	errPing         = &Error{FrameSizeError, true, "PING whose length is not 8"}
	errGoAway       = &Error{FrameSizeError, true, "GOAWAY shorter than 8"}
	errWindow       = &Error{FrameSizeError, true, "WINDOW_UPDATE whose length is not 4"}
	errNoIncrement  = &Error{ProtocolError, false, "WINDOW_UPDATE by 0"}
	errNoIncrement0 = &Error{ProtocolError, true, "WINDOW_UPDATE of the connection by 0"}

	errEnablePush = &Error{ProtocolError, true, "SETTINGS_ENABLE_PUSH is neither 0 nor 1"}
	errWindowSize = &Error{FlowControlError, true, "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1"}
	errFrameSize  = &Error{ProtocolError, true, "SETTINGS_MAX_FRAME_SIZE outside 2^14 to 2^24-1"}
	errConnect    = &Error{ProtocolError, true, "SETTINGS_ENABLE_CONNECT_PROTOCOL is neither 0 nor 1"}
	errPriorities = &Error{ProtocolError, true, "SETTINGS_NO_RFC7540_PRIORITIES is neither 0 nor 1"}
)
