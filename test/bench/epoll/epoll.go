// SPDX-License-Identifier: Apache-2.0

// Package epoll is the few system calls that the benchmark's backend and load generator are made of: one epoll
// instance, non-blocking TCP and UDP sockets, and a wait with nanosecond timeouts.
//
// Every call is a RawSyscall: the Go scheduler is not told, so a call costs what it costs in C. The price is that a
// wait holds its processor (P) until it returns. That is right for a process that does nothing else, as the
// benchmark's children do; inside a test the runtime's preemption signal interrupts the wait, which then returns as if
// nothing had happened. It is no base for a product.
package epoll

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Events of interest and of report, as epoll_ctl(2) names them.
const (
	In  = unix.EPOLLIN
	Out = unix.EPOLLOUT
)

// An Event is one readiness report: Events is a bit set, Fd the descriptor it was registered under.
type Event = syscall.EpollEvent

// A Poller is one epoll instance, level-triggered. It is used by one goroutine.
type Poller struct {
	fd int
}

// New opens an epoll instance.
func New() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll instance: %w", err)
	}
	return &Poller{fd: fd}, nil
}

// Close closes the instance. The descriptors registered with it stay open.
func (p *Poller) Close() error { return unix.Close(p.fd) }

// Add registers fd for the given events.
func (p *Poller) Add(fd int, events uint32) error { return p.ctl(unix.EPOLL_CTL_ADD, fd, events) }

// Change replaces the events that fd is registered for.
func (p *Poller) Change(fd int, events uint32) error { return p.ctl(unix.EPOLL_CTL_MOD, fd, events) }

func (p *Poller) ctl(op, fd int, events uint32) error {
	ev := Event{Events: events, Fd: int32(fd)}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("epoll_ctl on descriptor %d: %w", fd, errno)
	}
	return nil
}

// Wait fills events with what is ready and returns how many there are; it waits no longer than timeout, and for ever
// if timeout is negative. An interrupted wait is an empty batch. It needs Linux 5.11 (epoll_pwait2), whose timeout is
// exact to the timer slack of the thread.
func (p *Poller) Wait(events []Event, timeout time.Duration) (int, error) {
	var ts *unix.Timespec
	var t unix.Timespec
	if timeout >= 0 {
		t = unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(ts)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("epoll_pwait2: %w", errno)
}

// Read reads what is there into b. It returns EAGAIN when nothing is, and 0 with no error at the end of the stream.
func Read(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

// Send writes b without raising SIGPIPE and returns how much the kernel took.
func Send(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])),
		uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// Discard takes up to len(scratch) bytes off the socket without copying them: tcp(7) says that MSG_TRUNC on a stream
// socket discards. Scratch is only an address that the kernel checks and never writes.
func Discard(fd int, scratch []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&scratch[0])),
		uintptr(len(scratch)), syscall.MSG_TRUNC, 0, 0)
	return int(n), errno
}

// Echo sends one datagram back to where it came from; EAGAIN when none waits. What the kernel will not send is lost.
func Echo(fd int, scratch []byte) syscall.Errno {
	var from syscall.RawSockaddrAny
	size := uint32(unsafe.Sizeof(from))
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&scratch[0])),
		uintptr(len(scratch)), 0, uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return errno
	}
	syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&scratch[0])), n,
		syscall.MSG_DONTWAIT, uintptr(unsafe.Pointer(&from)), uintptr(size))
	return 0
}

// ListenPacket opens a non-blocking IPv4 UDP socket.
func ListenPacket(addr netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open datagram socket: %w", err)
	}
	if err := unix.Bind(fd, sockaddr(addr)); err != nil {
		CloseFd(fd)
		return 0, fmt.Errorf("bind datagram socket to %s: %w", addr, err)
	}
	return fd, nil
}

// CloseFd closes a descriptor; it thereby leaves its Poller.
func CloseFd(fd int) {
	// Close releases the descriptor whatever it returns, so there is nothing to do about an error.
	syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0)
}

// Listen opens a non-blocking IPv4 TCP listener and returns its descriptor and the address it got.
func Listen(addr netip.AddrPort) (int, netip.AddrPort, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, netip.AddrPort{}, fmt.Errorf("open listening socket: %w", err)
	}
	got, err := listen(fd, addr)
	if err != nil {
		CloseFd(fd)
		return 0, netip.AddrPort{}, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return fd, got, nil
}

func listen(fd int, addr netip.AddrPort) (netip.AddrPort, error) {
	if !addr.Addr().Is4() {
		return netip.AddrPort{}, fmt.Errorf("not an IPv4 address")
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return netip.AddrPort{}, err
	}
	if err := unix.Bind(fd, sockaddr(addr)); err != nil {
		return netip.AddrPort{}, err
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return netip.AddrPort{}, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	in, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("the kernel reports an address of another family")
	}
	return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)), nil
}

// Accept takes one waiting connection off a listener, non-blocking and with TCP_NODELAY; EAGAIN when none waits.
func Accept(lfd int) (int, syscall.Errno) {
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(lfd), 0, 0,
		syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	// A socket that is already gone refuses the option; its first read will say so.
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return int(fd), 0
}

// Dial connects to addr over IPv4, from source if that is valid, and returns a non-blocking descriptor with
// TCP_NODELAY. It waits for the handshake.
func Dial(addr netip.AddrPort, source netip.Addr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	if err := connect(fd, addr, source); err != nil {
		CloseFd(fd)
		return 0, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return fd, nil
}

func connect(fd int, addr netip.AddrPort, source netip.Addr) error {
	if source.IsValid() {
		// The port is chosen at connect time, per destination, so that sources do not run out of ports.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
			return fmt.Errorf("bind to %s: %w", source, err)
		}
	}
	for {
		err := unix.Connect(fd, sockaddr(addr))
		if err == nil || err == unix.EISCONN {
			break
		}
		if err != unix.EINTR && err != unix.EALREADY {
			return err
		}
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	return unix.SetNonblock(fd, true)
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}
