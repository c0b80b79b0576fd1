// SPDX-License-Identifier: Apache-2.0

// Package grpchttp1reversebridge is Envoy's gRPC HTTP/1.1 reverse bridge
// (envoy.filters.http.grpc_http1_reverse_bridge): it lets a server that knows no
// gRPC answer unary calls. The server sees a plain request with a protobuf
// message, and of its answer a gRPC response is made.
package grpchttp1reversebridge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// gRPC codes.
const (
	codeUnknown  = 2
	codeInternal = 13
)

// Override is a compiled FilterConfigPerRoute.
type Override struct{ disabled bool }

// Filter is the filter in one chain.
type Filter struct {
	name        string
	slot        stream.Slot
	contentType string
	withhold    bool        // the server sees and sends no frames
	size        header.Name // of the response's length; zero if it is to be held back
}

// state is one call.
type state struct {
	active      bool
	contentType []byte // the client's
	request     bare
	response    answer
	trailer     header.Map
}

// Request makes a plain request of a gRPC request.
func (f *Filter) Request(s *stream.Stream) error {
	m := &s.Request
	if m.Body == nil || !stream.IsGRPC(m.Header.Get(header.ContentType)) {
		return nil
	}
	if o, ok := stream.RouteConfig[*Override](s, f.name); ok && o.disabled {
		return nil
	}
	st := stream.State[state](s, f.slot)
	st.active = true
	st.contentType = append([]byte(nil), m.Header.Get(header.ContentType)...)
	m.Header.Set(header.ContentType, f.contentType)
	m.Header.Set(header.Accept, f.contentType)
	if f.withhold {
		if m.Length >= grpcframe.HeadSize {
			m.Length -= grpcframe.HeadSize
			m.Header.SetInt(header.ContentLength, m.Length)
		}
		st.request = bare{body: m.Body}
		m.Body = &st.request
	}
	s.ClearRoute()
	return nil
}

// Response makes a gRPC response of a plain one. What is answered here is one
// already.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	if !st.active || s.Replied() {
		return nil
	}
	m := &s.Response
	status := m.Header.Get(header.Status)
	if ct := m.Header.Get(header.ContentType); string(ct) != f.contentType {
		return wrongType(ct, status)
	}
	code := 0
	if string(status) != "200" {
		n, _ := stream.ParseGRPCStatus(status) // Three digits, as a codec has seen.
		code = stream.GRPCFromHTTP(n)
	}
	m.Header.SetBytes(header.ContentType, st.contentType)
	m.Header.Set(header.Status, "200")
	if m.Body == nil && !f.withhold {
		m.Header.SetInt(header.GRPCStatus, int64(code))
		return nil
	}
	a := &st.response
	*a = answer{body: m.Body, code: code, trailer: m.Trailer, promised: -1}
	if a.trailer == nil {
		a.trailer = &st.trailer
	}
	if f.withhold {
		if err := f.frame(m, a); err != nil {
			return err
		}
	}
	m.Body, m.Trailer = a, a.trailer
	if s.Info.Protocol == streaminfo.HTTP10 || s.Info.Protocol == streaminfo.HTTP11 {
		m.Length = -1 // HTTP/1 has no trailers behind a body of a known length.
	}
	if m.Length < 0 {
		m.Header.Del(header.ContentLength)
	} else {
		m.Header.SetInt(header.ContentLength, m.Length)
	}
	return nil
}

func wrongType(ct, status []byte) error {
	body := fmt.Sprintf("envoy reverse bridge: upstream responded with no content-type header, status code %s", status)
	if ct != nil {
		body = fmt.Sprintf("envoy reverse bridge: upstream responded with unsupported content-type %s, status code %s", ct, status)
	}
	return &stream.Error{Status: http.StatusOK, GRPCStatus: stream.GRPC(codeUnknown), Body: body, Details: "grpc_bridge_content_type_wrong"}
}

// frame puts the response's message into a frame: of the length that the server
// tells in a header, or of what has come when it is over.
func (f *Filter) frame(m *stream.Message, a *answer) error {
	if !f.size.IsZero() {
		first, _, _ := bytes.Cut(m.Header.Get(f.size), []byte(","))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(first)), 10, 32)
		if err != nil {
			return &stream.Error{
				Status: http.StatusOK, GRPCStatus: stream.GRPC(codeInternal), Details: "grpc_bridge_content_length_missing",
				Body: "envoy reverse bridge: upstream did not set content length",
			}
		}
		a.head = grpcframe.AppendHead(nil, 0, int(n))
		a.promised = int64(n)
		m.Length = a.promised + grpcframe.HeadSize
		return nil
	}
	b := make([]byte, grpcframe.HeadSize)
	if m.Body != nil {
		var err error
		b, err = stream.Collect(m.Body, b, grpcframe.HeadSize+stream.DefaultBufferLimit)
		if errors.Is(err, stream.ErrTooLarge) {
			return &stream.Error{
				Status: http.StatusInternalServerError, Details: "response_payload_too_large", Body: http.StatusText(http.StatusInternalServerError),
			}
		}
		if err != nil {
			return err
		}
	}
	grpcframe.Seal(b, 0, 0)
	a.head, a.body = b, nil
	m.Length = int64(len(b))
	return nil
}

// bare is a request's body without the head of its frame.
type bare struct {
	body    stream.Body
	skipped int
}

// Next returns the next piece of the message.
func (b *bare) Next() ([]byte, error) {
	for {
		p, err := b.body.Next()
		if b.skipped < grpcframe.HeadSize {
			n := min(grpcframe.HeadSize-b.skipped, len(p))
			b.skipped += n
			p = p[n:]
			if err == io.EOF && b.skipped < grpcframe.HeadSize {
				return nil, &stream.Error{
					Status: http.StatusOK, GRPCStatus: stream.GRPC(codeUnknown), Body: "invalid request body", Details: "grpc_bridge_data_too_small",
				}
			}
		}
		if len(p) > 0 || err != nil {
			return p, err
		}
	}
}

// Ready reports whether Next would return without waiting: more than it can tell
// while the frame's head is on its way.
func (b *bare) Ready() bool { return b.skipped == grpcframe.HeadSize && b.body.Ready() }

// answer is a response's body with a grpc-status behind it, and perhaps the head
// of a frame before it.
type answer struct {
	head     []byte      // not sent yet
	body     stream.Body // nil if head is all
	code     int
	trailer  *header.Map
	promised int64 // the message's length; -1 is not known
	seen     int64
}

// Next returns the next piece.
func (a *answer) Next() ([]byte, error) {
	if h := a.head; len(h) > 0 {
		a.head = nil
		if a.body == nil {
			return h, a.end()
		}
		return h, nil
	}
	if a.body == nil {
		return nil, a.end()
	}
	p, err := a.body.Next()
	a.seen += int64(len(p))
	if err == io.EOF {
		err = a.end()
	}
	return p, err
}

func (a *answer) end() error {
	if a.promised >= 0 && a.seen != a.promised {
		return &stream.Error{
			Status: http.StatusOK, GRPCStatus: stream.GRPC(codeInternal), Details: "grpc_bridge_content_length_wrong",
			Body: "envoy reverse bridge: upstream set incorrect content length",
		}
	}
	a.trailer.SetInt(header.GRPCStatus, int64(a.code))
	return io.EOF
}

// Ready reports whether Next would return without waiting.
func (a *answer) Ready() bool { return len(a.head) > 0 || a.body == nil || a.body.Ready() }
