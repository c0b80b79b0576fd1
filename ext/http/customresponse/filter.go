// SPDX-License-Identifier: Apache-2.0

// Package customresponse is Envoy's custom response filter (envoy.filters.http.custom_response):
// responses that its matcher takes, of hosts or made here, are replaced by others.
package customresponse

import (
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
)

// Rules are which responses are replaced, and by what.
type Rules struct {
	tree *match.Tree[*policy] // nil: none is
}

// policy is what is sent instead.
type policy struct {
	status  int // 0 keeps it
	body    string
	format  *format.Format // nil: the body as it is
	headers *route.Headers
	details string // of the log; "" is none
	keep    bool   // keep those of the response
}

// Filter is the filter in one chain.
type Filter struct {
	name  string
	rules *Rules
}

// viaUpstream is the details of responses that hosts sent.
const viaUpstream = "via_upstream"

// local tells whether a response was made here: "true" or "false".
type local struct{}

func (local) Get(d match.Data) match.Value {
	switch {
	case d.Stream == nil:
		return match.Value{Unable: true}
	case d.Stream.StatusDetails == viaUpstream:
		return match.TextValue("false")
	}
	return match.TextValue("true")
}

// Request does nothing.
func (*Filter) Request(*stream.Stream) error { return nil }

// Response replaces a response. Of what it was, its status and its head can be told.
func (f *Filter) Response(s *stream.Stream) error {
	rules := f.rules
	if r, ok := stream.RouteConfig[*Rules](s, f.name); ok {
		rules = r
	}
	if rules.tree == nil || s.Upgrade && s.Info.Status < 300 {
		return nil
	}
	s.Info.Response = s.Response.Header
	p, res := rules.tree.Match(match.Data{Request: s.Request.Header, Stream: &s.Info, Conn: s.Info.Conn, Random: s.Random})
	if res != match.Matched || p == nil {
		return nil
	}
	r := stream.Reply{Status: p.status, Body: p.body, Details: p.details}
	if r.Status == 0 {
		r.Status = s.Info.Status
	}
	if p.keep {
		r.Details = s.Info.StatusDetails
	}
	if p.format != nil {
		s.Info.LocalReplyBody = []byte(p.body)
		r.Body, r.ContentType = string(p.format.AppendTo(nil, &s.Info)), p.format.ContentType()
	}
	r.Header = func(h *header.Map) { p.headers.Apply(h, &s.Info) }
	s.Reply(r)
	return nil
}
