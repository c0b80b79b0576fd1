// SPDX-License-Identifier: Apache-2.0

// Package conn is one downstream connection: its transport, the network
// filters it passed, and the handler that serves it. A connection belongs to
// one event loop. While it is idle it has no task and no buffer; when bytes
// arrive, its handler runs on a task until it is idle again or done.
//
// The package knows no protocol: the HTTP connection manager and the TCP proxy
// are handlers among others (see ext/network).
package conn

import (
	"errors"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

// A Transport moves the bytes of a connection: the socket itself, or a layer
// such as TLS over it. Its methods wait on the calling task.
type Transport interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	// Write2 writes a, then b, together if it can.
	Write2(a, b []byte) error
	// Ready reports whether a Read would return without waiting.
	Ready() bool
	// CloseWrite tells the peer that nothing more is sent.
	CloseWrite() error
	// Close closes the connection at once.
	Close()
}

// A Filter is a network filter that looks at a connection before its handler
// serves it. It may wait, change the connection's Info or Transport, or refuse
// it with an error, which closes the connection and becomes its termination
// details.
type Filter interface {
	Accept(t *engine.Task, c *Conn) error
}

// A Handler is a terminal network filter's part in one connection.
type Handler interface {
	// Serve runs when there is something to read, the peer's end included. It
	// returns true to leave the connection open and idle, with nothing read
	// that it has not used; false to have it closed.
	Serve(t *engine.Task, c *Conn) bool
	// Drain asks to finish: to serve what is in flight, announce the end as
	// the protocol has it, and take no more. It runs on the loop, once.
	Drain(c *Conn)
	// Closed tells that the connection is gone.
	Closed(c *Conn)
}

// An Eager handler does not wait for the first byte: it is served as soon as it
// is attached, to connect upstream or to speak first.
type Eager interface {
	Handler
	// Eager reports whether to serve at once.
	Eager() bool
}

// A Governed handler is one that the overload manager reaches.
type Governed interface {
	Handler
	// Rescale holds what is waited for against time limits that have become shorter, or
	// longer. It runs on the loop.
	Rescale()
	// Streams calls f for each stream that the connection carries. It runs on the loop;
	// f may break the stream off.
	Streams(f func(Stream))
}

// A Stream is one of a connection's, as the overload manager sees it.
type Stream interface {
	// Held is how much memory the stream's messages take, in bytes.
	Held() uint64
	// Shed breaks the stream off.
	Shed()
}

// Governed returns the handler if the overload manager reaches it, otherwise nil.
func (c *Conn) Governed() Governed {
	g, _ := c.handler.(Governed)
	return g
}

// Conn is one downstream connection.
type Conn struct {
	Socket    *engine.Conn
	Transport Transport
	Info      *streaminfo.Connection

	handler    Handler
	owner      Owner
	next, prev *Conn // in its Group
	group      *Group
	ended      func() // calls what OnClose was given
	busy       bool   // a task serves it
	held       bool   // the handler waits for the socket by itself
	closed     bool
}

// An Owner is told when a connection is gone.
type Owner interface {
	Gone(c *Conn)
}

// New returns a connection that has no handler yet.
func New(socket *engine.Conn, info *streaminfo.Connection, o Owner) *Conn {
	return &Conn{Socket: socket, Transport: socket, Info: info, owner: o}
}

// Plain reports whether the bytes on the socket are the connection's bytes, so
// that the kernel may move them.
func (c *Conn) Plain() bool { return c.Transport == Transport(c.Socket) }

// Attach gives the connection its handler and leaves it idle until there is
// something to read.
func (c *Conn) Attach(h Handler) {
	c.handler = h
	if e, ok := h.(Eager); ok && e.Eager() {
		c.Socket.Loop().Go(c)
		return
	}
	c.settle()
}

// Hold leaves it to the handler to wait for the connection: when its Serve
// returns true the connection stays open and nobody else watches the socket. The
// handler ends it with Close. It is for handlers that serve both directions at
// once.
func (c *Conn) Hold() { c.held = true }

// OnClose has f called, on the loop, when the connection is gone: for filters
// that keep count of it. The last one registered is called first.
func (c *Conn) OnClose(f func()) {
	before := c.ended
	if before == nil {
		c.ended = f
		return
	}
	c.ended = func() { f(); before() }
}

// Closed reports whether the connection is gone.
func (c *Conn) Closed() bool { return c.closed }

// Serve gives the connection its handler and serves it on the present task.
func (c *Conn) Serve(t *engine.Task, h Handler) {
	c.handler = h
	c.Run(t)
}

// settle leaves the connection idle, or has it served if it is ready.
func (c *Conn) settle() {
	if c.Transport.Ready() || !c.Socket.Idle(c) {
		c.Socket.Loop().Go(c)
	}
}

// Ready starts a task when an idle connection can be read.
func (c *Conn) Ready(*engine.Conn) {
	if !c.closed {
		c.Socket.Loop().Go(c)
	}
}

// Run serves the connection on a task until it is idle or done.
func (c *Conn) Run(t *engine.Task) {
	if c.closed {
		return
	}
	keep := false
	c.busy = true
	defer func() {
		c.busy = false
		if !keep { // Also when the handler panicked.
			c.Close()
		}
	}()
	for {
		if !c.handler.Serve(t, c) || c.closed {
			return
		}
		if c.held {
			keep = true
			return
		}
		if !c.Transport.Ready() && c.Socket.Idle(c) {
			keep = true
			return
		}
	}
}

// Owner returns who is told when the connection is gone.
func (c *Conn) Owner() Owner { return c.owner }

// Move takes the connection from its group and owner to others of its loop.
func (c *Conn) Move(g *Group, o Owner) {
	if c.group != nil {
		c.group.remove(c)
	}
	g.Add(c)
	c.owner = o
}

// Busy reports whether a task serves the connection.
func (c *Conn) Busy() bool { return c.busy }

// Drain asks the handler to finish.
func (c *Conn) Drain() {
	if c.handler != nil && !c.closed {
		c.handler.Drain(c)
	}
}

// Close closes the connection at once.
func (c *Conn) Close() {
	if c.closed {
		return
	}
	c.closed = true
	c.Transport.Close()
	c.Socket.Close()
	if c.group != nil {
		c.group.remove(c)
	}
	if c.handler != nil {
		c.handler.Closed(c)
	}
	if c.ended != nil {
		c.ended()
	}
	if c.owner != nil {
		c.owner.Gone(c)
	}
}

// maxLinger bounds the bytes read and thrown away while lingering.
const maxLinger = 1 << 20

// Linger sends the end of the stream and waits for the peer to close, for at
// most d, throwing away what it still sends: so that a last response is not
// lost to a reset (Envoy's delayed close, RFC 9112 §9.6). It reports whether the
// peer had not closed by then. The caller closes.
func (c *Conn) Linger(t *engine.Task, d time.Duration) (expired bool) {
	if d <= 0 || c.Transport.CloseWrite() != nil {
		return false
	}
	t.SetDeadline(int64(d), errLinger)
	defer t.SetDeadline(0, nil)
	b := c.Socket.Loop().Buffer()
	defer c.Socket.Loop().PutBuffer(b)
	for read := 0; read < maxLinger; {
		n, err := c.Transport.Read(b)
		if err != nil {
			return errors.Is(err, errLinger)
		}
		read += n
	}
	return false
}

var errLinger = errors.New("delayed close timeout")

// A Factory makes the handlers of a filter chain, one for each connection.
type Factory interface {
	New(c *Conn) Handler
}

// Delay waits for d, or until the peer is gone: before a connection that is
// refused is closed, so that who comes again and again does so slowly.
func (c *Conn) Delay(t *engine.Task, d time.Duration) {
	if d <= 0 {
		return
	}
	c.Socket.Watch(waiter{t})
	defer c.Socket.Unwatch()
	// Whatever ended the wait, the connection is closed next.
	_ = t.Sleep(d)
}

// waiter is a task that waits for nothing but time.
type waiter struct{ t *engine.Task }

// HungUp ends the wait.
func (w waiter) HungUp(_ *engine.Conn, gone bool) {
	if gone {
		w.t.Interrupt(errLinger)
	}
}

// ErrRefused is the error of a filter that has told in other ways why it closes a
// connection; it is no termination detail.
var ErrRefused = errors.New("connection refused by a filter")

// Refuse notes why a filter closes the connection: reason is what
// %DOWNSTREAM_LOCAL_CLOSE_REASON% prints. It returns ErrRefused, for
// [Filter].Accept to return.
func (c *Conn) Refuse(reason string) error {
	c.Info.CloseReason, c.Info.CloseType = reason, "Normal"
	return ErrRefused
}

// SetState gives the connection an object of the filter state.
func (c *Conn) SetState(key string, o streaminfo.StateObject) {
	if c.Info.FilterState == nil {
		c.Info.FilterState = streaminfo.FilterState{}
	}
	c.Info.FilterState[key] = o
}

// SetMetadata notes a value under a key of a namespace of the connection's
// dynamic metadata.
func (c *Conn) SetMetadata(namespace, key string, v any) {
	if c.Info.Metadata == nil {
		c.Info.Metadata = streaminfo.Metadata{}
	}
	if c.Info.Metadata[namespace] == nil {
		c.Info.Metadata[namespace] = map[string]any{}
	}
	c.Info.Metadata[namespace][key] = v
}
