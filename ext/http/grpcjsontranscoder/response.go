// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

var statusDetails = header.NewName("grpc-status-details-bin")

var (
	errCompressed = errors.New("the upstream's message is compressed")
	errPartial    = errors.New("the upstream's message is not complete")
	errSecond     = errors.New("the upstream sent more than one message")
)

// badResponse says what an error of translating a response means.
func badResponse(err error) error {
	if errors.Is(err, grpcframe.ErrTooLarge) || errors.Is(err, stream.ErrTooLarge) {
		return &stream.Error{
			Status: http.StatusInternalServerError, Details: details + "{response_buffer_size_limit_reached}", Err: err,
			Body: "Response not transcoded because the transcoder's internal buffer size exceeds the configured limit.",
		}
	}
	return &stream.Error{Status: http.StatusBadGateway, Body: plain(err), Details: details + "{INTERNAL}", Err: err}
}

// unary holds a response of one message until its trailers are there.
func (c *call) unary(m *stream.Message) error {
	frames := grpcframe.Decoder{Max: c.cfg.maxResponse}
	var out []byte
	var ctype string
	seen, messages := false, 0
	for {
		p, err := m.Body.Next()
		if err != nil && err != io.EOF {
			return err
		}
		seen = seen || len(p) > 0
		for len(p) > 0 {
			f, n, ok, ferr := frames.Next(p)
			if ferr != nil {
				return badResponse(ferr)
			}
			p = p[n:]
			if !ok {
				continue
			}
			if messages++; messages > 1 {
				return badResponse(errSecond)
			}
			if out, ctype, ferr = c.appendAnswer(out, &f); ferr != nil {
				return badResponse(ferr)
			}
		}
		if err == io.EOF {
			break
		}
	}
	if frames.Partial() {
		return badResponse(errPartial)
	}
	if len(out) > c.cfg.maxResponse {
		return badResponse(stream.ErrTooLarge)
	}
	if ctype != "" {
		m.Header.Set(header.ContentType, ctype)
	}
	if t := m.Trailer; t != nil && t.Len() > 0 {
		code, ok := stream.ParseGRPCStatus(t.Get(header.GRPCStatus))
		if text, converted := c.status(t, seen); converted {
			out = text
			m.Header.Set(header.ContentType, "application/json")
		} else {
			if ok {
				m.Header.SetInt(header.GRPCStatus, int64(code))
			}
			if v := t.Get(header.GRPCMessage); v != nil {
				m.Header.SetBytes(header.GRPCMessage, v)
			}
		}
		c.setStatus(m, code, ok)
	}
	c.hold(m, out)
	return nil
}

// status makes google.rpc.Status in JSON of an error, if that is asked for and the
// client has seen nothing else.
func (c *call) status(h *header.Map, seen bool) (text []byte, ok bool) {
	code, ok := stream.ParseGRPCStatus(h.Get(header.GRPCStatus))
	if !c.cfg.convert || seen || !ok || code == 0 {
		return nil, false
	}
	st := &spb.Status{}
	if !readDetails(st, h.Get(statusDetails)) {
		st = &spb.Status{Code: int32(code), Message: string(bytes.ToValidUTF8(stream.AppendGRPCText(nil, h.Get(header.GRPCMessage)), []byte("\ufffd")))}
	}
	text, err := c.cfg.json(st)
	return text, err == nil // Types of details that nobody has described cannot be told.
}

func readDetails(st *spb.Status, v []byte) bool {
	v = bytes.TrimRight(v, "=")
	b := make([]byte, base64.RawStdEncoding.DecodedLen(len(v)))
	n, err := base64.RawStdEncoding.Decode(b, v)
	return err == nil && n > 0 && proto.Unmarshal(b[:n], st) == nil
}

// json is a message as the configuration prints it. What protojson writes
// differs in white space from build to build, so that is taken out or put in
// anew.
func (c *Config) json(m proto.Message) ([]byte, error) {
	b, err := c.print.Marshal(m)
	if err != nil {
		return nil, err
	}
	return c.space(b)
}

func (c *Config) space(b []byte) ([]byte, error) {
	var out bytes.Buffer
	if c.indent && !c.events { // An event's data is one line.
		if err := json.Indent(&out, b, "", " "); err != nil {
			return nil, err
		}
		out.WriteByte('\n')
		return out.Bytes(), nil
	}
	err := json.Compact(&out, b)
	return out.Bytes(), err
}

// appendAnswer appends what the client is to see of a message, and returns the
// content type of one that is an HttpBody.
func (c *call) appendAnswer(dst []byte, f *grpcframe.Frame) (out []byte, ctype string, err error) {
	if f.Flags != 0 {
		return dst, "", errCompressed
	}
	msg := dynamicpb.NewMessage(c.rule.out)
	o := proto.UnmarshalOptions{Resolver: c.cfg.types, RecursionLimit: maxDepth, AllowPartial: true}
	if err := o.Unmarshal(f.Data, msg); err != nil {
		return dst, "", err
	}
	if c.rule.rawOut {
		m := protoreflect.Message(msg)
		for _, f := range c.rule.response {
			m = m.Get(f).Message()
		}
		fields := m.Descriptor().Fields()
		if f := fields.ByName("content_type"); f != nil {
			ctype = m.Get(f).String()
		}
		if f := fields.ByName("data"); f != nil {
			dst = append(dst, m.Get(f).Bytes()...)
		}
		return dst, validType(ctype), nil
	}
	b, err := c.field(msg)
	return append(dst, b...), "", err
}

// validType is the content type, or "" if it could not stand in a head.
func validType(s string) string {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return ""
		}
	}
	return s
}

// field is the JSON of the message, or of the field that the response is.
func (c *call) field(msg *dynamicpb.Message) ([]byte, error) {
	path := c.rule.response
	if len(path) == 0 {
		return c.cfg.json(msg)
	}
	m, last := protoreflect.Message(msg), path[len(path)-1]
	for _, f := range path[:len(path)-1] {
		m = m.Get(f).Message()
	}
	if last.Message() != nil && !last.IsList() && !last.IsMap() {
		return c.cfg.json(m.Get(last).Message().Interface())
	}
	only, o := m.New(), c.cfg.print
	if m.Has(last) {
		only.Set(last, m.Get(last))
	} else {
		o.EmitUnpopulated = true // Otherwise it would not be printed at all.
	}
	b, err := o.Marshal(only.Interface())
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	name := last.JSONName()
	if o.UseProtoNames {
		name = last.TextName()
	}
	v, ok := all[name]
	if !ok {
		return nil, fmt.Errorf("the response has no field %s", name)
	}
	return c.cfg.space(v)
}

// download is a response's body of several messages.
type download struct {
	body    stream.Body
	c       *call
	trailer *header.Map
	frames  grpcframe.Decoder
	ctype   string // of the first HttpBody
	seen    bool   // bytes of the response
	sent    int    // messages
	primed  bool   // out and err are what Next is to return
	out     []byte
	err     error
	tmp     []byte
}

// prime reads on until the first message is there, or the end.
func (d *download) prime() error {
	for d.err == nil && d.sent == 0 {
		d.step()
	}
	d.primed = true
	if d.err != io.EOF {
		return d.err
	}
	return nil
}

// Next returns what has come.
func (d *download) Next() ([]byte, error) {
	if d.primed {
		d.primed = false
		if len(d.out) > 0 || d.err != nil {
			return d.out, d.err
		}
	}
	d.out = d.out[:0]
	for d.err == nil && len(d.out) == 0 {
		d.step()
	}
	if d.err != nil && d.err != io.EOF {
		return nil, d.err
	}
	return d.out, d.err
}

// step reads one piece.
func (d *download) step() {
	p, err := d.body.Next()
	if err != nil && err != io.EOF {
		d.err = err
		return
	}
	d.seen = d.seen || len(p) > 0
	for len(p) > 0 {
		f, n, ok, ferr := d.frames.Next(p)
		if ferr == nil && ok {
			ferr = d.add(&f)
		}
		if ferr != nil {
			d.err = badResponse(ferr)
			return
		}
		p = p[n:]
	}
	if err == io.EOF {
		d.finish()
	}
}

// add appends a message as the stream has it: in an array, on a line of its own,
// or as an event.
func (d *download) add(f *grpcframe.Frame) error {
	b, ctype, err := d.c.appendAnswer(d.tmp[:0], f)
	if err != nil {
		return err
	}
	d.tmp = b
	if d.sent == 0 {
		d.ctype = ctype
	}
	switch cfg := d.c.cfg; {
	case d.c.rule.rawOut:
		d.out = append(d.out, b...)
	case cfg.events:
		d.out = append(append(append(d.out, "data: "...), b...), "\n\n"...)
	case cfg.lines:
		d.out = append(d.out, b...)
		if !cfg.indent {
			d.out = append(d.out, '\n')
		}
	default:
		sep := byte(',')
		if d.sent == 0 {
			sep = '['
		}
		d.out = append(append(d.out, sep), b...)
	}
	d.sent++
	return nil
}

// finish appends what ends the stream.
func (d *download) finish() {
	if d.frames.Partial() {
		d.err = badResponse(errPartial)
		return
	}
	d.err = io.EOF
	if d.trailer != nil {
		if text, ok := d.c.status(d.trailer, d.seen); ok {
			d.out = append(d.out, text...)
			return
		}
	}
	if cfg := d.c.cfg; d.c.rule.rawOut || cfg.events || cfg.lines {
		return
	}
	if d.sent == 0 {
		d.out = append(d.out, '[')
	}
	d.out = append(d.out, ']')
}

// Ready reports whether Next would return without waiting.
func (d *download) Ready() bool { return d.primed || d.err != nil || d.body.Ready() }
