// SPDX-License-Identifier: Apache-2.0

// Package headermutation is Envoy's header mutation filter
// (envoy.filters.http.header_mutation): it adds, changes and removes header and
// trailer fields of requests and responses, and query parameters of requests,
// at its place in the chain: so that the filters behind it see the change.
package headermutation

import (
	"io"
	"sync"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
)

// Mutations is a compiled Mutations message.
type Mutations struct {
	request, response               route.Mutations
	requestTrailer, responseTrailer route.Mutations
	query                           []queryOp
}

// Filter is the filter in one chain.
type Filter struct {
	name string
	slot stream.Slot
	own  *Mutations
	// specificLast lets the most specific level have the last word.
	specificLast bool
	scratch      *sync.Pool // of *[]byte
}

// maxLevels is how many levels of configuration there are: route table,
// virtual host, route and weighted cluster.
const maxLevels = 4

// state is the levels of one stream in the order in which they are applied, and
// its wrapped bodies.
type state struct {
	settled           bool
	list              [maxLevels + 1]*Mutations
	n                 int
	request, response trailing
}

// levels settles what applies to the stream, once.
func (f *Filter) levels(s *stream.Stream) *state {
	st := stream.State[state](s, f.slot)
	if st.settled {
		return st
	}
	st.settled = true
	st.list[0], st.n = f.own, 1
	if r := s.Route(); r != nil {
		st.collect(r, f.name, f.specificLast)
	}
	return st
}

// collect adds what the levels of a route say.
func (st *state) collect(r *route.Route, name string, specificLast bool) {
	for c := range r.FilterConfigs(name) {
		if m, ok := c.(*Mutations); ok && st.n <= maxLevels {
			at := st.n
			if !specificLast {
				copy(st.list[2:], st.list[1:st.n])
				at = 1
			}
			st.list[at] = m
			st.n++
		}
	}
}

// Request changes the request's head, and its trailers when they come.
func (f *Filter) Request(s *stream.Stream) error {
	st := f.levels(s)
	trailers := false
	for _, m := range st.list[:st.n] {
		m.request.Apply(s.Request.Header, &s.Info)
		f.mutateQuery(m.query, s)
		trailers = trailers || !m.requestTrailer.Empty()
	}
	if trailers && s.Request.Trailer != nil && s.Request.Body != nil {
		st.request = trailing{Body: s.Request.Body, s: s, st: st, trailer: s.Request.Trailer}
		s.Request.Body = &st.request
	}
	return nil
}

// Response changes the response's head, and its trailers when they come.
func (f *Filter) Response(s *stream.Stream) error {
	st := f.levels(s)
	s.Info.Response = s.Response.Header
	trailers := false
	for _, m := range st.list[:st.n] {
		m.response.Apply(s.Response.Header, &s.Info)
		trailers = trailers || !m.responseTrailer.Empty()
	}
	if trailers && s.Response.Trailer != nil && s.Response.Body != nil {
		s.Info.ResponseTrailer = s.Response.Trailer
		st.response = trailing{Body: s.Response.Body, s: s, st: st, trailer: s.Response.Trailer, response: true}
		s.Response.Body = &st.response
	}
	return nil
}

// trailing is a body that changes the trailers at its end.
type trailing struct {
	stream.Body
	s        *stream.Stream
	st       *state
	trailer  *header.Map
	response bool
	done     bool
}

// Next returns the next piece.
func (b *trailing) Next() ([]byte, error) {
	p, err := b.Body.Next()
	if err != io.EOF || b.done {
		return p, err
	}
	b.done = true
	if b.trailer.Len() == 0 {
		return p, err // Without trailers there is nothing to change.
	}
	for _, m := range b.st.list[:b.st.n] {
		ops := &m.requestTrailer
		if b.response {
			ops = &m.responseTrailer
		}
		ops.Apply(b.trailer, &b.s.Info)
	}
	return p, err
}
