// SPDX-License-Identifier: Apache-2.0

// Package codec is what the HTTP protocols look like to those who use them: the
// connection manager serves a [ServerStream], the router sends a request on a
// [ClientStream], and neither knows which protocol it is. The codecs are the
// folders below.
//
// Whatever the protocol, messages have the same form. A request that asks to
// leave HTTP has the method GET and an upgrade field, be it HTTP/1's Upgrade or
// an extended CONNECT (RFC 8441), and its grant is the status 101. Fields that
// belong to a connection are never in a map, nor is Host: it is :authority.
package codec

import (
	"fmt"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// A Transport is what a codec needs of a connection; its methods wait on the
// calling task.
type Transport interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Write2(a, b []byte) error
	Ready() bool
	// CloseWrite tells the peer that nothing more is sent.
	CloseWrite() error
}

// Ends are the two views of one connection that a codec works on.
type Ends struct {
	Transport Transport
	Socket    *engine.Conn
	// Plain tells that the transport's bytes are the socket's, so that the kernel
	// may move bodies.
	Plain bool
	Loop  *engine.Loop
}

// Progress is told when part of a body has moved.
type Progress interface {
	Moved(n int)
}

// Underscores says what happens to a request field whose name has an
// underscore, which back ends that follow CGI cannot tell from a hyphen
// (Envoy's headers_with_underscores_action).
type Underscores uint8

// The actions of Envoy's HeadersWithUnderscoresAction.
const (
	UnderscoresAllow  Underscores = iota // pass the field on
	UnderscoresReject                    // refuse the request
	UnderscoresDrop                      // remove the field and count it
)

// Head is what a message head says apart from its fields.
type Head struct {
	// Version is the protocol that the peer speaks.
	Version streaminfo.Protocol
	// Status is the status code of a response, 100 to 999.
	Status int
	// KeepAlive reports that the peer would use the connection again.
	KeepAlive bool
	// Upgrade reports a request to leave HTTP that may be granted, or its grant
	// by 101. The upgrade field is in the map only then.
	Upgrade bool
	// Protocol is the value of Upgrade, a view.
	Protocol []byte
	// Tunnel reports that what follows the head of a response is not HTTP:
	// after 101, or after 2xx to CONNECT.
	Tunnel bool
	// Expect100 reports that the client waits for 100 (Continue).
	Expect100 bool
	// Absolute reports that the request target was in absolute form.
	Absolute bool
	// Fields is the number of field lines.
	Fields int
	// Underscored is the number of fields dropped for an underscore.
	Underscored int
	// Size is the number of bytes of the head on the wire.
	Size int
}

// Response is how a response is to be sent.
type Response struct {
	// Close announces that the connection ends after this response.
	Close bool
	// Tunnel tells that the exchange leaves HTTP with this response: the body is
	// sent as it is.
	Tunnel bool
	// Progress, if set, is told of each piece of the body.
	Progress Progress
}

// Request is how a request is to be sent.
type Request struct {
	// Upgrade tells that the request asks to leave HTTP.
	Upgrade bool
	// Progress, if set, is told of each piece of the body.
	Progress Progress
}

// A ServerStream is one request of a downstream connection and its response. Its
// methods wait on the calling task.
type ServerStream interface {
	// Head returns what the request's head said apart from its fields; nil
	// before there is one.
	Head() *Head
	// OnBody has p told of each piece of the request's body that arrives.
	OnBody(p Progress)
	// OnContinue sets what is done when the body of a request that expects 100
	// (Continue) is first waited for.
	OnContinue(f func() error)
	// RequestDone reports whether the request was read to its end.
	RequestDone() bool
	// Tunnel returns the bytes that follow the request's head as a body that ends
	// when the client ends its side: what comes after an upgrade or CONNECT.
	Tunnel() stream.Body
	// NoTunnel takes Tunnel back, where the upgrade was not granted.
	NoTunnel() bool
	// Inform sends an interim response.
	Inform(h *header.Map) error
	// WriteResponse sends the response and reports whether the connection must be
	// closed to end it. An error of the body itself is a *SourceError; after any
	// error the stream is of no use, unless nothing was begun.
	WriteResponse(m *stream.Message, status int, r *Response) (last bool, err error)
	// Sent returns how many bytes of the response's head and body were sent, and
	// whether the client may have seen any of it.
	Sent() (head int, body uint64, begun bool)
	// Received returns how many bytes of the request's body were read.
	Received() uint64
	// Finish ends an exchange whose response was sent and reports whether the
	// connection can carry another. What is left of the request is skipped if
	// that is cheap.
	Finish() bool
	// Reset breaks the exchange off, so that the client takes nothing it has for
	// whole.
	Reset()
}

// A ClientStream is one exchange on an upstream connection. Its methods wait on
// the calling task; the request's body may be sent on another task than the one
// that reads the response.
type ClientStream interface {
	// Open builds the request's head. It is sent with the first piece of the
	// body, or by Flush.
	Open(m *stream.Message, r *Request) error
	// Flush sends the head. Of a request without a body or tunnel it is the end.
	Flush() error
	// SendReady sends what Open left and as much of the body as is there already,
	// up to most bytes. It reports whether that was all; if not, SendBody goes on.
	SendReady(m *stream.Message, most int) (done bool, err error)
	// SendBody sends what Open left and the body. An error of the body itself is
	// a *SourceError.
	SendBody(m *stream.Message) error
	// SendTunnel sends bytes as they come, after the exchange has left HTTP, and
	// ends this side when they end.
	SendTunnel(b stream.Body) error
	// Tunnel returns the bytes that the server sends as a body, without a response
	// before them (Envoy's connect_config). It ends with the connection.
	Tunnel() stream.Body
	// ReadResponse reads the next response head, be it interim, into m and h,
	// which must be empty. io.EOF means that the connection ended before the first
	// byte of a response.
	ReadResponse(m *stream.Message, h *header.Map) error
	// Head returns what the response's head said apart from its fields.
	Head() *Head
	// Sent returns how many bytes of the request's head and body were sent, and
	// whether the server may have seen any of it.
	Sent() (head int, body uint64, begun bool)
	// Received returns how many bytes of the response's body were read.
	Received() uint64
	// ResponseDone reports whether the response, not an interim one, was read to
	// its end.
	ResponseDone() bool
	// Broken reports whether the response ended before its end, or went wrong.
	Broken() bool
}

// A Leaver is a side of HTTP/1 whose connection has left HTTP, so that who has both
// sides may carry the bytes past the codec.
type Leaver interface {
	// Leave gives the connection away, with what was read of it and not yet handed
	// out. Views of the head end here.
	Leave() (e Ends, rest []byte)
	// Carried counts bytes that were then read from the connection and sent on it.
	Carried(received, sent int)
}

// LeaverOf returns whose connection b is all the rest of, nil if there is none.
func LeaverOf(b stream.Body) Leaver {
	if r, ok := b.(interface{ Leaver() Leaver }); ok {
		return r.Leaver()
	}
	return nil
}

// Error says why a message of a peer was refused, or one of our own could not be
// written.
type Error struct {
	// Status answers the peer: 4xx or 505 for a request, 502 for a response, 500
	// for a message of our own that cannot be written.
	Status int
	// Detail is Envoy's response code detail, such as "http1.codec_error".
	Detail string
	// Reason says it to a human.
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return "http: " + e.Reason }

// A SourceError is an error of the body that was being written, as opposed to
// one of the connection it was written to.
type SourceError struct{ Err error }

// Error returns the cause.
func (e *SourceError) Error() string { return fmt.Sprintf("read body: %v", e.Err) }

// Unwrap returns the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// A ResetError tells that the peer broke one exchange off and not its connection.
type ResetError struct {
	// Code is the protocol's error code, such as HTTP/2's.
	Code uint32
	// Refused reports that the peer has not looked at the request, so that it can
	// be sent again (RFC 9113 §8.7).
	Refused bool
	// GoAway reports that the peer takes no more requests on the connection, and that
	// this one came too late.
	GoAway bool
	// Reason names the code.
	Reason string
}

// Error says what the peer said.
func (e *ResetError) Error() string { return "stream reset by the peer: " + e.Reason }
