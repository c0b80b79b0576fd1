// SPDX-License-Identifier: Apache-2.0

// Package responsemap gives responses of hosts, and those made here, another body by
// their status, and keeps the rest of them: www-authenticate of a 401, retry-after of a
// 503. Envoy's custom response filter sends another response instead, of which nothing
// is the host's; the filter that Emissary-ingress had added to Envoy does as this one.
//
// It is an extension of Weir's own, and looks at nothing but statuses.
package responsemap

import (
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// Rules are the bodies of responses, by status. One that is nil is for none.
type Rules struct {
	bodies map[int]*format.Format
}

// Filter is the filter in one chain.
type Filter struct {
	name  string
	rules *Rules
}

// Request does nothing.
func (*Filter) Request(*stream.Stream) error { return nil }

// Response gives a response another body. Calls of gRPC keep theirs: they are told in
// messages.
func (f *Filter) Response(s *stream.Stream) error {
	rules := f.rules
	if r, ok := stream.RouteConfig[*Rules](s, f.name); ok {
		rules = r
	}
	body := rules.bodies[s.Info.Status]
	if body == nil || stream.IsGRPC(s.Request.Header.Get(header.ContentType)) {
		return nil
	}
	var head header.Map
	s.Response.Header.CopyTo(&head)
	for _, n := range []header.Name{header.ContentLength, header.ContentEncoding, header.TransferEncoding, header.ContentType} {
		head.Del(n)
	}
	s.Info.Response, s.Info.LocalReplyBody = s.Response.Header, nil
	if s.Replied() {
		s.Info.LocalReplyBody = s.LocalBody()
	}
	text := body.AppendTo(nil, &s.Info)
	s.Reply(stream.Reply{Status: s.Info.Status, Body: string(text), Details: s.Info.StatusDetails, Header: func(h *header.Map) {
		head.CopyTo(h)
		h.Set(header.ContentType, body.ContentType())
	}})
	return nil
}
