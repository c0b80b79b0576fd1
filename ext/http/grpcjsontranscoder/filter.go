// SPDX-License-Identifier: Apache-2.0

// Package grpcjsontranscoder is Envoy's gRPC-JSON transcoder
// (envoy.filters.http.grpc_json_transcoder): it makes gRPC calls of requests to
// the paths that google.api.http options give to methods, and JSON of what is
// answered.
//
// The messages are known at run time only, so this is the one filter that
// handles them on the request path. What it keeps of a body is bounded.
package grpcjsontranscoder

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// maxDepth is how deeply a message in JSON may be nested.
const maxDepth = 100

// Config is a compiled GrpcJsonTranscoder, of the filter or of a route.
type Config struct {
	disabled bool
	tree     tree
	types    *dynamicpb.Types
	print    protojson.MarshalOptions
	read     protojson.UnmarshalOptions
	indent   bool
	lines    bool // streams are lines
	events   bool // streams are server-sent events

	keepRoute              bool
	ignored                map[string]bool // query parameters
	ignoreUnknown, capture bool
	convert                bool // errors become google.rpc.Status
	unescape               unescaping
	plus, anyCase          bool

	rejectMethod, rejectParams, rejectCollisions bool
	maxRequest, maxResponse                      int // bytes
}

// rule is one way to a method.
type rule struct {
	method          protoreflect.MethodDescriptor
	path            string
	in, out         protoreflect.MessageDescriptor
	vars            []bound
	hasBody         bool
	body, response  []protoreflect.FieldDescriptor // empty: the whole message
	rawIn, rawOut   bool                           // a google.api.HttpBody
	manyIn, manyOut bool
}

// bound is a variable and its field.
type bound struct {
	variable
	fields []protoreflect.FieldDescriptor
}

// isHTTPBody reports whether the field, or the message itself, is of the type
// whose bytes are the body.
func isHTTPBody(d protoreflect.MessageDescriptor, path []protoreflect.FieldDescriptor) bool {
	if n := len(path); n > 0 {
		if path[n-1].IsList() || path[n-1].IsMap() {
			return false
		}
		d = path[n-1].Message()
	}
	return d != nil && d.FullName() == "google.api.HttpBody"
}

// Filter is the filter in one chain.
type Filter struct {
	name string
	slot stream.Slot
	own  *Config
}

// call is one request that is transcoded.
type call struct {
	cfg      *Config
	rule     *rule // nil: the request passes as it is
	bindings []binding
	unknown  map[string][]string
	ctype    string // of a request that is an HttpBody

	body     stream.Bytes // of a message that is held whole
	answer   stream.Bytes
	upload   upload
	download download
}

// Details of replies.
const (
	detailsEarly = "early_grpc_json_transcode_failure"
	details      = "grpc_json_transcode_failure"
)

// Request finds the method of a request and makes gRPC of it.
func (f *Filter) Request(s *stream.Stream) error {
	cfg := f.own
	if o, ok := stream.RouteConfig[*Config](s, f.name); ok {
		cfg = o
	}
	h := s.Request.Header
	if cfg.disabled || s.Upgrade || stream.IsGRPC(h.Get(header.ContentType)) {
		return nil
	}
	path, query, _ := strings.Cut(string(h.Get(header.Path)), "?")
	r, parts := cfg.tree.find(string(h.Get(header.Method)), path)
	if r == nil {
		if !cfg.rejectMethod {
			return nil
		}
		return &stream.Error{Status: http.StatusNotFound, Body: fmt.Sprintf("Could not resolve %s to a method.", path), Details: detailsEarly + "{NOT_FOUND}"}
	}
	c := stream.State[call](s, f.slot)
	c.cfg = cfg
	if err := c.bind(r, parts, query); err != nil {
		if !cfg.rejectParams {
			return nil
		}
		return &stream.Error{Status: http.StatusBadRequest, Body: err.Error(), Details: detailsEarly + "{INVALID_ARGUMENT}"}
	}
	c.rule = r
	c.ctype = string(h.Get(header.ContentType))
	h.Del(header.ContentLength)
	h.Set(header.ContentType, "application/grpc")
	h.SetBytes(header.XEnvoyOriginalPath, h.Get(header.Path))
	h.SetBytes(header.XEnvoyOriginalMethod, h.Get(header.Method))
	h.Set(header.Path, r.path)
	h.Set(header.Method, http.MethodPost)
	h.Set(header.TE, "trailers")
	if !cfg.keepRoute {
		s.ClearRoute()
	}
	return c.request(s)
}

// bind takes the values that the path and the query have for fields. Its errors
// tell of parameters that no field has the name of.
func (c *call) bind(r *rule, parts []string, query string) error {
	for i := range r.vars {
		v := &r.vars[i]
		c.bindings = append(c.bindings, binding{v.fields, v.value(parts, c.cfg.unescape)})
	}
	var failed error
	parameters(query, c.cfg.plus, func(name, value string) {
		if c.cfg.ignored[name] || failed != nil {
			return
		}
		fields, err := resolve(r.in, strings.Split(name, "."))
		switch {
		case err == nil:
			c.bindings = append(c.bindings, binding{fields, value})
		case c.cfg.capture:
			if c.unknown == nil {
				c.unknown = map[string][]string{}
			}
			c.unknown[name] = append(c.unknown[name], strings.ToValidUTF8(value, "\ufffd"))
		case !c.cfg.ignoreUnknown:
			failed = err
		}
	})
	return failed
}

// Response makes JSON of a gRPC response. Others, those made here included,
// pass.
func (f *Filter) Response(s *stream.Stream) error {
	c := stream.State[call](s, f.slot)
	m := &s.Response
	if c.rule == nil || s.Replied() || !stream.IsGRPCResponse(m) {
		return nil
	}
	if m.Body == nil {
		c.headOnly(m)
		return nil
	}
	m.Header.Del(header.Trailer)
	m.Header.Del(header.ContentLength)
	m.Header.Set(header.ContentType, c.contentType())
	if !c.rule.manyOut {
		return c.unary(m)
	}
	c.download = download{body: m.Body, c: c, trailer: m.Trailer}
	c.download.frames.Max = c.cfg.maxResponse
	m.Body, m.Length = &c.download, -1
	if c.rule.rawOut {
		// The first message says what type the body is of.
		if err := c.download.prime(); err != nil {
			return err
		}
		if ct := c.download.ctype; ct != "" {
			m.Header.Set(header.ContentType, ct)
		}
	}
	return nil
}

// contentType is that of a response in JSON.
func (c *call) contentType() string {
	if c.rule.manyOut && c.cfg.events {
		return "text/event-stream"
	}
	return "application/json"
}

// headOnly is a response that is a head and no more: the outcome is in it.
func (c *call) headOnly(m *stream.Message) {
	if c.rule.manyOut {
		m.Header.Set(header.ContentType, c.contentType())
	}
	var body []byte
	code, ok := stream.ParseGRPCStatus(m.Header.Get(header.GRPCStatus))
	if text, converted := c.status(m.Header, false); converted {
		body = text
		m.Header.Set(header.ContentType, "application/json")
		for _, n := range [...]header.Name{header.GRPCStatus, header.GRPCMessage, statusDetails} {
			m.Header.Del(n)
		}
	} else if c.rule.manyOut && !c.rule.rawOut && !c.cfg.lines && !c.cfg.events {
		body = []byte("[]")
	}
	c.setStatus(m, code, ok)
	m.Header.Del(header.Trailer)
	c.hold(m, body)
}

func (c *call) setStatus(m *stream.Message, code int, ok bool) {
	status := http.StatusServiceUnavailable
	if ok {
		status = stream.HTTPFromGRPC(code)
	}
	m.Header.SetInt(header.Status, int64(status))
}

// hold makes b the response's body.
func (c *call) hold(m *stream.Message, b []byte) {
	m.Body, m.Length = nil, int64(len(b))
	if len(b) > 0 {
		c.answer = *stream.NewBytes(b)
		m.Body = &c.answer
	}
	m.Header.SetInt(header.ContentLength, m.Length)
}

// trim cuts white space off both ends of JSON.
func trim(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }
