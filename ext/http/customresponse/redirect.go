// SPDX-License-Identifier: Apache-2.0

package customresponse

import (
	"io"
	"strings"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
)

// target is where a response is had from. What is empty stays as the request has it.
type target struct {
	scheme, host, port, path string
	strip                    bool // the request's query is not passed on
	headers                  *route.Headers
}

// state is what the filter keeps for one stream.
type state struct {
	seen bool
	body watched
}

// watched is a body that knows whether it has ended.
type watched struct {
	stream.Body
	ended bool
}

// Next returns the next piece.
func (w *watched) Next() ([]byte, error) {
	p, err := w.Body.Next()
	w.ended = w.ended || err == io.EOF
	return p, err
}

func (f *Filter) watch(s *stream.Stream) {
	st := stream.State[state](s, f.slot)
	st.seen = true
	if s.Request.Body != nil && !s.Upgrade {
		st.body = watched{Body: s.Request.Body}
		s.Request.Body = &st.body
	}
}

// lead has the request go to the target, as one that only asks. If it cannot, the
// response stays as it is: where it is not there whole, or has no route there.
func (f *Filter) lead(s *stream.Stream, p *policy) {
	st := stream.State[state](s, f.slot)
	if !st.seen || s.Upgrade || st.body.Body != nil && !st.body.ended {
		return
	}
	h := s.HeadElsewhere()
	if !p.to.apply(s, h) {
		f.invalidURI.Inc()
		return
	}
	p.to.headers.Apply(h, &s.Info)
	if s.MatchAs(h) == nil {
		f.noRoute.Inc()
		return
	}
	if string(h.Get(header.Method)) != "HEAD" {
		h.Set(header.Method, "GET")
	}
	h.Del(header.ContentLength)
	if s.Info.FilterState == nil {
		s.Info.FilterState = streaminfo.FilterState{}
	}
	s.Info.FilterState[Name] = streaminfo.StateObject{Value: p}
	s.Again(&stream.Message{Header: h, Spelling: s.Request.Spelling})
}

// apply makes a head one for the target.
func (t *target) apply(s *stream.Stream, h *header.Map) bool {
	scheme := string(h.Get(header.Scheme))
	changes := t.scheme != "" && t.scheme != scheme
	if t.scheme != "" {
		scheme = t.scheme
	}
	host := t.host
	if host == "" {
		host = string(h.Get(header.Authority))
		if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') && (t.port != "" || changes) {
			host = host[:i] // A port is that of the scheme before.
		}
	}
	path, query, asks := strings.Cut(string(h.Get(header.Path)), "?")
	if t.path != "" {
		path = t.path
	}
	if asks && !t.strip && !strings.Contains(t.path, "?") {
		path += "?" + query
	}
	authority, to := []byte(host+t.port), []byte(path)
	if !codec.ValidAuthority(authority) || !codec.ValidTarget(to) {
		return false
	}
	to, ok := s.Canonical(to)
	h.Set(header.Scheme, scheme)
	h.SetBytes(header.Authority, authority)
	h.SetBytes(header.Path, to)
	return ok
}

// arrive gives a response that was had from elsewhere the status and headers of the
// policy, unless it is an error or a redirect itself.
func (p *policy) arrive(s *stream.Stream) {
	if s.Info.Status < 200 || s.Info.Status > 299 {
		return
	}
	p.headers.Apply(s.Response.Header, &s.Info)
	if p.status > 0 {
		s.Response.Header.SetInt(header.Status, int64(p.status))
		s.Info.Status = p.status
	}
}
