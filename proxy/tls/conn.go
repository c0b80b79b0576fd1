// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
)

const (
	// maxRecord is the most plaintext one record carries (RFC 8446 §5.1).
	maxRecord = 16 << 10
	// maxBatch bounds what is encrypted before the socket is waited for.
	maxBatch = 4 * maxRecord
	// keepBuffer bounds the buffers that are kept for reuse: a batch with its
	// records' headers and tags.
	keepBuffer = maxBatch + 4096
)

// A Conn is the TLS layer of one connection, over a socket of an event loop. Its
// methods belong to that loop; one task may read and one may write at a time.
//
// crypto/tls holds a lock while it writes to what lies below it, and a task that
// waited there would keep the lock from the loop's other tasks, which all run on
// one thread. So nothing waits below tls.Conn.Write: records that the socket does
// not take at once are kept in out, and are sent, and waited for, when Write has
// returned. Reads may wait below tls.Conn.Read, since there is one reader.
type Conn struct {
	sock *engine.Conn
	tls  *tls.Conn
	pool *sync.Pool // of *[]byte

	out []byte // records the socket has not taken, in order
	// refused is why the last wait below tls.Conn ended, if the task was
	// interrupted; the TLS layer is told something it can recover from.
	refused error
	frames  framing

	shaking  bool // the handshake runs: there is nobody else to write
	poll     bool // reads do not wait
	together bool // records are gathered in out instead of being sent one by one
	flushing bool // a task sends what was in out
	held     held // what is above the socket
	peeked   bool // ahead was read to know whether there is something
	open     bool // the handshake succeeded
	ended    bool // the socket has ended without close_notify, and nothing was written since
	ending   bool // what is written is the last there is
	shut     bool // close_notify was sent
	closed   bool
	ahead    byte

	// What the handshake's callbacks found out.
	local   *tls.Certificate
	offered []string
	stats   *conn.TLSStats
	session []byte // the session ID of the server's hello
}

// held is what is above the socket and was not read yet, parts of records aside.
type held uint8

const (
	something held = iota // not known
	nothing
	oneRecord // a part of its plaintext at most
)

// wire is a Conn as tls.Conn sees it from above: the socket.
type wire Conn

// newConn returns a layer without its tls.Conn.
func newConn(sock *engine.Conn, pool *sync.Pool) *Conn { return &Conn{sock: sock, pool: pool} }

func (c *Conn) handshake() error {
	c.shaking = true
	err := c.tls.Handshake()
	c.shaking = false
	if err != nil {
		c.tryFlush() // The alert.
		if c.refused != nil {
			err, c.refused = c.refused, nil
		}
		return err
	}
	c.open = true
	return c.flush()
}

// Read reads plaintext, waiting for at least one byte. It returns io.EOF when
// the peer has sent close_notify, or has closed between two records.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.peeked {
		p[0], c.peeked = c.ahead, false
		n := 1
		if len(p) > 1 && c.held != nothing {
			// An error comes again with the next read.
			more, _ := c.tryRead(p[1:])
			n += more
		}
		return n, nil
	}
	n, err := c.read(p)
	if n > 0 {
		return n, nil // An error comes again.
	}
	if c.refused != nil && errors.Is(err, errAgain) {
		err, c.refused = c.refused, nil
	}
	return 0, err
}

// read is tls.Conn's, with a note of whether anything is left above the socket.
func (c *Conn) read(p []byte) (int, error) {
	c.frames.done = 0
	n, err := c.tls.Read(p)
	// A read returns plaintext of one record; what it leaves shows by its filling p.
	one := c.held == nothing && c.frames.done == 1 || c.held == oneRecord && c.frames.done == 0
	switch {
	case errors.Is(err, errAgain):
		c.held = nothing
	case !one || err != nil:
		c.held = something
	case n < len(p):
		c.held = nothing
	default:
		c.held = oneRecord
	}
	return n, err
}

// tryRead reads without waiting: 0 and no error if there is nothing.
func (c *Conn) tryRead(p []byte) (int, error) {
	c.poll = true
	n, err := c.read(p)
	c.poll = false
	if errors.Is(err, errAgain) {
		err = nil
	}
	return n, err
}

// Ready reports whether a read would return without waiting: with plaintext, the
// end or an error. What arrived for the TLS layer itself, such as a session
// ticket, is dealt with and does not count.
func (c *Conn) Ready() bool {
	if c.peeked || c.closed {
		return true
	}
	if c.held == nothing && !c.sock.Ready() {
		return false
	}
	var b [1]byte
	n, err := c.tryRead(b[:])
	if n == 1 {
		c.ahead, c.peeked = b[0], true
	}
	return n == 1 || err != nil
}

// Write writes all of p, in records as large as they may be, and returns when the
// socket has taken them.
func (c *Conn) Write(p []byte) (int, error) {
	done := 0
	for {
		q := p[done:]
		if len(q) > maxBatch {
			q = q[:maxBatch]
		}
		if err := c.batch(q, nil); err != nil {
			return done, err
		}
		done += len(q)
		if done == len(p) {
			return done, nil
		}
	}
}

// Write2 writes a and then b. What fits in one record is one.
func (c *Conn) Write2(a, b []byte) error {
	if len(a) == 0 || len(b) == 0 || len(a) >= maxRecord {
		if _, err := c.Write(a); err != nil {
			return err
		}
		_, err := c.Write(b)
		return err
	}
	buf := c.sock.Loop().Buffer()
	n := copy(buf[:maxRecord], a)
	k := copy(buf[n:maxRecord], b)
	first, b := buf[:n+k], b[k:]
	rest := b
	if len(rest) > maxBatch-maxRecord {
		rest = rest[:maxBatch-maxRecord]
	}
	err := c.encrypt(first, rest)
	c.sock.Loop().PutBuffer(buf)
	if err == nil {
		err = c.flush()
	}
	if err != nil || len(b) == len(rest) {
		return err
	}
	_, err = c.Write(b[len(rest):])
	return err
}

// batch encrypts a and b and sends them in as few system calls as the socket
// allows.
func (c *Conn) batch(a, b []byte) error {
	if err := c.encrypt(a, b); err != nil {
		return err
	}
	return c.flush()
}

func (c *Conn) encrypt(a, b []byte) error {
	c.together, c.ended = len(a)+len(b) > maxRecord, false
	_, err := c.tls.Write(a)
	if err == nil && len(b) > 0 {
		_, err = c.tls.Write(b)
	}
	c.together = false
	return err
}

// flush sends what is in out and waits for it. Another task that is at it already
// sends that too.
func (c *Conn) flush() error {
	for len(c.out) > 0 && !c.flushing {
		b := c.out
		c.out, c.flushing = nil, true
		n, err := c.sock.Write(b)
		c.flushing = false
		if err != nil {
			// Nothing of a stream of records may be left out, should there be more to send.
			c.out = append(b[:copy(b, b[n:])], c.out...)
			return err
		}
		c.recycle(b)
	}
	return nil
}

// tryFlush sends what the socket takes now.
func (c *Conn) tryFlush() {
	if len(c.out) == 0 || c.flushing {
		return
	}
	// An error shows again to who reads or writes next.
	n, _ := c.sock.TryWrite(c.out)
	if n < len(c.out) {
		c.out = c.out[:copy(c.out, c.out[n:])]
		return
	}
	c.recycle(c.out)
	c.out = nil
}

func (c *Conn) recycle(b []byte) {
	if cap(b) <= keepBuffer {
		b = b[:0]
		c.pool.Put(&b)
	}
}

// CloseWrite sends close_notify and the end of the stream.
func (c *Conn) CloseWrite() error {
	err := c.notify()
	if len(c.out) > 0 || c.flushing {
		return err // The socket is full; its end comes with Close.
	}
	return errors.Join(err, c.sock.CloseWrite())
}

func (c *Conn) notify() error {
	if c.shut || !c.open {
		return nil
	}
	c.shut, c.ending = true, true
	err := c.tls.CloseWrite()
	c.tryFlush()
	c.ending = false
	return err
}

// Close sends close_notify, if the socket takes it at once, and closes. A peer that
// has ended its stream without one, and was sent nothing since, gets none either: it
// has most likely closed, and would answer with a reset (nginx does the same).
func (c *Conn) Close() {
	if c.closed {
		return
	}
	c.closed = true
	if !c.ended {
		// A peer that has gone is not told.
		_ = c.notify()
	}
	c.out = nil
	c.sock.Close()
}

// Read reads from the socket for the TLS layer.
func (w *wire) Read(p []byte) (int, error) {
	c := (*Conn)(w)
	var n int
	var err error
	switch {
	case c.poll:
		n, err = c.sock.TryRead(p)
		if n == 0 && err == nil {
			return 0, errAgain
		}
	default:
		if c.shaking {
			err = c.flush()
		} else {
			c.tryFlush()
		}
		if err == nil {
			n, err = c.sock.Read(p)
		}
	}
	c.frames.take(p[:n])
	if err == io.EOF {
		c.ended = true
	}
	if interrupted, ok := errors.AsType[*engine.Interrupted](err); ok {
		c.refused = interrupted
		return n, errAgain
	}
	return n, err
}

// Write takes records from the TLS layer; it never waits.
func (w *wire) Write(p []byte) (int, error) {
	c := (*Conn)(w)
	if c.shaking && c.session == nil {
		c.session = sessionID(p)
	}
	rest := p
	if len(c.out) == 0 && !c.together && !c.flushing {
		try := c.sock.TryWrite
		if c.ending {
			try = c.sock.TryWriteLast
		}
		n, err := try(p)
		if err != nil {
			return n, err
		}
		if rest = p[n:]; len(rest) == 0 {
			return len(p), nil
		}
	}
	if c.out == nil {
		if b, ok := c.pool.Get().(*[]byte); ok {
			c.out = *b
		}
	}
	c.out = append(c.out, rest...)
	return len(p), nil
}

// Close does nothing: the socket is closed by its owner.
func (w *wire) Close() error { return nil }

// LocalAddr returns the socket's own address.
func (w *wire) LocalAddr() net.Addr { return addr(w.sock.LocalAddr().String()) }

// RemoteAddr returns the peer's address, under which sessions without a server
// name are kept.
func (w *wire) RemoteAddr() net.Addr { return addr(w.sock.RemoteAddr().String()) }

// SetDeadline does nothing: waits end by interrupts.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// again tells the TLS layer that a read may be tried again: any other error it
// would return for ever.
type again struct{}

var errAgain net.Error = again{}

func (again) Error() string   { return "nothing to read yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// framing counts the records that have arrived in full (RFC 8446 §5.1: a header of
// type, version and length).
type framing struct {
	left int   // bytes of the present record to come
	head uint8 // bytes of the present header seen
	high byte  // of the length
	done int
}

func (f *framing) take(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, len(p))
			p = p[n:]
			if f.left -= n; f.left == 0 {
				f.done++
			}
			continue
		}
		switch f.head {
		case 3:
			f.high = p[0]
		case 4:
			f.left, f.head = int(f.high)<<8|int(p[0]), 0
			p = p[1:]
			if f.left == 0 {
				f.done++
			}
			continue
		}
		f.head++
		p = p[1:]
	}
}

// sessionID finds the session ID in a record with a ServerHello at its beginning;
// nil if p is something else or has none.
func sessionID(p []byte) []byte {
	const at = 5 + 4 + 2 + 32 // headers of record and message, version, random (RFC 5246 §7.4.1.3)
	if len(p) <= at || p[0] != 22 || p[5] != 2 {
		return nil
	}
	n := int(p[at])
	if n == 0 || n > 32 || len(p) < at+1+n {
		return nil
	}
	return append([]byte(nil), p[at+1:at+1+n]...)
}
