// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
)

// scopes are the routing scopes of a connection manager (scoped_routes): a request's
// headers make a key, and the key names the route table. They never change.
type scopes struct {
	builder scopeKeyBuilder
	byKey   map[string]*routeScope
}

// routeScope is one scope.
type routeScope struct {
	name, key string
	routes    *scopeRoutes
	// before is the table that requests of this key were served by when the scope came;
	// it goes on until the scope's own is there.
	before *route.Table
}

// scopeRoutes are the routes of a scope, or of several that name the same.
type scopeRoutes struct {
	table atomic.Pointer[route.Table] // nil until they have come
}

// load returns the scope's table, nil if there is none yet.
func (s *routeScope) load() *route.Table {
	if s == nil {
		return nil
	}
	if t := s.routes.table.Load(); t != nil {
		return t
	}
	return s.before
}

// find returns the scope of a request, nil if it is in none.
func (s *scopes) find(h *header.Map) *routeScope {
	var room [256]byte
	key, ok := s.builder.append(room[:0], h)
	if !ok {
		return nil
	}
	return s.byKey[string(key)]
}

// scopeKeyBuilder makes the key of a request, one fragment by each extractor.
type scopeKeyBuilder []extractor

// append appends the key of a request to dst. A request that lacks a fragment has none.
func (b scopeKeyBuilder) append(dst []byte, h *header.Map) ([]byte, bool) {
	for i := range b {
		f, ok := b[i].extract(h)
		if !ok {
			return dst, false
		}
		dst = appendFragment(dst, f)
	}
	return dst, true
}

// appendFragment appends a fragment with its length, so that no two keys look alike.
func appendFragment(dst, f []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(f))), f...)
}

// extractor takes a fragment from a header's first value
// (ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor).
type extractor struct {
	header header.Name
	// separator divides the value into elements; "" leaves it whole.
	separator []byte
	// byKey takes what follows key and between in the first element that begins with
	// them; otherwise the element number index is taken.
	byKey        bool
	key, between []byte
	index        uint32
}

func (e *extractor) extract(h *header.Map) ([]byte, bool) {
	rest := h.Get(e.header)
	if rest == nil {
		return nil, false
	}
	for n, more := uint32(0), true; more; n++ {
		element := rest
		more = false
		if len(e.separator) > 0 {
			element, rest, more = bytes.Cut(rest, e.separator)
		}
		if !e.byKey {
			if n == e.index {
				return element, true
			}
			continue
		}
		if k, v, _ := bytes.Cut(element, e.between); bytes.Equal(k, e.key) {
			return v, true
		}
	}
	return nil, false
}

// enterScope has the stream be served by the routes of its scope, which its head tells.
// While it stays in a scope it keeps the table that it found there.
func (a *active) enterScope(h *header.Map) {
	if a.scopes == nil {
		return
	}
	if s := a.scopes.find(h); s != a.scope {
		a.scope, a.table = s, s.load()
	}
}
