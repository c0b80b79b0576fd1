// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"weir.dev/weir/proxy/address"
)

// An Idler is told when an idle connection can be read, or has gone.
type Idler interface {
	// Ready runs on the loop, not on a task: it starts one, or closes. The
	// connection is no longer idle when it is called.
	Ready(c *Conn)
}

// A Conn is one stream socket of one loop. Its methods belong to that loop. At
// any time one task may read and one may write.
type Conn struct {
	loop *Loop
	fd   int32 // -1 once closed

	readable, writable bool // the last edges not yet used up
	hup                bool // the peer sends no more
	gone               bool // the peer has closed altogether, or reset

	reader, writer *Task
	watcher        Watcher
	idler          Idler
	err            error // set by abort

	// Received and Sent count the bytes that crossed the socket.
	Received, Sent uint64
}

// NewConn gives a connected non-blocking stream socket to the loop, which owns
// it from now on. fresh tells that nothing could have been sent yet, so that
// the first write waits for the socket to be connected.
func (l *Loop) NewConn(fd int, connecting bool) (*Conn, error) {
	c := &Conn{loop: l, fd: int32(fd), writable: !connecting}
	if err := l.register(fd, source{conn: c}, edgeMask); err != nil {
		closeFD(fd)
		return nil, err
	}
	return c, nil
}

// Loop returns the connection's loop.
func (c *Conn) Loop() *Loop { return c.loop }

// FD returns the descriptor, for socket options; -1 once closed.
func (c *Conn) FD() int { return int(c.fd) }

func (c *Conn) closed() bool { return c.fd < 0 }

// Ready reports whether a read would return without waiting.
func (c *Conn) Ready() bool { return c.readable || c.err != nil || c.closed() }

// HungUp reports whether the peer has closed its side.
func (c *Conn) HungUp() bool { return c.hup || c.closed() }

// Idle leaves the connection without a task until it can be read: i is told.
// It reports false, and does nothing, if it can be read already.
func (c *Conn) Idle(i Idler) bool {
	if c.Ready() {
		return false
	}
	c.idler = i
	return true
}

// NotIdle takes back Idle.
func (c *Conn) NotIdle() { c.idler = nil }

// A Watcher is told when the peer hangs up while a task waits for something
// else.
type Watcher interface {
	// HungUp runs on the loop, not on a task. gone tells that the peer can no
	// longer be sent to; otherwise it has only said that it sends no more. It
	// is called again if more becomes known.
	HungUp(c *Conn, gone bool)
}

// Watch has w told when the peer hangs up, or at once if it has.
func (c *Conn) Watch(w Watcher) {
	c.watcher = w
	if c.hup {
		w.HungUp(c, c.gone)
	}
}

// Unwatch ends Watch.
func (c *Conn) Unwatch() { c.watcher = nil }

// Read reads what there is, waiting for at least one byte. It returns io.EOF
// when the peer has closed its side.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if err := c.awaitRead(); err != nil {
			return 0, err
		}
		n, e := recv(int(c.fd), p)
		switch {
		case e == 0 && n > 0:
			if n < len(p) && !c.hup {
				c.readable = false
			}
			c.Received += uint64(n)
			return n, nil
		case e == 0:
			return 0, io.EOF
		case e == unix.EAGAIN:
			c.readable = false
		case e != unix.EINTR:
			return 0, e
		}
	}
}

// TryRead reads what there is without waiting, and may be called off tasks too: 0
// and no error mean that there is nothing now, io.EOF that the peer has closed its
// side.
func (c *Conn) TryRead(p []byte) (int, error) {
	if err := c.failed(); err != nil {
		return 0, err
	}
	if t := c.loop.cur; t != nil && c.readable {
		t.spend()
	}
	for c.readable && len(p) > 0 {
		if err := c.failed(); err != nil {
			return 0, err
		}
		n, e := recv(int(c.fd), p)
		switch {
		case e == 0 && n > 0:
			if n < len(p) && !c.hup {
				c.readable = false
			}
			c.Received += uint64(n)
			return n, nil
		case e == 0:
			return 0, io.EOF
		case e == unix.EAGAIN:
			c.readable = false
		case e != unix.EINTR:
			return 0, e
		}
	}
	return 0, c.failed()
}

// Peek reads without taking: it waits until at least have+1 bytes are there.
func (c *Conn) Peek(p []byte, have int) (int, error) {
	for {
		if err := c.awaitRead(); err != nil {
			return 0, err
		}
		n, e := peek(int(c.fd), p)
		switch {
		case e == 0 && n > have:
			return n, nil
		case e == 0 && (n == 0 || c.hup):
			return n, io.EOF
		case e == 0, e == unix.EAGAIN:
			if err := c.AwaitMore(); err != nil {
				return 0, err
			}
		case e != unix.EINTR:
			return 0, e
		}
	}
}

// PeekNow reads what is there, at most len(p), without taking it and without
// waiting; 0 is nothing yet. With io.EOF nothing will follow what it returns.
func (c *Conn) PeekNow(p []byte) (int, error) {
	if err := c.failed(); err != nil {
		return 0, err
	}
	for {
		n, e := peek(int(c.fd), p)
		switch {
		case e == 0 && n > 0 && (!c.hup || n == len(p)):
			return n, nil
		case e == 0:
			return n, io.EOF
		case e == unix.EAGAIN:
			return 0, nil
		case e != unix.EINTR:
			return 0, e
		}
	}
}

// AwaitMore waits until more arrives than what a peek has just shown. If the
// wait ends otherwise, what is there can still be read.
func (c *Conn) AwaitMore() error {
	c.readable = c.hup
	err := c.awaitRead()
	if err != nil && !c.closed() {
		c.readable = true
	}
	return err
}

// AwaitRead waits until a read would not.
func (c *Conn) AwaitRead() error {
	if c.Ready() {
		return nil
	}
	return c.awaitRead()
}

func (c *Conn) awaitRead() error {
	c.loop.cur.spend()
	for !c.readable {
		if err := c.failed(); err != nil {
			return err
		}
		t := c.loop.cur
		c.reader = t
		err := t.Wait()
		c.reader = nil
		if err != nil {
			return err
		}
	}
	return c.failed()
}

func (c *Conn) failed() error {
	if c.closed() {
		return net.ErrClosed
	}
	return c.err
}

// Write writes all of p.
func (c *Conn) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		if err := c.awaitWrite(); err != nil {
			return done, err
		}
		n, e := send(int(c.fd), p[done:])
		if err := c.wrote(&n, e); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// Write2 writes all of a and then all of b, in one system call if the socket
// takes it.
func (c *Conn) Write2(a, b []byte) error {
	for len(a) > 0 && len(b) > 0 {
		if err := c.awaitWrite(); err != nil {
			return err
		}
		n, e := send2(int(c.fd), a, b)
		if err := c.wrote(&n, e); err != nil {
			return err
		}
		k := min(n, len(a))
		a, b = a[k:], b[n-k:]
	}
	if len(a) == 0 {
		a = b
	}
	_, err := c.Write(a)
	return err
}

// TryWrite writes what the socket takes now, without waiting.
func (c *Conn) TryWrite(p []byte) (int, error) {
	if err := c.failed(); err != nil {
		return 0, err
	}
	if !c.writable || len(p) == 0 {
		return 0, nil
	}
	n, e := send(int(c.fd), p)
	return n, c.wrote(&n, e)
}

// TryWriteLast is TryWrite for the last bytes of a stream: they may leave only with
// its end, in the same segment. CloseWrite or Close has to follow at once.
func (c *Conn) TryWriteLast(p []byte) (int, error) {
	if err := c.failed(); err != nil {
		return 0, err
	}
	if !c.writable || len(p) == 0 {
		return 0, nil
	}
	n, e := sendMore(int(c.fd), p)
	return n, c.wrote(&n, e)
}

// wrote judges the outcome of a send; *n becomes 0 if nothing was taken.
func (c *Conn) wrote(n *int, e syscall.Errno) error {
	switch e {
	case 0:
		c.Sent += uint64(*n)
		return nil
	case unix.EAGAIN:
		c.writable = false
	case unix.EINTR:
	default:
		*n = 0
		return e
	}
	*n = 0
	return nil
}

func (c *Conn) awaitWrite() error {
	c.loop.cur.spend()
	for !c.writable {
		if err := c.failed(); err != nil {
			return err
		}
		t := c.loop.cur
		c.writer = t
		err := t.Wait()
		c.writer = nil
		if err != nil {
			return err
		}
	}
	return c.failed()
}

// event takes what epoll told and wakes who waits for it.
func (c *Conn) event(ev uint32) {
	if ev&epollHup != 0 {
		c.hup, c.readable = true, true
		if ev&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			c.gone, c.writable = true, true
		}
		if c.watcher != nil {
			c.watcher.HungUp(c, c.gone)
		}
	}
	if ev&epollIn != 0 {
		c.readable = true
	}
	if ev&epollOut != 0 {
		c.writable = true
	}
	c.wake()
	if c.readable && c.idler != nil {
		i := c.idler
		c.idler = nil
		i.Ready(c)
	}
}

func (c *Conn) wake() {
	if c.readable && c.reader != nil {
		c.reader.Wake()
	}
	if c.writable && c.writer != nil {
		c.writer.Wake()
	}
}

// abort makes every wait on the connection return err.
func (c *Conn) abort(err error) {
	c.err = err
	c.readable, c.writable = true, true
	c.wake()
	if i := c.idler; i != nil {
		c.idler = nil
		i.Ready(c)
	}
}

// Abort makes reads and writes return err from now on; the socket stays open
// until Close.
func (c *Conn) Abort(err error) { c.abort(err) }

// CloseWrite sends the end of the stream and leaves the other direction open.
func (c *Conn) CloseWrite() error {
	if err := c.failed(); err != nil {
		return err
	}
	return unix.Shutdown(int(c.fd), unix.SHUT_WR)
}

// Close closes the socket. Tasks that wait on it get net.ErrClosed.
func (c *Conn) Close() {
	if c.closed() {
		return
	}
	c.idler = nil
	c.Unwatch()
	c.loop.forget(int(c.fd))
	closeFD(int(c.fd))
	c.fd = -1
	c.readable, c.writable = true, true
	c.wake()
}

// Reset closes the socket so that the peer sees a reset, not an end.
func (c *Conn) Reset() {
	if !c.closed() {
		linger := unix.Linger{Onoff: 1}
		// An error means the socket is not one that lingers; closing is then all there is.
		_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &linger)
		c.Close()
	}
}

// LocalAddr returns the socket's own address.
func (c *Conn) LocalAddr() address.Addr {
	sa, err := unix.Getsockname(int(c.fd))
	if err != nil {
		return address.Addr{}
	}
	return fromSockaddr(sa)
}

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() address.Addr {
	sa, err := unix.Getpeername(int(c.fd))
	if err != nil {
		return address.Addr{}
	}
	return fromSockaddr(sa)
}

// IsReset reports whether err means that the peer reset the connection.
func IsReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
