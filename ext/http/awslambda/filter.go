// SPDX-License-Identifier: Apache-2.0

// Package awslambda is Envoy's AWS Lambda filter (envoy.filters.http.aws_lambda): it
// makes an invocation of a function of each request to a cluster that is marked as
// Lambda's, signs it, and makes a response of what the function returns.
//
// It does not connect anywhere: the router sends the invocation to the cluster, with
// all that routes can do. Credentials are kept by proxy/aws/credentials.
package awslambda

import (
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"weir.dev/weir/proxy/aws/credentials"
	"weir.dev/weir/proxy/aws/sign"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

// Stats are the filter's statistics (http.STAT_PREFIX.aws_lambda.*).
type Stats struct {
	ServerError stats.Counter   `stat:"server_error"`
	PayloadSize stats.Histogram `stat:"upstream_rq_payload_size,bytes"`
}

// Settings are a compiled Config, of the filter or of a route.
type Settings struct {
	path        string // of the invocation
	passthrough bool
	async       bool
	host        string // "": as it is
	signer      *sign.Signer
	from        *credentials.Provider
}

// Filter is the filter in one chain.
type Filter struct {
	name     string
	slot     stream.Slot
	always   bool // whatever the cluster: it is the one whose filter this is
	own      *Settings
	clusters *upstream.Manager
	stats    *stats.Sharded[Stats]
	buffers  sync.Pool // of *buffers
	log      *slog.Logger
}

// buffers are the memory of one invocation, given back when its stream ends.
type buffers struct {
	request, event, response []byte
	answer                   answer
	up, down                 stream.Bytes
}

// maxKept bounds the buffers that are kept for the next, in bytes.
const maxKept = 256 << 10

// invocation is a request that invokes a function.
type invocation struct {
	settings *Settings
	*buffers
}

// Names of fields that Lambda knows.
var (
	invocationType = header.NewName("x-amz-invocation-type")
	functionError  = header.NewName("x-amz-function-error")
)

// Request makes an invocation of a request that goes to a cluster of Lambda's.
func (f *Filter) Request(s *stream.Stream) error {
	r := s.Route()
	if s.Upgrade || !f.engages(s, r) {
		return nil
	}
	c := f.own
	if o, ok := stream.RouteConfig[*Settings](s, f.name); ok {
		c = o
	}
	in := stream.State[invocation](s, f.slot)
	in.settings = c
	in.buffers, _ = f.buffers.Get().(*buffers)
	if in.buffers == nil {
		in.buffers = new(buffers)
	}
	m := &s.Request
	text := isText(m.Header.Get(header.ContentType)) && !chunked(s)
	var body []byte
	hasBody := m.Body != nil
	if hasBody {
		var err error
		body, in.request, err = m.Whole(in.request, s.BufferLimit())
		switch {
		case errors.Is(err, stream.ErrTooLarge):
			s.Reply(stream.TooLarge())
			return nil
		case err != nil:
			return err
		}
	}
	if !c.passthrough {
		in.event = appendEvent(in.event[:0], m.Header, body, hasBody, text)
		body = in.event
		m.Header.Set(header.ContentType, "application/json")
	}
	f.head(m.Header, c)
	if m.Body = nil; hasBody || !c.passthrough {
		in.up = *stream.NewBytes(body)
		m.Body = &in.up
		m.Header.SetInt(header.ContentLength, int64(len(body)))
	}
	m.Length, m.Trailer = int64(len(body)), nil
	f.stats.At(s.Task().Loop().ID()).PayloadSize.Record(uint64(len(body)))
	return f.sign(s, c, body)
}

// engages tells whether the request goes to a cluster whose metadata says that it is
// Lambda's.
func (f *Filter) engages(s *stream.Stream, r *route.Route) bool {
	if f.always || r == nil {
		return f.always
	}
	ref := r.Cluster(&route.Request{Header: s.Request.Header, Info: &s.Info, Random: s.Random})
	c := f.clusters.Get(ref.Name)
	return c != nil && marked(c.Metadata)
}

func marked(m streaminfo.Metadata) bool {
	on, _ := m["com.amazonaws.lambda"]["egress_gateway"].(bool)
	return on
}

// chunked tells whether the body came in chunks of HTTP/1, so that Envoy's rule takes
// it for binary.
func chunked(s *stream.Stream) bool {
	return s.Request.Length < 0 && s.Info.Protocol <= streaminfo.HTTP11
}

// head makes the head of an invocation.
func (f *Filter) head(h *header.Map, c *Settings) {
	h.Set(header.Method, http.MethodPost)
	h.Set(header.Path, c.path)
	kind := "RequestResponse"
	if c.async {
		kind = "Event"
	}
	h.Set(invocationType, kind)
	if c.host != "" {
		h.Set(header.Authority, c.host)
	}
}

// sign signs the invocation, if there are credentials: without them it is sent as it
// is, as by the SDKs, and Lambda refuses it.
func (f *Filter) sign(s *stream.Stream, c *Settings, body []byte) error {
	now := time.Now()
	keys, err := c.from.Get(s.Running(), now)
	if err != nil || keys == nil {
		return err
	}
	p := sign.Hash(body)
	return c.signer.Sign(s.Request.Header, &p, keys, now)
}

// Response makes a response of what the function returned. What Lambda itself answers,
// and what it tells of a function that failed, passes as it is.
func (f *Filter) Response(s *stream.Stream) error {
	in := stream.State[invocation](s, f.slot)
	m := &s.Response
	c := in.settings
	if c == nil || s.Replied() || m.Body == nil || c.passthrough || c.async || m.Header.Has(functionError) {
		return nil
	}
	if code := m.Header.Get(header.Status); len(code) != 3 || code[0] > '2' {
		return nil
	}
	var err error
	in.response, err = stream.Collect(m.Body, in.response[:0], stream.DefaultBufferLimit)
	switch {
	case errors.Is(err, stream.ErrTooLarge):
		return &stream.Error{Status: http.StatusInternalServerError, Details: "response_payload_too_large", Err: err}
	case err != nil:
		return err
	}
	err = in.answer.parse(in.response)
	var body []byte
	if err == nil {
		body, err = in.answer.apply(m.Header)
	}
	if err != nil {
		f.log.Debug("a function's answer cannot be read: the client gets 500", "function", c.path, "reason", err)
		f.stats.At(s.Task().Loop().ID()).ServerError.Inc()
		m.Header.SetInt(header.Status, http.StatusInternalServerError)
		body = nil
	}
	m.Length, m.Body, m.Trailer = int64(len(body)), nil, nil
	m.Header.SetInt(header.ContentLength, m.Length)
	if len(body) > 0 {
		in.down = *stream.NewBytes(body)
		m.Body = &in.down
	}
	return nil
}

// End gives the buffers back.
func (f *Filter) End(s *stream.Stream) {
	in := stream.State[invocation](s, f.slot)
	b := in.buffers
	in.buffers = nil
	if b == nil || cap(b.request)+cap(b.event)+cap(b.response) > maxKept {
		return
	}
	b.up, b.down = stream.Bytes{}, stream.Bytes{}
	f.buffers.Put(b)
}
