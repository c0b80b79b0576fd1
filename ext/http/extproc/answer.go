// SPDX-License-Identifier: Apache-2.0

package extproc

import (
	"fmt"
	"time"
)

// kind is which message an answer answers.
type kind uint8

const (
	unknown kind = iota
	headers
	body
	trailers
	immediate
)

// answer is one message of the processor.
type answer struct {
	kind    kind
	request bool // it is of the request's direction
	// replaceAll tells that the whole message is what the answer says, and that no more of
	// it is wanted (CONTINUE_AND_REPLACE).
	replaceAll bool
	set        []setting
	remove     []string
	mutates    bool // it has a header mutation, be it empty
	clearRoute bool
	// body is what takes the place of what was sent, if replaces.
	body     []byte
	replaces bool
	// streamed tells that body is a piece of a full-duplex body, end that it is the last.
	streamed, end bool

	status     int // of an immediate response; 0 is none
	grpcStatus int
	hasGRPC    bool
	details    string

	metadata map[string]any
	override *modeOverride
	timeout  time.Duration
	extends  bool // it asks for more time, and is nothing else
}

// setting sets one field of a head.
type setting struct {
	name, value string
	action      action
	ambiguous   bool // it has two values
}

// action is how a field is set.
type action uint8

const (
	overwrite    action = iota // replaces what there is
	add                        // a further line
	addIfAbsent                // unless there is one
	overwriteAny               // replaces what there is, if anything
	invalid
)

// modeOverride is a mode that the processor asks for; what is left at its default stays.
type modeOverride struct {
	responseHeaders, requestTrailers, responseTrailers sendMode
	requestBody, responseBody                          bodyMode
}

// sendMode is whether the processor sees headers or trailers.
type sendMode uint8

const (
	sendDefault sendMode = iota
	sendAlways
	sendNever
)

func (m sendMode) or(def bool) bool {
	switch m {
	case sendAlways:
		return true
	case sendNever:
		return false
	}
	return def
}

// bodyMode is how the processor sees a body.
type bodyMode uint8

// The modes of ProcessingMode.BodySendMode.
const (
	bodyNone bodyMode = iota
	bodyStreamed
	bodyBuffered
	bodyPartial
	bodyDuplex
	bodyUnknown
)

// mode is what the processor sees of one direction.
type mode struct {
	headers, trailers bool
	body              bodyMode
}

// modes are those of both.
type modes struct{ request, response mode }

// with returns the modes as an override has them.
func (m modes) with(o *modeOverride) modes {
	m.response.headers = o.responseHeaders.or(m.response.headers)
	m.request.trailers = o.requestTrailers.or(m.request.trailers)
	m.response.trailers = o.responseTrailers.or(m.response.trailers)
	m.request.body, m.response.body = o.requestBody, o.responseBody
	return m
}

// same reports whether two modes agree in what may be overridden.
func (m modes) same(o modes) bool {
	m.request.headers = o.request.headers
	return m == o
}

// check refuses modes that cannot be.
func (m modes) check() error {
	for _, d := range []struct {
		name string
		mode mode
	}{{"request", m.request}, {"response", m.response}} {
		switch {
		case d.mode.body == bodyUnknown:
			return fmt.Errorf("%s_body_mode: is none that is known here: use NONE, STREAMED, BUFFERED, BUFFERED_PARTIAL or FULL_DUPLEX_STREAMED", d.name)
		case d.mode.body == bodyDuplex && !d.mode.trailers:
			return fmt.Errorf("%s_trailer_mode: must be SEND where %s_body_mode is FULL_DUPLEX_STREAMED", d.name, d.name)
		}
	}
	return nil
}

// headersOnly reports whether the processor sees neither bodies nor trailers.
func (m modes) headersOnly() bool {
	return m.request.body == bodyNone && m.response.body == bodyNone && !m.request.trailers && !m.response.trailers
}
