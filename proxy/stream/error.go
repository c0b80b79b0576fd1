// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"fmt"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// ErrTooLarge is returned when a body does not fit the limit given.
var ErrTooLarge = errors.New("body too large")

// ErrDownstreamGone is what a stream is interrupted with when its client has
// closed the connection or reset the stream: nobody waits for the response.
var ErrDownstreamGone = errors.New("downstream closed")

// An Error ends a stream. One place, [Stream.Fail], turns it into a reply.
type Error struct {
	// Status is the code to answer with; 0 is 500.
	Status int
	// Flags and Details go to the access log as Envoy names them.
	Flags   streaminfo.Flags
	Details string
	// Body is what the client is told.
	Body string
	// GRPCStatus, if set, is told instead of what Status maps to when the
	// request is gRPC.
	GRPCStatus GRPCStatus
	// Header, if not nil, adds to the answer's head.
	Header func(h *header.Map)
	// Reset tells to break the stream off instead of answering.
	Reset bool
	// Err is the cause.
	Err error
}

// Error returns the details and the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Details
	}
	return fmt.Sprintf("%s: %v", e.Details, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
