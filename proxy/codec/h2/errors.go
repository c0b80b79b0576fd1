// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"errors"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/frame"
)

// A ConnectionError is why a connection was ended for what the peer did, or by
// the peer's GOAWAY for what was done to it.
type ConnectionError struct {
	// Code is the error code of the GOAWAY frame.
	Code frame.Code
	// Reason says it to a human, and to the peer.
	Reason string
	// Remote reports that the peer found the error.
	Remote bool
}

// Error returns the reason.
func (e *ConnectionError) Error() string {
	if e.Remote {
		return "http/2: ended by the peer with " + e.Code.String()
	}
	return "http/2: " + e.Reason
}

var (
	// ErrIncomplete is returned when the connection ends in the midst of a message.
	ErrIncomplete = errors.New("connection closed before the message ended")
	// ErrKeepAlive ends a connection whose peer has not answered a PING in time.
	ErrKeepAlive = errors.New("keep-alive timeout")
	// ErrClosed is returned for streams of a connection that was closed here.
	ErrClosed = errors.New("connection closed")
	// ErrHeadTimeout ends a connection that has brought a part of a request's head
	// and not the rest.
	ErrHeadTimeout = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "header block too slow"}
	// ErrShed ends a connection of which [Options.Dispatch] rids itself.
	ErrShed = &ConnectionError{Code: frame.NoError, Reason: "overloaded"}
	// ErrReset is returned for a stream that was reset here.
	ErrReset = errors.New("stream was reset")

	errBodyLength = errors.New("body is not as long as its head says")
)

// Response code details, as Envoy's response_code_details.rst lists them.
const (
	detailMessaging  = "http2.violation.of.messaging.rule"
	detailHeader     = "http2.invalid.header.field"
	detailUnderscore = "http2.unexpected_underscore"
	detailMany       = "http2.too_many_headers"
	detailProtocol   = "http2.protocol_error"
)

// The errors are made once: refusing a message costs no allocation.
var (
	errPreface      = &ConnectionError{Code: frame.ProtocolError, Reason: "no connection preface"}
	errNoSettings   = &ConnectionError{Code: frame.ProtocolError, Reason: "the first frame is not SETTINGS"}
	errInterleaved  = &ConnectionError{Code: frame.ProtocolError, Reason: "another frame within a header block"}
	errContinuation = &ConnectionError{Code: frame.ProtocolError, Reason: "CONTINUATION without a header block"}
	errIdle         = &ConnectionError{Code: frame.ProtocolError, Reason: "frame on an idle stream"}
	errStreamID     = &ConnectionError{Code: frame.ProtocolError, Reason: "stream identifier of the wrong side"}
	errHeadersLate  = &ConnectionError{Code: frame.StreamClosed, Reason: "HEADERS on a closed stream"}
	errDataLate     = &ConnectionError{Code: frame.StreamClosed, Reason: "DATA on a closed stream"}
	errConnWindow   = &ConnectionError{Code: frame.FlowControlError, Reason: "connection window exceeded"}
	errOverflow     = &ConnectionError{Code: frame.FlowControlError, Reason: "window grown beyond 2^31-1"}
	errMessage      = &ConnectionError{Code: frame.ProtocolError, Reason: "malformed message"}
	errPings        = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "too many control frames in the outbound queue"}
	errFrames       = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "too many frames in the outbound queue"}
	errEmpty        = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "too many consecutive frames with an empty payload"}
	errPriorities   = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "too many PRIORITY frames"}
	errUpdates      = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "too many WINDOW_UPDATE frames"}
	errResets       = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "too many streams reset before they were answered"}
	errSettings     = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "too many SETTINGS frames"}
	errStreamErrors = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "too many stream errors"}
	errLates        = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "too many frames on closed streams"}
	errRefusals     = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "too many streams beyond the limit"}
	errBlock        = &ConnectionError{Code: frame.EnhanceYourCalm, Reason: "header block too large"}
)

func malformed(reason string) *codec.Error {
	return &codec.Error{Status: 400, Detail: detailMessaging, Reason: reason}
}

func invalid(reason string) *codec.Error {
	return &codec.Error{Status: 400, Detail: detailHeader, Reason: reason}
}

// What is wrong with a received message. Those in the first group break the
// protocol, the others are refused by an answer.
var (
	errName        = invalid("malformed field name")
	errValue       = invalid("field value with a character that it may not have")
	errHopByHop    = invalid("field that belongs to a connection")
	errTE          = invalid("te other than trailers")
	errPseudo      = malformed("unknown pseudo-header field")
	errPseudoLate  = malformed("pseudo-header field after a regular field")
	errPseudoTwice = malformed("pseudo-header field twice")
	errPseudoNone  = malformed("a pseudo-header field is missing")
	errPseudoExtra = malformed("pseudo-header field that the method cannot have")
	errMethod      = malformed("malformed :method")
	errScheme      = malformed("malformed :scheme")
	errPath        = malformed("malformed :path")
	errAuthority   = malformed("malformed :authority")
	errLength      = malformed("malformed or repeated content-length")
	errLengthWrong = malformed("content-length differs from the sum of DATA")
	errTrailer     = malformed("trailers that do not end the stream")
	errStatus      = malformed("malformed :status")
	errBodyHere    = malformed("DATA where there can be no content")
	errNoHead      = malformed("DATA before the head")
	errHeads       = malformed("too many interim responses at a time")

	errTarget     = &codec.Error{Status: 400, Detail: detailHeader, Reason: ":path with a character that it may not have"}
	errHost       = &codec.Error{Status: 400, Detail: "http.invalid_authority", Reason: "host and :authority differ or are malformed"}
	errNoHost     = &codec.Error{Status: 400, Detail: "missing_host_header", Reason: "neither :authority nor host"}
	errLarge      = &codec.Error{Status: 431, Detail: "http2.headers_too_large", Reason: "message head too large"}
	errMany       = &codec.Error{Status: 431, Detail: detailMany, Reason: "too many header fields"}
	errUnderscore = &codec.Error{Status: 400, Detail: detailUnderscore, Reason: "a header field name with an underscore"}
	errExpect     = &codec.Error{Status: 417, Detail: detailMessaging, Reason: "an expectation other than 100-continue"}

	errWriteMethod  = &codec.Error{Status: 500, Detail: detailHeader, Reason: "request without a writable method"}
	errWriteTarget  = &codec.Error{Status: 500, Detail: detailHeader, Reason: "request without a writable path, scheme or authority"}
	errWriteStatus  = &codec.Error{Status: 500, Detail: detailHeader, Reason: "response without a writable status"}
	errWriteName    = &codec.Error{Status: 500, Detail: detailHeader, Reason: "a header field name that cannot be written"}
	errWriteValue   = &codec.Error{Status: 500, Detail: detailHeader, Reason: "a header field value that cannot be written"}
	errWriteConnect = &codec.Error{Status: 500, Detail: detailHeader, Reason: "the upstream takes no extended CONNECT"}
)

var errStreamWindow = &codec.Error{Status: 400, Detail: detailProtocol, Reason: "flow-control window exceeded"}
