// SPDX-License-Identifier: Apache-2.0

// Package customresponse is Envoy's custom response filter (envoy.filters.http.custom_response):
// responses that its matcher takes, of hosts or made here, are replaced by others: made
// here, or had from where a redirect leads.
package customresponse

import (
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Rules are which responses are replaced, and by what.
type Rules struct {
	tree     *match.Tree[*policy] // nil: none is
	redirect bool                 // some policy is a redirect
}

// policy is what is sent instead.
type policy struct {
	status  int // 0 keeps it
	body    string
	format  *format.Format // nil: the body as it is
	headers *route.Headers
	details string // of the log; "" is none
	keep    bool   // keep those of the response
	// to, if not nil, is where the response is had from; of the above, its status and
	// headers become those of the policy.
	to *target
}

// Filter is the filter in one chain.
type Filter struct {
	name                string
	slot                stream.Slot
	rules               *Rules
	noRoute, invalidURI *stats.Counter
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

func (f *Filter) of(s *stream.Stream) *Rules {
	if r, ok := stream.RouteConfig[*Rules](s, f.name); ok {
		return r
	}
	return f.rules
}

// Request notes whether the request is there whole when its response comes.
func (f *Filter) Request(s *stream.Stream) error {
	if f.of(s).redirect {
		f.watch(s)
	}
	return nil
}

// Response replaces a response. Of what it was, its status and its head can be told.
func (f *Filter) Response(s *stream.Stream) error {
	if p, ok := s.Info.FilterState[Name].Value.(*policy); ok {
		p.arrive(s)
		return nil
	}
	rules := f.of(s)
	if rules.tree == nil || s.Upgrade && s.Info.Status < 300 {
		return nil
	}
	s.Info.Response = s.Response.Header
	p, res := rules.tree.Match(match.Data{Request: s.Request.Header, Stream: &s.Info, Conn: s.Info.Conn, Random: s.Random})
	if res != match.Matched || p == nil {
		return nil
	}
	if p.to != nil {
		f.lead(s, p)
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
