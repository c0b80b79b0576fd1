// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weir.dev/weir/proxy/address"
)

// An Acceptor takes new connections.
type Acceptor interface {
	// Accept runs on the loop, not on a task. It owns the connection.
	Accept(c *Conn, remote address.Addr)
	// AcceptFailed tells that no connection could be taken; the listener
	// pauses for a moment if the process has no descriptors left.
	AcceptFailed(err error)
}

// A Listener is one listening socket on one loop.
type Listener struct {
	loop     *Loop
	fd       int
	acceptor Acceptor
	retry    Timer
	paused   bool
}

// Listen gives a listening socket to the loop, which owns it from now on.
func (l *Loop) Listen(fd int, a Acceptor) (*Listener, error) {
	ln := &Listener{loop: l, fd: fd, acceptor: a}
	ln.retry.Init(l, ln.resume)
	if err := l.register(fd, source{listener: ln}, listenMask); err != nil {
		return nil, err
	}
	return ln, nil
}

// maxAccepts bounds the connections taken before others have their turn; the
// rest raise the next event.
const maxAccepts = 64

func (ln *Listener) accept() {
	for range maxAccepts {
		fd, remote, e := accept(ln.fd)
		switch e {
		case 0:
			ln.take(fd, remote)
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			ln.acceptor.AcceptFailed(e)
			ln.pause()
			return
		default:
			ln.acceptor.AcceptFailed(e)
			return
		}
		if ln.fd < 0 {
			return
		}
	}
}

func (ln *Listener) take(fd int, remote address.Addr) {
	c, err := ln.loop.NewConn(fd, false)
	if err != nil {
		ln.acceptor.AcceptFailed(err)
		return
	}
	ln.acceptor.Accept(c, remote)
}

// pause keeps the loop from spinning on a backlog that it cannot accept.
func (ln *Listener) pause() {
	if !ln.paused && ln.fd >= 0 {
		ln.paused = true
		epollDel(ln.loop.ep, ln.fd)
		ln.loop.forget(ln.fd)
		ln.retry.Set(int64(100 * time.Millisecond))
	}
}

func (ln *Listener) resume() {
	if ln.paused && ln.fd >= 0 {
		ln.paused = false
		if err := ln.loop.register(ln.fd, source{listener: ln}, listenMask); err != nil {
			ln.acceptor.AcceptFailed(err)
		}
	}
}

// SetAccepting stops taking connections, which then wait in the kernel's
// queue, or goes on.
func (ln *Listener) SetAccepting(on bool) {
	if on {
		ln.retry.Stop()
		ln.resume()
		return
	}
	ln.pause()
	ln.retry.Stop()
}

// Close closes the socket. Connections in the kernel's queue that have not been
// accepted are taken first, so that none is lost.
func (ln *Listener) Close() {
	if ln.fd < 0 {
		return
	}
	if !ln.loop.closing {
		ln.drainQueue()
	}
	ln.retry.Release()
	if !ln.paused {
		ln.loop.forget(ln.fd)
	}
	closeFD(ln.fd)
	ln.fd = -1
}

func (ln *Listener) drainQueue() {
	for range 4096 {
		fd, remote, e := accept(ln.fd)
		if e != 0 {
			return
		}
		ln.take(fd, remote)
	}
}

func accept(lfd int) (int, address.Addr, syscall.Errno) {
	var sa unix.RawSockaddrAny
	n := uint32(unix.SizeofSockaddrAny)
	fd, _, e := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(lfd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&n)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return -1, address.Addr{}, e
	}
	return int(fd), fromRaw(&sa), 0
}

func fromRaw(sa *unix.RawSockaddrAny) address.Addr {
	switch sa.Addr.Family {
	case unix.AF_INET:
		p := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return address.IP(netip.AddrPortFrom(netip.AddrFrom4(p.Addr), swap(p.Port)))
	case unix.AF_INET6:
		p := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return address.IP(netip.AddrPortFrom(netip.AddrFrom16(p.Addr), swap(p.Port)))
	}
	return address.Unix("@") // A Unix socket's peer has no name of its own.
}

// swap reads a port from network byte order.
func swap(p uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], p)
	return binary.BigEndian.Uint16(b[:])
}
