// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"iter"

	"google.golang.org/protobuf/proto"

	"weir.dev/weir/internal/treap"
)

// A Set is an immutable set of resources of one kind by name. The messages in it
// are shared: whoever reads one must not change it. The zero Set is empty.
type Set[M proto.Message] struct{ m treap.Map[item[M]] }

type item[M proto.Message] struct {
	message M
	origin  *Origin // nil if it is zero
}

// Len returns the number of resources.
func (s Set[M]) Len() int { return s.m.Len() }

// Names returns the names in order. The slice is the caller's.
func (s Set[M]) Names() []string {
	out := make([]string, 0, s.Len())
	for name := range s.m.All() {
		out = append(out, name)
	}
	return out
}

// Get returns the resource called name.
func (s Set[M]) Get(name string) (m M, ok bool) {
	i, ok := s.m.Get(name)
	return i.message, ok
}

// Origin returns what the resource called name was made from, as far as known.
func (s Set[M]) Origin(name string) Origin {
	if i, ok := s.m.Get(name); ok && i.origin != nil {
		return *i.origin
	}
	return Origin{}
}

// All yields names and resources in the order of the names.
func (s Set[M]) All() iter.Seq2[string, M] {
	return func(yield func(string, M) bool) {
		for name, i := range s.m.All() {
			if !yield(name, i.message) {
				return
			}
		}
	}
}

// A Draft is a Set in the making.
type Draft[M proto.Message] interface {
	// Put adds the resource or replaces the one of that name.
	Put(name string, message M, origin Origin)
	// Delete removes the resource, if there is one.
	Delete(name string)
	// Has reports whether there is such a resource.
	Has(name string) bool
}

type draft[M proto.Message] struct{ Set[M] }

func (d *draft[M]) Put(name string, message M, origin Origin) {
	old, ok := d.m.Get(name)
	if ok && proto.Message(old.message) == proto.Message(message) && d.Origin(name) == origin {
		return
	}
	i := item[M]{message: message}
	switch {
	case old.origin != nil && *old.origin == origin:
		i.origin = old.origin
	case !origin.IsZero():
		i.origin = &origin
	}
	d.m = d.m.Put(name, i)
}

func (d *draft[M]) Delete(name string) { d.m = d.m.Delete(name) }

func (d *draft[M]) Has(name string) bool {
	_, ok := d.m.Get(name)
	return ok
}
