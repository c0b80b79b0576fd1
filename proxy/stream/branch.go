// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"io"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
)

// A Branch is one attempt to reach a host, as the filters of its cluster see it: a
// stream of its own, whose request is a copy of the head that the terminal filter made,
// so that nothing a filter changes is there at the next attempt. Its route is that of
// the stream it branches off, and so is a reply. The zero Branch is ready for Begin.
type Branch struct {
	Stream
	head, trailer header.Map
	body          branchBody
}

// Begin readies a new or ended branch for an attempt of s, on task t.
func (b *Branch) Begin(s *Stream, t *engine.Task) {
	b.task, b.owner, b.parent = t, trunk{s}, s
	b.route, b.routed = s.Route(), true
	b.Random, b.Upgrade, b.kind, b.Span = s.Random, s.Upgrade, s.kind, s.Span
	s.Request.Header.CopyTo(&b.head)
	b.Request = s.Request
	b.Request.Header = &b.head
	if s.Request.Trailer != nil {
		b.body = branchBody{s.Request.Body, s.Request.Trailer, &b.trailer}
		b.Request.Trailer = &b.trailer
		if s.Request.Body != nil {
			b.Request.Body = &b.body
		}
	}
	b.Info = s.Info
	b.Info.Request, b.Info.RequestTrailer = b.Request.Header, b.Request.Trailer
}

// Respond gives the branch the response that its request got.
func (b *Branch) Respond(m Message, h *header.Map) {
	i := &b.parent.Info
	b.Info.Upstream, b.Info.Timing, b.Info.Status, b.Info.StatusDetails = i.Upstream, i.Timing, i.Status, i.StatusDetails
	b.Response = m
	b.Response.Header = h
	b.Info.Response, b.Info.ResponseTrailer = h, m.Trailer
}

// Join leaves to the stream what the filters of the branch have noted for others:
// metadata and filter state.
func (b *Branch) Join() {
	b.parent.Info.Metadata, b.parent.Info.FilterState = b.Info.Metadata, b.Info.FilterState
}

// End tells the filters that the attempt is over and forgets it; memory is kept for the
// next.
func (b *Branch) End(c *Chain) {
	c.End(&b.Stream)
	b.Wipe()
	b.parent = nil
	b.head.Reset()
	b.trailer.Reset()
	b.body = branchBody{}
}

// branchBody copies the trailers of the request once they are there.
type branchBody struct {
	Body
	from, to *header.Map
}

// Next returns the next piece.
func (b *branchBody) Next() ([]byte, error) {
	p, err := b.Body.Next()
	if err == io.EOF && b.from != nil {
		b.from.CopyTo(b.to)
		b.from = nil
	}
	return p, err
}

// trunk is the owner of a branch.
type trunk struct{ s *Stream }

// Match returns the route that the stream has settled on.
func (t trunk) Match(*Stream) *route.Route { return t.s.route }

// Inform sends an interim response to the client.
func (t trunk) Inform(_ *Stream, h *header.Map) error { return t.s.Inform(h) }

// Explain asks who owns the stream.
func (t trunk) Explain(err error) *Error { return t.s.owner.Explain(err) }

// Localise does nothing: a reply is the stream's.
func (t trunk) Localise(*Stream) {}

// Again does nothing: the stream goes elsewhere as a whole.
func (t trunk) Again(*Stream) {}

// Canonical asks who owns the stream.
func (t trunk) Canonical(path []byte) ([]byte, bool) { return t.s.owner.Canonical(path) }
