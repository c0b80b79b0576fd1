// SPDX-License-Identifier: Apache-2.0

// Package buffer is Envoy's buffer filter (envoy.filters.http.buffer): it
// reads the whole of a request's body before the filters behind it see the
// request, so that upstreams are not held by slow clients, and learns its
// length. A body that is too long is answered 413.
package buffer

import (
	"errors"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Stats are the filter's statistics, those of the connection manager
// (http.STAT_PREFIX.*).
type Stats struct {
	TooLarge stats.Counter `stat:"downstream_rq_too_large"`
}

// Override is a compiled BufferPerRoute.
type Override struct {
	disabled bool
	max      int
}

// Filter is the filter in one chain.
type Filter struct {
	name  string
	slot  stream.Slot
	max   int // bytes
	stats *stats.Sharded[Stats]
}

// state is the body of one request.
type state struct{ body stream.Bytes }

// Request reads the body. What a client asks to be a tunnel (an upgrade,
// CONNECT) has no body that ends and is left alone.
func (f *Filter) Request(s *stream.Stream) error {
	m := &s.Request
	if m.Body == nil || s.Upgrade {
		return nil
	}
	limit := f.max
	if o, ok := stream.RouteConfig[*Override](s, f.name); ok {
		if o.disabled {
			return nil
		}
		limit = o.max
	}
	b, _, err := m.Whole(nil, limit)
	if errors.Is(err, stream.ErrTooLarge) {
		f.refuse(s)
		return nil
	}
	if err != nil {
		return err
	}
	st := stream.State[state](s, f.slot)
	st.body = *stream.NewBytes(b)
	m.Body = &st.body
	m.Length = int64(len(b))
	if !m.Header.Has(header.ContentLength) {
		m.Header.SetInt(header.ContentLength, m.Length)
	}
	return nil
}

func (f *Filter) refuse(s *stream.Stream) {
	f.stats.At(s.Task().Loop().ID()).TooLarge.Inc()
	s.Reply(stream.TooLarge())
}

// Response does nothing.
func (*Filter) Response(*stream.Stream) error { return nil }
