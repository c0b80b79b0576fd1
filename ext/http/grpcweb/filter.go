// SPDX-License-Identifier: Apache-2.0

// Package grpcweb is Envoy's gRPC-Web filter (envoy.filters.http.grpc_web): it
// makes gRPC of what a browser can send, and of the answer what a browser can
// read: trailers become a last frame of the body, and in the text form the body
// is base64 (the gRPC specification's PROTOCOL-WEB).
package grpcweb

import (
	"bytes"
	"errors"
	"io"

	"weir.dev/weir/proxy/grpcstat"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// Content types.
const (
	typeWeb       = "application/grpc-web"
	typeWebProto  = "application/grpc-web+proto"
	typeText      = "application/grpc-web-text"
	typeTextProto = "application/grpc-web-text+proto"
)

// maxMessage bounds the body of a response that is not gRPC and becomes a
// grpc-message, in bytes.
const maxMessage = 16 << 10

// Filter is the filter in one chain.
type Filter struct {
	slot stream.Slot
	set  *grpcstat.Set
}

// state is one call.
type state struct {
	web, text bool // text: the answer is to be base64
	method    *grpcstat.Method
	request   decoded
	response  framed
}

func isText(contentType []byte) bool {
	return string(contentType) == typeText || string(contentType) == typeTextProto
}

// Request makes gRPC of a gRPC-Web request.
func (f *Filter) Request(s *stream.Stream) error {
	m := &s.Request
	ct := m.Header.Get(header.ContentType)
	text := isText(ct)
	if !text && string(ct) != typeWeb && string(ct) != typeWebProto {
		return nil
	}
	st := stream.State[state](s, f.slot)
	st.web, st.text = true, isText(m.Header.Get(header.Accept))
	st.method = f.set.Find(s, m.Header.Get(header.Path))
	m.Header.Del(header.ContentLength)
	m.Header.Set(header.ContentType, "application/grpc")
	m.Header.Set(header.TE, "trailers")
	if !m.Header.Has(header.GRPCAcceptEncoding) {
		m.Header.Set(header.GRPCAcceptEncoding, "identity,deflate,gzip")
	}
	if m.Body == nil {
		return nil
	}
	m.Length = -1
	if text {
		st.request = decoded{body: m.Body}
		m.Body = &st.request
	}
	return nil
}

// Response makes gRPC-Web of the answer.
func (f *Filter) Response(s *stream.Stream) error {
	st := stream.State[state](s, f.slot)
	if !st.web {
		return nil
	}
	m := &s.Response
	st.method.Status(m.Header.Get(header.GRPCStatus))
	native := stream.IsGRPCResponse(m) || isWebResponse(m)
	m.Header.Del(header.ContentLength)
	if st.text {
		m.Header.Set(header.ContentType, typeTextProto)
	} else {
		m.Header.Set(header.ContentType, typeWebProto)
	}
	if !native {
		return translate(s)
	}
	if m.Body == nil {
		return nil
	}
	st.response = framed{body: m.Body, trailer: m.Trailer, text: st.text, method: st.method}
	m.Body, m.Trailer, m.Length = &st.response, nil, -1
	return nil
}

// isWebResponse reports whether an upstream speaks gRPC-Web itself.
func isWebResponse(m *stream.Message) bool {
	ct, _, _ := bytes.Cut(m.Header.Get(header.ContentType), []byte(";"))
	ct = bytes.TrimRight(ct, " \t")
	return string(m.Header.Get(header.Status)) == "200" &&
		(bytes.EqualFold(ct, []byte(typeWebProto)) || bytes.EqualFold(ct, []byte(typeWeb)))
}

// translate tells a gRPC-Web client of a response that is not gRPC: its body,
// cut at a limit, is the message.
func translate(s *stream.Stream) error {
	m := &s.Response
	var text []byte
	switch {
	case m.Body != nil:
		var err error
		text, err = stream.Collect(m.Body, nil, maxMessage)
		if err != nil && !errors.Is(err, stream.ErrTooLarge) {
			return err
		}
		text = text[:min(len(text), maxMessage)]
		m.Body, m.Trailer, m.Length = nil, nil, 0
	case s.Replied() && len(s.LocalBody()) > 0:
		text = append(text, s.LocalBody()...)
		s.SetLocalBody(func(dst, _ []byte) []byte { return dst })
	default:
		return nil
	}
	status := 0
	for _, c := range m.Header.Get(header.Status) {
		status = status*10 + int(c-'0')
	}
	m.Header.SetBytes(header.GRPCMessage, stream.AppendGRPCMessage(nil, text))
	m.Header.SetInt(header.GRPCStatus, int64(stream.GRPCFromHTTP(status)))
	m.Header.SetInt(header.ContentLength, 0)
	return nil
}

// errBase64 answers a request whose body cannot be read.
func errBase64(details string) error {
	return &stream.Error{Status: 400, Details: details, Body: "Bad gRPC-web request, invalid base64 data."}
}

// decoded is a body out of base64, of which four characters at a time are read:
// there may be padding wherever the client's pieces ended.
type decoded struct {
	body stream.Body
	part [4]byte // of a group
	n    int
	out  []byte
	err  error
}

// Next returns the next bytes.
func (d *decoded) Next() ([]byte, error) {
	d.out = d.out[:0]
	for d.err == nil {
		p, err := d.body.Next()
		if derr := d.decode(p); derr != nil {
			d.err = derr
			return nil, d.err
		}
		if err == io.EOF && d.n != 0 {
			err = errBase64("grpc_base_64_decode_failed_bad_size")
		}
		d.err = err
		if len(d.out) > 0 {
			break
		}
	}
	if d.err != nil && d.err != io.EOF {
		return nil, d.err
	}
	return d.out, d.err
}

func (d *decoded) decode(p []byte) error {
	for _, c := range p {
		d.part[d.n] = c
		if d.n++; d.n < len(d.part) {
			continue
		}
		d.n = 0
		var ok bool
		if d.out, ok = appendGroup(d.out, d.part); !ok {
			return errBase64("grpc_base_64_decode_failed")
		}
	}
	return nil
}

// appendGroup appends the bytes of one group of base64 (RFC 4648 §4).
func appendGroup(dst []byte, g [4]byte) ([]byte, bool) {
	n := 4
	if g[3] == '=' {
		n = 3
		if g[2] == '=' {
			n = 2
		}
	}
	v := uint32(0)
	for i := range 4 {
		x := 0
		if i < n {
			if x = base64Value(g[i]); x < 0 {
				return dst, false
			}
		}
		v = v<<6 | uint32(x)
	}
	b := [3]byte{byte(v >> 16), byte(v >> 8), byte(v)}
	return append(dst, b[:n-1]...), true
}

func base64Value(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case c >= '0' && c <= '9':
		return int(c-'0') + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	}
	return -1
}

// Ready reports whether Next would return without waiting.
func (d *decoded) Ready() bool { return d.err != nil || d.body.Ready() }
