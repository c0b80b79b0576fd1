// SPDX-License-Identifier: Apache-2.0

// Package fn has requests call functions of the Fn Project: it stands in front of the
// hosts of a cluster, which are Fn's servers, and makes a call of each request and a
// response of what the function answers.
//
// It is an extension of Weir's own. It connects nowhere and keeps no time: limits of
// time, retries, weights and mirrors are the router's. Bodies pass as they come.
package fn

import (
	"log/slog"
	"net/http"
	"sync"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Stats are the filter's statistics (cluster.NAME.fn.*).
type Stats struct {
	Busy     stats.Counter `stat:"busy"`
	Invalid  stats.Counter `stat:"invalid"`
	TooLarge stats.Counter `stat:"too_large"`
}

// Filter is the filter in one chain.
type Filter struct {
	slot     stream.Slot
	path     string // of the function's call
	byID     bool   // by POST, and without a query
	wraps    bool   // tells the HTTP request, and reads the response that is wanted
	detached bool
	rest     bool      // the rest of the path follows
	address  bool      // sets the client's address
	most     int64     // of the request's body, in bytes; 0 is no limit
	buffers  sync.Pool // of *buffers
	log      *slog.Logger
	stats    *stats.Sharded[Stats]
}

// call is a request that calls a function.
type call struct {
	*buffers
	body limited
}

// buffers are the memory of one call, given back when its stream ends.
type buffers struct {
	fields []field
	text   []byte
}

// maxKept bounds the buffers that are kept for the next, in bytes.
const maxKept = 64 << 10

// Names of fields that Fn knows.
var (
	callID     = header.NewName("fn-call-id")
	callID2018 = header.NewName("fn_call_id")
	invokeType = header.NewName("fn-invoke-type")
	intent     = header.NewName("fn-intent")
	method     = header.NewName("fn-http-method")
	requestURL = header.NewName("fn-http-request-url")
	status     = header.NewName("fn-http-status")
)

// Request makes a call of a request.
func (f *Filter) Request(s *stream.Stream) error {
	m := &s.Request
	h := m.Header
	if s.Upgrade {
		s.Reply(stream.Reply{Status: http.StatusNotImplemented, Body: "a function cannot be upgraded to", Details: "fn_upgrade"})
		return nil
	}
	c := stream.State[call](s, f.slot)
	if f.most > 0 && !f.bound(s, c) {
		return nil
	}
	path, query := cutQuery(h.Get(header.Path))
	if f.rest && strays(path) {
		s.Reply(stream.Reply{Status: http.StatusBadRequest, Body: "the path leads out of the function's", Details: "fn_path"})
		return nil
	}
	drop(h)
	if c.buffers, _ = f.buffers.Get().(*buffers); c.buffers == nil {
		c.buffers = new(buffers)
	}
	c.text = c.text[:0]
	if f.address {
		c.client(s)
	}
	switch {
	case f.wraps:
		c.wrap(h)
		h.Set(header.Path, f.path)
	case f.byID:
		h.Set(header.Path, f.path)
	case f.rest || len(query) > 0:
		c.text = append(c.text, f.path...)
		if f.rest && string(path) != "/" {
			c.text = append(c.text, path...)
		}
		c.text = append(c.text, query...)
		h.SetBytes(header.Path, c.text)
	default:
		h.Set(header.Path, f.path)
	}
	if f.byID {
		h.Set(header.Method, http.MethodPost)
		if m.Body == nil {
			h.SetInt(header.ContentLength, 0)
		}
	}
	if f.detached {
		h.Set(invokeType, "detached")
	}
	return nil
}

// client tells the client's address as a proxy does that stands alone before Fn.
func (c *call) client(s *stream.Stream) {
	h := s.Request.Header
	if !s.Info.Remote.IsValid() {
		h.Del(header.XRealIP)
		h.Del(header.XForwardedFor)
		return
	}
	c.text = s.Info.Remote.AppendIP(c.text)
	h.SetBytes(header.XRealIP, c.text)
	h.SetBytes(header.XForwardedFor, c.text)
	c.text = c.text[:0]
}

// bound refuses a body that is too long, or has one of unknown length counted.
func (f *Filter) bound(s *stream.Stream, c *call) bool {
	m := &s.Request
	switch {
	case m.Body == nil:
	case m.Length > f.most:
		f.tooLarge(s)
		s.Reply(stream.TooLarge())
		return false
	case m.Length < 0:
		c.body = limited{rest: m.Body, left: f.most, of: f, s: s}
		m.Body = &c.body
	}
	return true
}

func (f *Filter) tooLarge(s *stream.Stream) { f.stats.At(s.Task().Loop().ID()).TooLarge.Inc() }

// limited is a body that breaks off where it is too long.
type limited struct {
	rest stream.Body
	left int64
	of   *Filter
	s    *stream.Stream
}

// Next returns the next piece.
func (b *limited) Next() ([]byte, error) {
	p, err := b.rest.Next()
	if b.left -= int64(len(p)); b.left < 0 {
		b.of.tooLarge(b.s)
		r := stream.TooLarge()
		return nil, &stream.Error{Status: r.Status, Details: r.Details, Body: r.Body, Err: stream.ErrTooLarge}
	}
	return p, err
}

// Ready reports whether Next would return without waiting.
func (b *limited) Ready() bool { return b.rest.Ready() }

// Response makes a response of what the function answered.
func (f *Filter) Response(s *stream.Stream) error {
	if s.Replied() {
		return nil
	}
	h := s.Response.Header
	if id := h.Get(callID2018); id != nil {
		if !h.Has(callID) {
			h.AddBytes(callID, id)
		}
		h.Del(callID2018)
	}
	code := h.Get(header.Status)
	if string(code) == "503" && h.Has(header.RetryAfter) {
		// The server has not begun the call: another may.
		f.stats.At(s.Task().Loop().ID()).Busy.Inc()
		h.Set(header.XEnvoyRatelimited, "true")
	}
	if !f.wraps || f.detached {
		return nil
	}
	own, err := unwrap(h)
	if err != nil {
		f.stats.At(s.Task().Loop().ID()).Invalid.Inc()
		f.log.Debug("what a function answered is no response: the client gets 502", "function", f.path, "reason", err)
		return &stream.Error{Status: http.StatusBadGateway, Details: "fn_invalid_response", Body: "the function's response cannot be read", Err: err}
	}
	if own == http.StatusNoContent || own == http.StatusNotModified {
		h.Del(header.ContentLength)
		s.Response.Body, s.Response.Length, s.Response.Trailer = nil, 0, nil
	}
	return nil
}

// End gives the buffers back.
func (f *Filter) End(s *stream.Stream) {
	c := stream.State[call](s, f.slot)
	if b := c.buffers; b != nil && cap(b.text) <= maxKept {
		f.buffers.Put(b)
	}
	c.buffers = nil
}
