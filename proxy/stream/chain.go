// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"slices"

	"weir.dev/weir/internal/edition"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
)

// A Filter is one filter's part in every stream of a chain. It is shared and
// immutable; what it keeps for one stream is its State. Its methods run in
// order on the stream's task and may wait.
type Filter interface {
	// Request runs on the way in. A filter answers by itself with s.Reply; then
	// no later Request runs. An error ends the stream as [Stream.Fail] has it.
	Request(s *Stream) error
	// Response runs on the way out, last filter first, for upstream and local
	// replies alike, once the response's head is there and before any of it is
	// sent. To see the body it wraps s.Response.Body.
	Response(s *Stream) error
}

// An Ender is a filter that must know when a stream is over: complete, failed
// or abandoned. It is asked for once, when the chain is made.
type Ender interface {
	End(s *Stream)
}

// A Stopper is an Ender that reads bodies on tasks of its own. Once Stop has returned it
// reads no more. It is called before the End of any filter, while what is read is there.
type Stopper interface {
	Ender
	Stop(s *Stream)
}

// A Holder is a terminal filter that knows how much memory a stream takes.
type Holder interface {
	// Held returns it in bytes; received is how much of the request's body has come.
	Held(s *Stream, received uint64) uint64
}

// A Chain is the HTTP filters of a connection manager, in order; the last is
// terminal. Filters of one that was made replaceable are replaced while streams go on:
// a stream passes the edition of the chain that it has pinned.
type Chain struct {
	links    []link
	enders   []Ender
	stoppers []Stopper               // of the enders
	editions *edition.Series[*Chain] // nil if no filter is ever replaced
	edition  *edition.Of[*Chain]     // that this one is; nil of one to be pinned
}

type link struct {
	name     string
	filter   Filter
	disabled bool
}

// Add appends a filter under its configured name. A disabled filter runs only
// where a route enables it.
func (c *Chain) Add(name string, f Filter, disabled bool) {
	c.links = append(c.links, link{name, f, disabled})
	c.note(f)
}

// note remembers a filter that asks for more than requests and responses.
func (c *Chain) note(f Filter) {
	if e, ok := f.(Ender); ok {
		c.enders = append(c.enders, e)
	}
	if e, ok := f.(Stopper); ok {
		c.stoppers = append(c.stoppers, e)
	}
}

// Replaceable lets filters be replaced. It is called once, when all are there.
func (c *Chain) Replaceable() {
	c.editions = new(edition.Series[*Chain])
	c.publish(&Chain{links: c.links, enders: c.enders, stoppers: c.stoppers})
}

func (c *Chain) publish(next *Chain, ends ...func()) {
	next.edition = edition.New(next)
	c.editions.Publish(next.edition, ends...)
}

// Replace has streams that begin from now on pass f in place of the filter at a slot.
// ends let go of what that filter has, once no stream passes it. One replaces at a time.
func (c *Chain) Replace(at Slot, f Filter, ends ...func()) {
	old, _ := c.editions.Newest()
	next := &Chain{links: slices.Clone(old.links)}
	next.links[at].filter = f
	for _, l := range next.links {
		next.note(l.filter)
	}
	c.publish(next, ends...)
}

// Pin returns the chain as a stream that begins now passes it, from first to last. An
// Unpin ends it.
func (c *Chain) Pin() *Chain {
	if c.editions == nil {
		return c
	}
	return c.editions.Pin().Value
}

// Unpin tells that a stream which passed the chain is over.
func (c *Chain) Unpin() {
	if c.edition != nil {
		c.edition.Unpin()
	}
}

// Close lets go of what filters had that were replaced. No stream may pass them any more.
func (c *Chain) Close() {
	if c.editions != nil {
		c.editions.Close()
	}
}

// Len returns the number of filters.
func (c *Chain) Len() int { return len(c.links) }

// Serve runs the request through the filters and the response back through
// them. It returns true when s.Response is ready to be sent, false when the
// stream is to be broken off.
func (c *Chain) Serve(s *Stream) bool {
	s.settleKind()
	for {
		if err := c.request(s); err != nil && !s.Fail(err) {
			return false
		}
		if s.next == nil {
			if s.Response.Header == nil {
				s.Reply(Reply{Status: 404, Details: "no_filter_answered", Flags: streaminfo.NoRouteFound})
			}
			if !c.respond(s) {
				return false
			}
		}
		if s.next == nil {
			return true
		}
		c.End(s)
		s.owner.Again(s)
	}
}

// Answer runs a reply that was made before the filters saw the request through
// them, on the way out only.
func (c *Chain) Answer(s *Stream) bool { return c.respond(s) }

// Enter runs the request of a branch through the filters, which may reply.
func (c *Chain) Enter(b *Branch) error { return c.request(&b.Stream) }

// Return runs the response of a branch through the filters, the last first. It ends
// with one that replies instead, or fails.
func (c *Chain) Return(b *Branch) error {
	s := &b.Stream
	for i := len(c.links) - 1; i >= 0; i-- {
		l := &c.links[i]
		if !l.enabled(s) {
			continue
		}
		s.task.At(&l.name)
		if err := l.filter.Response(s); err != nil || s.replied {
			return err
		}
	}
	return nil
}

func (c *Chain) request(s *Stream) error {
	for i := range c.links {
		l := &c.links[i]
		if !l.enabled(s) {
			continue
		}
		s.task.At(&l.name)
		if err := l.filter.Request(s); err != nil {
			return err
		}
		if s.replied {
			return nil
		}
	}
	return nil
}

// respond runs the filters on the way out. A filter that fails is answered for
// once, and the answer passes the filters that remain. One that has another request
// take this one's place is the last.
func (c *Chain) respond(s *Stream) bool {
	for i := len(c.links) - 1; i >= 0; i-- {
		l := &c.links[i]
		if !l.enabled(s) {
			continue
		}
		s.task.At(&l.name)
		if err := l.filter.Response(s); err != nil && !s.Fail(err) {
			return false
		}
		if s.next != nil {
			return true
		}
	}
	s.seal()
	return true
}

// End tells the filters that ask for it that the stream is over, the last
// first: by the time another filter lets go of what it holds, the terminal one
// no longer reads the request's body.
func (c *Chain) End(s *Stream) {
	c.Stop(s)
	for i := len(c.enders) - 1; i >= 0; i-- {
		c.enders[i].End(s)
	}
}

// Stop has the filters read no more of the stream's bodies. End does so too.
func (c *Chain) Stop(s *Stream) {
	for _, f := range c.stoppers {
		f.Stop(s)
	}
}

// Held is how much memory the stream takes, in bytes, of whose request's body received
// bytes have come: all of them, where no filter knows better.
func (c *Chain) Held(s *Stream, received uint64) uint64 {
	if n := len(c.links); n > 0 {
		if h, ok := c.links[n-1].filter.(Holder); ok {
			return h.Held(s, received)
		}
	}
	return received
}

// enabled reports whether the filter runs for the stream's route. Only a route
// that says something of the filter is asked.
func (l *link) enabled(s *Stream) bool {
	if s.route == nil {
		return !l.disabled
	}
	switch s.route.FilterToggle(l.name) {
	case route.Disabled:
		return false
	case route.Enabled:
		return true
	}
	return !l.disabled
}
