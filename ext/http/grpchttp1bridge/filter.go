// SPDX-License-Identifier: Apache-2.0

// Package grpchttp1bridge is Envoy's gRPC HTTP/1.1 bridge
// (envoy.filters.http.grpc_http1_bridge): it lets a client that cannot read
// trailers make unary gRPC calls over HTTP/1. The answer is held back until its
// trailers are there, which then stand in the head.
package grpchttp1bridge

import (
	"bytes"
	"errors"
	"net/http"

	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

const (
	typeGRPC     = "application/grpc"
	typeProtobuf = "application/x-protobuf"
)

// Filter is the filter in one chain.
type Filter struct {
	slot      stream.Slot
	upgrade   bool // what is protobuf becomes gRPC
	dropQuery bool
}

// state is one call.
type state struct {
	bridging bool
	framing  bool // the message has no frame on the client's side
	request  stream.Body
	response stream.Bytes
}

// Request takes a gRPC request over HTTP/1 down, and makes gRPC of a protobuf
// message.
func (f *Filter) Request(s *stream.Stream) error {
	m := &s.Request
	// Over HTTP/2 there are trailers, and nothing to bridge.
	if s.Info.Protocol != streaminfo.HTTP10 && s.Info.Protocol != streaminfo.HTTP11 || s.Upgrade {
		return nil
	}
	ct := m.Header.Get(header.ContentType)
	upgraded := f.upgrade && string(ct) == typeProtobuf
	if !upgraded && !stream.IsGRPC(ct) {
		return nil
	}
	st := stream.State[state](s, f.slot)
	st.bridging, st.framing = true, upgraded
	if path, _, ok := bytes.Cut(m.Header.Get(header.Path), []byte("?")); ok && f.dropQuery {
		m.Header.SetBytes(header.Path, path)
	}
	if upgraded {
		m.Header.Set(header.ContentType, typeGRPC)
		m.Header.Del(header.ContentLength)
		s.ClearRoute()
		return st.frame(m)
	}
	return nil
}

// frame puts a frame around the request's message, whose length must be known
// for it.
func (st *state) frame(m *stream.Message) error {
	if m.Body != nil && m.Length >= 0 && m.Length <= 1<<32-1 {
		st.request = stream.NewPrefixed(grpcframe.AppendHead(nil, 0, int(m.Length)), m.Body)
		m.Body, m.Length = st.request, m.Length+grpcframe.HeadSize
		return nil
	}
	b := make([]byte, grpcframe.HeadSize)
	if m.Body != nil {
		var err error
		b, err = stream.Collect(m.Body, b, grpcframe.HeadSize+stream.DefaultBufferLimit)
		if errors.Is(err, stream.ErrTooLarge) {
			return &stream.Error{
				Status: http.StatusRequestEntityTooLarge, Details: "request_payload_too_large", Body: http.StatusText(http.StatusRequestEntityTooLarge),
			}
		}
		if err != nil {
			return err
		}
	}
	grpcframe.Seal(b, 0, 0)
	st.request = stream.NewBytes(b)
	m.Body, m.Length = st.request, int64(len(b))
	return nil
}

// Response waits for the trailers and puts the outcome into the head.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	m := &s.Response
	if !st.bridging || m.Body == nil || s.Replied() {
		return nil
	}
	b, err := stream.Collect(m.Body, nil, stream.DefaultBufferLimit)
	if errors.Is(err, stream.ErrTooLarge) {
		return &stream.Error{
			Status: http.StatusInternalServerError, Details: "response_payload_too_large", Body: http.StatusText(http.StatusInternalServerError),
		}
	}
	if err != nil {
		return err
	}
	if t := m.Trailer; t != nil {
		if v := t.Get(header.GRPCStatus); v != nil {
			if code, ok := stream.ParseGRPCStatus(v); !ok || code != 0 {
				m.Header.SetInt(header.Status, http.StatusServiceUnavailable)
			}
			m.Header.SetBytes(header.GRPCStatus, v)
		}
		if v := t.Get(header.GRPCMessage); v != nil {
			m.Header.SetBytes(header.GRPCMessage, v)
		}
	}
	if st.framing && stream.IsGRPC(m.Header.Get(header.ContentType)) {
		b = b[min(len(b), grpcframe.HeadSize):]
	}
	st.response = *stream.NewBytes(b)
	m.Body, m.Trailer, m.Length = &st.response, nil, int64(len(b))
	m.Header.SetInt(header.ContentLength, m.Length)
	return nil
}
