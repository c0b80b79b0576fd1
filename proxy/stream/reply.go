// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"net/http"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// A Reply is a response made here.
type Reply struct {
	Status int
	// Body is sent as text/plain unless ContentType says otherwise.
	Body        string
	ContentType string
	// Details and Flags go to the access log as Envoy names them.
	Details string
	Flags   streaminfo.Flags
	// GRPCStatus, if set, is told instead of what Status maps to when the
	// request is gRPC.
	GRPCStatus GRPCStatus
	// Header, if not nil, adds to the response's head.
	Header func(h *header.Map)
}

// Reply answers the request. The reply passes every filter's Response, also of
// filters whose Request did not run, as Envoy's local replies do.
func (s *Stream) Reply(r Reply) {
	s.replied = true
	if s.parent != nil {
		s.parent.Reply(r)
		return
	}
	s.Info.Status = r.Status
	s.Info.StatusDetails = r.Details
	s.Info.Flags |= r.Flags
	h := &s.reply
	h.Reset()
	h.SetInt(header.Status, int64(r.Status))
	s.Response = Message{Header: h}
	s.Info.Response = h
	s.text = append(s.text[:0], r.Body...)
	if s.route != nil {
		// What the route adds to responses it adds to those made here too.
		s.route.FinalizeResponse(h, &s.Info)
	}
	if r.Header != nil {
		r.Header(h)
	}
	if s.isGRPC() {
		s.replyGRPC(&r)
		return
	}
	if len(r.Body) > 0 && !h.Has(header.ContentType) {
		h.Set(header.ContentType, contentType(&r))
	}
	s.owner.Localise(s)
}

func contentType(r *Reply) string {
	if r.ContentType != "" {
		return r.ContentType
	}
	return "text/plain"
}

// LocalBody returns the body of a reply made here, for Localise to read.
func (s *Stream) LocalBody() []byte { return s.text }

// SetLocalBody replaces the body of a reply made here by what f appends.
func (s *Stream) SetLocalBody(f func(dst, old []byte) []byte) {
	old := append([]byte(nil), s.text...)
	s.text = f(s.text[:0], old)
}

// seal settles the framing of a reply once nothing changes it any more.
func (s *Stream) seal() {
	if !s.replied || s.Response.Header != &s.reply || s.Response.Body != nil {
		return
	}
	s.Response.Length = int64(len(s.text))
	if s.isGRPC() && len(s.text) == 0 {
		// A head that ends the stream (Trailers-Only) tells no length.
		s.reply.Del(header.ContentLength)
	} else {
		s.reply.SetInt(header.ContentLength, s.Response.Length)
	}
	if len(s.text) > 0 {
		s.body.b = s.text
		s.Response.Body = &s.body
	}
	s.Info.LocalReplyBody = s.text
}

// Fail answers for an error that ended the request, and reports whether there
// is an answer at all: false means that the stream is to be broken off.
func (s *Stream) Fail(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		if errors.Is(err, ErrDownstreamGone) {
			s.Info.Flags |= streaminfo.DownstreamConnectionTermination
			s.Info.StatusDetails = "downstream_remote_disconnect"
			return false
		}
		e = s.owner.Explain(err)
	}
	if e == nil {
		e = &Error{Details: "internal_error", Body: http.StatusText(http.StatusInternalServerError)}
	}
	if e.Reset {
		s.Info.Flags |= e.Flags
		s.Info.StatusDetails = e.Details
		return false
	}
	status := e.Status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	s.Reply(Reply{Status: status, Body: e.Body, Details: e.Details, Flags: e.Flags, GRPCStatus: e.GRPCStatus, Header: e.Header})
	return true
}
