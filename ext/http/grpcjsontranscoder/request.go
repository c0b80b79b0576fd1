// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/stream"
)

// request replaces the request's body by gRPC messages. A single message is made
// here and now; a stream of them as its body comes.
func (c *call) request(s *stream.Stream) error {
	m := &s.Request
	early := m.Body == nil
	if c.rule.manyIn && !early {
		c.upload = upload{body: m.Body, c: c, split: splitter{limit: c.cfg.maxRequest}}
		m.Body, m.Length = &c.upload, -1
		return nil
	}
	var b []byte
	if !early {
		var err error
		if b, err = stream.Collect(m.Body, nil, c.cfg.maxRequest); err != nil {
			return badRequest(err, false)
		}
	}
	var frame []byte
	if !c.rule.manyIn || c.rule.rawIn || len(c.bindings) > 0 {
		var err error
		if frame, err = c.appendMessage(nil, b, true); err != nil {
			return badRequest(err, early)
		}
	}
	c.body = *stream.NewBytes(frame)
	m.Body, m.Length = &c.body, int64(len(frame))
	return nil
}

// badRequest says what an error of translating a request means for the client; one
// of reading it is left to others.
func badRequest(err error, early bool) error {
	d := details
	if early {
		d = detailsEarly
	}
	var bad *invalid
	switch {
	case errors.Is(err, stream.ErrTooLarge):
		return &stream.Error{
			Status: http.StatusRequestEntityTooLarge, Details: d + "{request_buffer_size_limit_reached}", Err: err,
			Body: "Request rejected because the transcoder's internal buffer size exceeds the configured limit.",
		}
	case errors.As(err, &bad):
		return &stream.Error{Status: http.StatusBadRequest, Body: bad.Error(), Details: d + "{INVALID_ARGUMENT}", Err: err}
	}
	return err
}

// invalid is an error of what the client sent.
type invalid struct{ err error }

// Error says what is wrong.
func (e *invalid) Error() string { return plain(e.err) }

// Unwrap returns the cause.
func (e *invalid) Unwrap() error { return e.err }

// appendMessage appends the frame of the message that body is, or is a part of.
// Only the first message has what the path and the query say.
func (c *call) appendMessage(dst, body []byte, first bool) ([]byte, error) {
	msg := dynamicpb.NewMessage(c.rule.in)
	if !c.rule.rawIn {
		if err := c.fill(msg, body); err != nil {
			return dst, &invalid{err}
		}
	}
	if first {
		for i := range c.bindings {
			if err := c.cfg.apply(msg, &c.bindings[i], c.cfg.rejectCollisions); err != nil {
				return dst, &invalid{err}
			}
		}
	}
	if c.rule.rawIn {
		if err := c.fillRaw(msg, body, first); err != nil {
			return dst, err
		}
	}
	at := len(dst)
	dst = append(dst, make([]byte, grpcframe.HeadSize)...)
	out, err := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.MarshalAppend(dst, msg)
	if err != nil {
		return dst[:at], &invalid{err}
	}
	grpcframe.Seal(out, at, 0)
	return out, nil
}

var errNotJSON = errors.New("the body is not JSON")

// fill reads a JSON body into the message or the field that it is for.
func (c *call) fill(msg *dynamicpb.Message, body []byte) error {
	body = trim(body)
	if len(body) == 0 || !c.rule.hasBody {
		return nil
	}
	if path := c.rule.body; len(path) > 0 {
		// The body must be one value before others are put around it.
		if !json.Valid(body) {
			return errNotJSON
		}
		for i := len(path) - 1; i >= 0; i-- {
			wrapped := append([]byte(`{"`), path[i].JSONName()...)
			wrapped = append(append(wrapped, `":`...), body...)
			body = append(wrapped, '}')
		}
	}
	if c.cfg.anyCase {
		var err error
		if body, err = upperEnums(body, c.rule.in); err != nil {
			return errNotJSON
		}
	}
	return c.cfg.read.Unmarshal(body, msg)
}

// fillRaw makes an HttpBody of a body as it is.
func (c *call) fillRaw(msg *dynamicpb.Message, body []byte, first bool) error {
	m := protoreflect.Message(msg)
	for _, f := range c.rule.body {
		m = m.Mutable(f).Message()
	}
	fields := m.Descriptor().Fields()
	if f := fields.ByName("content_type"); f != nil && first && c.ctype != "" {
		m.Set(f, protoreflect.ValueOfString(c.ctype))
	}
	if f := fields.ByName("data"); f != nil && len(body) > 0 {
		m.Set(f, protoreflect.ValueOfBytes(body))
	}
	if !first || len(c.unknown) == 0 {
		return nil
	}
	f := fields.ByName("extensions")
	if f == nil || !f.IsList() || f.Message() == nil {
		return nil
	}
	b, err := unknownParams(c.unknown)
	if err != nil {
		return &invalid{err}
	}
	list := m.Mutable(f).List()
	e := list.NewElement()
	any := e.Message()
	const url = "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.UnknownQueryParams"
	any.Set(any.Descriptor().Fields().ByName("type_url"), protoreflect.ValueOfString(url))
	any.Set(any.Descriptor().Fields().ByName("value"), protoreflect.ValueOfBytes(b))
	list.Append(e)
	return nil
}

// upload is a request's body of several messages: elements of a JSON array, or
// pieces of an HttpBody.
type upload struct {
	body  stream.Body
	c     *call
	split splitter
	sent  int
	out   []byte
	err   error
}

// maxPiece is the most of an HttpBody that one message has, in bytes: gRPC
// servers take 4 MiB unless told otherwise.
const maxPiece = 1 << 20

// Next returns the messages that are complete.
func (u *upload) Next() ([]byte, error) {
	u.out = u.out[:0]
	for u.err == nil {
		p, err := u.body.Next()
		if err != nil && err != io.EOF {
			u.err = err
			break
		}
		if terr := u.take(p, err == io.EOF); terr != nil {
			u.err = badRequest(terr, false)
			break
		}
		if u.err = err; len(u.out) > 0 {
			break
		}
	}
	if u.err != nil && u.err != io.EOF {
		return nil, u.err
	}
	return u.out, u.err
}

func (u *upload) take(p []byte, end bool) error {
	if u.c.rule.rawIn {
		for len(p) > 0 {
			n := min(len(p), maxPiece)
			if err := u.emit(p[:n]); err != nil {
				return err
			}
			p = p[n:]
		}
	} else if err := u.split.feed(p, u.emit); err != nil {
		if errors.Is(err, stream.ErrTooLarge) {
			return err
		}
		return &invalid{err}
	}
	if !end {
		return nil
	}
	if u.c.rule.rawIn {
		if u.sent == 0 {
			return u.emit(nil)
		}
		return nil
	}
	if err := u.split.finish(); err != nil {
		return &invalid{err}
	}
	if u.split.state == beforeArray && len(u.c.bindings) > 0 {
		return u.emit(nil)
	}
	return nil
}

func (u *upload) emit(body []byte) error {
	var err error
	u.out, err = u.c.appendMessage(u.out, body, u.sent == 0)
	u.sent++
	return err
}

// Ready reports whether Next would return without waiting.
func (u *upload) Ready() bool { return u.err != nil || u.body.Ready() }
