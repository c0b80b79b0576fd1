// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

// stream is one client. It belongs to one goroutine.
type stream struct {
	s      *Server
	wire   protocol
	client Client
	subs   map[xds.Kind]*sub
	// now is the snapshot of which the client was sent all that concerns it; nil before
	// there is one.
	now *xds.Snapshot
	// next is the snapshot that is being sent, and changes are its differences from now
	// by kind. Of its stages, sent are done.
	next    *xds.Snapshot
	changes map[xds.Kind][]xds.Change
	sent    int
	// open are the responses without an answer, by nonce, and late ends the wait.
	open   map[string]xds.Kind
	late   *time.Timer
	nonces uint64
}

// sub is what a client wants of one kind.
type sub struct {
	t        *wire.Type
	wildcard bool
	names    map[string]bool
	nonce    string // of the last response
}

// wants reports whether the client wants a resource. Who subscribes to a route
// configuration's virtual hosts wants all of them.
func (b *sub) wants(name string) bool {
	if b.wildcard || b.names[name] {
		return true
	}
	if b.t.Kind != xds.KindVirtualHost {
		return false
	}
	return b.names[xds.RoutesOf(name)]
}

// stage is what may go out together.
type stage struct {
	kinds []xds.Kind
	gone  bool // what is gone, else what came and changed
}

// stages is the order in which a snapshot's changes go out.
func stages() []stage {
	return []stage{
		{kinds: []xds.Kind{xds.KindRuntime, xds.KindSecret, xds.KindCluster, xds.KindEndpoints}},
		{kinds: []xds.Kind{xds.KindExtension, xds.KindVirtualHost, xds.KindRoutes, xds.KindScopedRoute, xds.KindListener}},
		{kinds: []xds.Kind{xds.KindListener, xds.KindScopedRoute, xds.KindRoutes, xds.KindVirtualHost, xds.KindExtension}, gone: true},
		{kinds: []xds.Kind{xds.KindCluster, xds.KindEndpoints, xds.KindSecret, xds.KindRuntime}, gone: true},
	}
}

// serve is one call: it reads what the client says, while another goroutine, which ends
// before it, looks after the stream.
func (s *Server) serve(ctx context.Context, w protocol) error {
	first, err := w.receive()
	if err != nil {
		return ending(err)
	}
	if first.node == nil {
		return status.Error(codes.InvalidArgument, "the first request has no node: set node.id")
	}
	store, err := s.o.Store(ctx, first.node)
	if err != nil {
		return err
	}
	k := &stream{s: s, wire: w, subs: map[xds.Kind]*sub{}, open: map[string]xds.Kind{}, late: time.NewTimer(time.Hour)}
	defer k.late.Stop()
	s.mu.Lock()
	s.next++
	k.client = Client{ID: s.next, Node: first.node, Store: store}
	s.mu.Unlock()
	k.tell()
	ctx, cancel := context.WithCancel(ctx)
	requests, done := make(chan *request), make(chan error, 1)
	go func() { done <- k.run(ctx, requests) }()
	err = s.receive(w, first, requests, done)
	cancel()
	k.client.Gone = true
	k.tell()
	return err
}

// receive hands requests over until the client or run ends, and returns when run has.
func (s *Server) receive(w protocol, q *request, to chan<- *request, done <-chan error) error {
	for {
		select {
		case to <- q:
		case err := <-done:
			return err
		}
		var err error
		if q, err = w.receive(); err != nil {
			close(to)
			<-done
			return ending(err)
		}
	}
}

func ending(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (k *stream) tell() {
	c := k.client
	c.Refused = maps.Clone(c.Refused)
	k.s.tell(c)
}

func (k *stream) run(ctx context.Context, requests <-chan *request) error {
	for {
		if err := k.advance(); err != nil {
			return err
		}
		// A newer snapshot waits until the one that is being sent is.
		var changed <-chan struct{}
		if k.next == nil {
			changed = k.client.Store.Changed(k.now)
		}
		select {
		case q, ok := <-requests:
			if !ok {
				return nil
			}
			if err := k.request(q); err != nil {
				return err
			}
		case <-changed:
		case <-k.late.C:
			if len(k.open) > 0 && k.next != nil {
				k.s.o.Log.Warn("a client does not answer in time: it is sent what comes next", "node", k.client.Node.GetId())
				clear(k.open)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// advance sends what may be sent now.
func (k *stream) advance() error {
	for {
		if k.next == nil && !k.begin() {
			return nil
		}
		for all := stages(); k.sent < len(all); {
			if len(k.open) > 0 {
				return nil
			}
			st := all[k.sent]
			k.sent++
			for _, kind := range st.kinds {
				if err := k.sendChanges(kind, st.gone); err != nil {
					return err
				}
			}
		}
		k.now, k.next, k.changes = k.next, nil, nil
		k.client.Sent = k.now.Version()
		k.settle()
	}
}

// begin starts to send the newest snapshot, if there is a newer one.
func (k *stream) begin() bool {
	newest := k.client.Store.Snapshot()
	if newest == k.now {
		return false
	}
	all := xds.Changes(k.now, newest)
	k.s.cache.forget(all)
	k.next, k.sent, k.changes = newest, 0, map[xds.Kind][]xds.Change{}
	for _, c := range all {
		k.changes[c.Kind] = append(k.changes[c.Kind], c)
	}
	return true
}

// settle notes what the client has answered for.
func (k *stream) settle() {
	// Who has not asked for the listeners there are has not taken a snapshot.
	asked := k.now != nil && len(k.subs) > 0 && (k.subs[xds.KindListener] != nil || k.now.Listeners().Len() == 0)
	if asked && len(k.open) == 0 && k.next == nil {
		k.client.Acked = k.now.Version()
	}
	k.tell()
}

// sendChanges sends of one kind what changed, or what is gone.
func (k *stream) sendChanges(kind xds.Kind, gone bool) error {
	b := k.subs[kind]
	if b == nil {
		return nil
	}
	r := &response{t: b.t}
	for i := range k.changes[kind] {
		c := &k.changes[kind][i]
		if gone != (c.Message == nil) || !b.wants(c.Name) {
			continue
		}
		if gone {
			r.gone = append(r.gone, c.Name)
			continue
		}
		if err := k.put(r, c.Name, c.Message); err != nil {
			return err
		}
	}
	// Even nothing is an answer that is waited for.
	waited := k.now == nil && b.wildcard && !gone
	switch {
	case len(r.put)+len(r.gone) == 0 && !waited:
		return nil
	case k.wire.state() && b.t.Whole:
		return k.sendAll(b, gone)
	case k.wire.state() && gone:
		return nil // Its client drops what it wants no more.
	}
	return k.send(b, r, k.next)
}

func (k *stream) put(r *response, name string, m proto.Message) error {
	e, err := k.s.cache.get(name, m)
	if err != nil {
		return err
	}
	r.put = append(r.put, e)
	return nil
}

// sendAll sends the state of the world of a kind, in which what is not there is gone.
// Before the stage of what is gone, that is sent once more.
func (k *stream) sendAll(b *sub, gone bool) error {
	view := k.view(b.t.Kind)
	r := &response{t: b.t}
	for name, m := range all(view, b.t.Kind) {
		if !b.wants(name) {
			continue
		}
		if err := k.put(r, name, m); err != nil {
			return err
		}
	}
	if k.next != nil && !gone {
		for _, c := range k.changes[b.t.Kind] {
			if c.Message == nil && b.wants(c.Name) {
				if err := k.put(r, c.Name, c.Old); err != nil {
					return err
				}
			}
		}
	}
	return k.send(b, r, view)
}

// view is the snapshot that a kind is answered from: the next one as soon as what came
// and changed of the kind was sent.
func (k *stream) view(kind xds.Kind) *xds.Snapshot {
	if k.next == nil {
		return k.now
	}
	for _, st := range stages()[:k.sent] {
		if slices.Contains(st.kinds, kind) {
			return k.next
		}
	}
	return k.now
}

func (k *stream) send(b *sub, r *response, of *xds.Snapshot) error {
	k.nonces++
	r.nonce, r.version = strconv.FormatUint(k.nonces, 10), of.Version()
	b.nonce = r.nonce
	k.open[r.nonce] = b.t.Kind
	k.late.Reset(k.s.o.AnswerLimit)
	return k.wire.send(r, k.s.o.Identifier)
}

// request takes what the client says.
func (k *stream) request(q *request) error {
	t := k.s.urls[q.url]
	if t == nil {
		k.s.o.Log.Warn("a client asks for a type that is not served", "node", k.client.Node.GetId(), "type_url", fmt.Sprintf("%.200s", q.url))
		return nil
	}
	b := k.subs[t.Kind]
	first := b == nil
	if first {
		b = &sub{t: t, names: map[string]bool{}}
		k.subs[t.Kind] = b
	}
	if q.nonce != "" {
		k.answer(t, q)
		if q.whole && q.nonce != b.nonce && !first {
			return nil // It has not seen the last response yet, and says so again when it has.
		}
	}
	added := b.change(q, first)
	if k.now == nil && k.next == nil {
		return nil // There is nothing yet; what comes goes to all who are subscribed.
	}
	if k.wire.state() {
		if t.Whole && (first || len(added) > 0) {
			return k.sendAll(b, false)
		}
		return k.sendNamed(b, added, nil, false)
	}
	if len(added) == 0 && !(first && b.wildcard) {
		return nil
	}
	return k.sendNamed(b, added, q.initial, first && b.wildcard)
}

// answer notes whether the client has taken a response.
func (k *stream) answer(t *wire.Type, q *request) {
	if _, ok := k.open[q.nonce]; !ok {
		return
	}
	delete(k.open, q.nonce)
	if q.refusal != "" {
		if k.client.Refused == nil {
			k.client.Refused = map[xds.Kind]string{}
		}
		k.client.Refused[t.Kind] = q.refusal
	} else {
		delete(k.client.Refused, t.Kind)
	}
	k.settle()
}

// change takes what is wanted and not, and returns the names that came anew.
func (b *sub) change(q *request, first bool) (added []string) {
	if q.whole {
		next := map[string]bool{}
		for _, n := range q.subscribe {
			next[n] = true
			if !b.names[n] {
				added = append(added, n)
			}
		}
		b.names, b.wildcard = next, b.t.Whole && len(next) == 0 || next["*"]
		return added
	}
	if first && len(q.subscribe) == 0 && b.t.Whole {
		b.wildcard = true
	}
	for _, n := range q.unsubscribe {
		delete(b.names, n)
		b.wildcard = b.wildcard && n != "*"
	}
	for _, n := range q.subscribe {
		if n == "*" {
			b.wildcard = true
		}
		b.names[n] = true // One that is named again is told again.
		added = append(added, n)
	}
	return added
}

// sendNamed sends resources that were just subscribed to: those of the names and, with
// wildcard, all. Those of which initial has the version are known; of names that do not
// exist the client of a delta is told so.
func (k *stream) sendNamed(b *sub, names []string, initial map[string]string, wildcard bool) error {
	view := k.view(b.t.Kind)
	if view == nil {
		return nil
	}
	r := &response{t: b.t}
	there := map[string]bool{}
	add := func(name string, m proto.Message) error {
		if there[name] {
			return nil
		}
		there[name] = true
		e, err := k.s.cache.get(name, m)
		if err == nil && initial[name] != e.version {
			r.put = append(r.put, e)
		}
		return err
	}
	if wildcard || slices.Contains(names, "*") || b.t.Kind == xds.KindVirtualHost {
		for name, m := range all(view, b.t.Kind) {
			if b.wants(name) {
				if err := add(name, m); err != nil {
					return err
				}
			}
		}
	}
	for _, n := range names {
		if m := get(view, b.t.Kind, n); m != nil {
			if err := add(n, m); err != nil {
				return err
			}
		} else if n != "*" && !k.wire.state() {
			r.gone = append(r.gone, n)
		}
	}
	for n := range initial {
		if !there[n] && get(view, b.t.Kind, n) == nil && !slices.Contains(r.gone, n) {
			r.gone = append(r.gone, n)
		}
	}
	if k.wire.state() && len(r.put) == 0 {
		return nil
	}
	return k.send(b, r, view)
}
