// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"slices"

	"weir.dev/weir/proxy/header"
)

// Bind has fields of a request be for where it is led now, and for nowhere that a response may lead it instead: a
// credential that a filter has given it, say. names must not change.
func (m *Message) Bind(names []header.Name) {
	if m.bound == nil {
		m.bound = names
		return
	}
	m.bound = slices.Concat(m.bound, names)
}

// HeadElsewhere returns a copy of the request's head to be led elsewhere with, by [Stream.Again]: without what is bound
// to where it was led. Filters that it then passes give it what it is to have there.
func (s *Stream) HeadElsewhere() *header.Map {
	h := new(header.Map)
	s.Request.Header.CopyTo(h)
	for _, n := range s.Request.bound {
		h.Del(n)
	}
	return h
}
