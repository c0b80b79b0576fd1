// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/xds"
)

// maxAsked bounds how many names of one kind are asked for on demand at a time and from
// one source: they come from requests.
const maxAsked = 10_000

// A Question asks for a resource that a request needs, and that nobody watches. It is
// open until something has been said of the resource, be it that there is none.
type Question struct {
	d    *Directory
	a    *asked
	done bool
}

// asked is a resource that was asked for on demand. It stays asked for while there is
// such a resource, so that its changes come.
type asked struct {
	id      ID
	source  *corev3.ConfigSource
	waiting int
	found   bool
	answer  chan struct{} // closed with the answer
}

// askers counts the names that are asked for.
type askers struct {
	source string
	kind   xds.Kind
}

// Ask asks for a resource. It returns nil if nobody can be asked, or too many are asked
// for already. The question
// must be closed; an error tells that the config source cannot be used.
func (d *Directory) Ask(cs *corev3.ConfigSource, kind xds.Kind, name string) (*Question, error) {
	key, err := d.Key(cs)
	if err != nil || key == Snapshot {
		return nil, err // A snapshot has all there is.
	}
	id := ID{key, kind, name}
	d.mu.Lock()
	defer d.mu.Unlock()
	a, of := d.asked[id], askers{key, kind}
	switch {
	case a != nil:
	case d.closed || d.askers[of] >= maxAsked:
		return nil, nil
	default:
		a = &asked{id: id, source: cs, answer: make(chan struct{})}
		if d.asked == nil {
			d.asked, d.askers = map[ID]*asked{}, map[askers]int{}
		}
		d.asked[id] = a
		d.askers[of]++
		if d.wanted != nil {
			d.wanted(id, cs, true)
		}
	}
	a.waiting++
	return &Question{d: d, a: a}, nil
}

// Answered is closed once something was said of the resource.
func (q *Question) Answered() <-chan struct{} { return q.a.answer }

// Close ends the question. If there was no answer and nobody else waits for one, the
// resource is asked for no more. A second Close does nothing.
func (q *Question) Close() {
	q.d.mu.Lock()
	defer q.d.mu.Unlock()
	if q.done {
		return
	}
	q.done = true
	if q.a.waiting--; q.a.waiting == 0 && !q.a.found {
		q.d.dropAsked(q.a)
	}
}

// Answer tells those who have asked for a resource whether there is one.
func (d *Directory) Answer(id ID, found bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.asked[id]
	if a == nil {
		return
	}
	a.found = found
	select {
	case <-a.answer:
	default:
		close(a.answer)
	}
	if !found {
		d.dropAsked(a)
	}
}

// Asked reports whether somebody has asked for a resource on demand.
func (d *Directory) Asked(id ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[id] != nil
}

func (d *Directory) dropAsked(a *asked) {
	if d.asked[a.id] != a {
		return
	}
	delete(d.asked, a.id)
	d.askers[askers{a.id.Source, a.id.Kind}]--
	if d.wanted != nil && !d.closed {
		d.wanted(a.id, a.source, false)
	}
}

// dropMembers asks no more for those members of a group that were asked for one by one:
// nobody watches the group.
func (d *Directory) dropMembers(group ID) {
	if group.Kind != xds.KindVirtualHost {
		return
	}
	for id, a := range d.asked {
		if id.Source == group.Source && id.Kind == group.Kind && strings.HasPrefix(id.Name, group.Name+"/") {
			d.dropAsked(a)
		}
	}
}
