// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"maps"
	"slices"
	"strings"
)

// An Object is one kind of object of v1, for documents.
type Object struct {
	// Name in words, and the message of v3 that it becomes, if it becomes one.
	Name, Message string
	Fields        []Field
}

// A Field of an Object.
type Field struct {
	Name string
	// To is the path in the message, or where it goes in words; "" if it is dropped.
	To string
	// Refused tells that a file with the field is not read.
	Refused bool
	// Why it changed; "" if it did not.
	Why string
}

// Path reports whether To is a path of fields, and not words.
func (f Field) Path() bool { return f.To != "" && !f.Refused && !strings.Contains(f.To, " ") }

// Objects are all objects of v1, the outermost first.
func Objects() []Object {
	l := &lister{seen: map[string]bool{}}
	l.add(bootstrap())
	for _, filters := range []map[string]plugin{networkFilters(), httpFilters()} {
		for _, name := range slices.Sorted(maps.Keys(filters)) {
			p := filters[name]
			if p.message == "" {
				l.out = append(l.out, Object{Name: name, Fields: []Field{{Name: "the filter", Refused: true, Why: p.why}}})
				continue
			}
			s := p.config()
			s.message = p.message
			l.add(s)
		}
	}
	// What a field of its own kind leads to.
	for _, s := range []schema{
		sslContext(true), sslContext(false), healthCheckOf("http"), healthCheckOf("tcp"), healthCheckOf("redis"),
		comparison(), severalFilters(),
	} {
		l.add(s)
	}
	return l.out
}

type lister struct {
	out  []Object
	seen map[string]bool
}

func (l *lister) add(s schema) {
	if key := s.name + " " + s.message; len(s.fields) == 0 || l.seen[key] {
		return
	} else {
		l.seen[key] = true
	}
	o := Object{Name: s.name, Message: s.message}
	var inner []schema
	for _, f := range s.fields {
		out := Field{Name: f.name, To: f.to, Why: f.why, Refused: f.to == nowhere}
		if out.Refused {
			out.To = ""
		}
		o.Fields = append(o.Fields, out)
		if f.inner != nil {
			inner = append(inner, f.inner())
		}
	}
	l.out = append(l.out, o)
	for _, i := range inner {
		l.add(i)
	}
}
