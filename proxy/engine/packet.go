// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"weir.dev/weir/proxy/address"
)

// A Datagram is one UDP datagram that was received. It and its Data are valid
// while it is handled; Data may also be handed to [PacketSocket.Send] then.
type Datagram struct {
	Data []byte
	// Remote is who sent it; the zero value on a connected socket.
	Remote netip.AddrPort
	// Local is the address that it was sent to: that of the socket, or on a
	// wildcard or transparent socket what the datagram itself says.
	Local netip.AddrPort
}

// A PacketHandler takes what a datagram socket receives. Its methods run on the
// loop, not on a task, and must not block.
type PacketHandler interface {
	Receive(s *PacketSocket, d *Datagram)
	// ReceiveFailed tells of an error of the socket: that an earlier datagram
	// met a closed port (ECONNREFUSED) and the like. The socket goes on.
	ReceiveFailed(s *PacketSocket, err error)
	// Dropped tells of datagrams that are lost because they are too large or
	// because the kernel's queue was full.
	Dropped(s *PacketSocket, n uint64)
}

// PacketOptions say how a datagram socket is read.
type PacketOptions struct {
	// MaxSize is the largest datagram taken, in bytes; larger ones are dropped.
	// 0 is 1500.
	MaxSize int
	// GRO takes several datagrams of one sender at once where the kernel can
	// (UDP_GRO); each is handled by itself all the same.
	GRO bool
}

// MaxDatagram is the largest size of a datagram in bytes.
const MaxDatagram = 65535

// DefaultDatagram is the default of PacketOptions.MaxSize.
const DefaultDatagram = 1500

// A PacketSocket is one UDP socket of one loop. Its methods belong to that loop.
type PacketSocket struct {
	loop    *Loop
	fd      int // -1 once closed
	handler PacketHandler
	limit   int  // largest datagram taken
	slot    int  // bytes to read a message into
	gso     bool // several datagrams may be sent as one message
	v6      bool
	peer    bool // connected to a peer
	foreign bool // the kernel tells and is told the local address of each datagram
	again   bool // queued to be read on
	muted   bool // not read any more
	local   netip.AddrPort
	lost    uint32 // the kernel's count of datagrams dropped
	// failures counts the reads in a row that failed.
	failures int
}

// ListenPacket opens a UDP socket for datagrams of any sender, which no loop
// has yet. Of the options the TCP ones are not used.
func ListenPacket(addr address.Addr, o *ListenOptions) (int, error) {
	sa, family := toSockaddr(addr)
	if sa == nil || family == unix.AF_UNIX {
		return -1, fmt.Errorf("listen on %q: not an IP address", addr)
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", err)
	}
	if err := prepareListenPacket(fd, family, sa, addr, o); err != nil {
		closeFD(fd)
		return -1, fmt.Errorf("listen on udp %s: %w", addr, err)
	}
	return fd, nil
}

func prepareListenPacket(fd, family int, sa unix.Sockaddr, addr address.Addr, o *ListenOptions) error {
	for _, opt := range o.socketOptions(family) {
		// With SO_REUSEADDR any second socket could take the address over.
		if opt.Level == unix.SOL_SOCKET && opt.Name == unix.SO_REUSEADDR && opt.Bytes == nil {
			continue
		}
		if opt.Level == unix.SOL_TCP {
			continue
		}
		if err := opt.apply(fd); err != nil {
			return err
		}
	}
	if addr.Addr().IsUnspecified() || o.Transparent {
		level, name := unix.SOL_IP, unix.IP_PKTINFO
		if family == unix.AF_INET6 {
			level, name = unix.SOL_IPV6, unix.IPV6_RECVPKTINFO
		}
		if err := unix.SetsockoptInt(fd, level, name, 1); err != nil {
			return fmt.Errorf("ask for destination addresses: %w", err)
		}
	}
	// Without it, overflows of the queue are not counted; nothing else is lost.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	if err := unix.Bind(fd, sa); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// AddPacketSocket gives a socket made by ListenPacket to the loop, which owns it
// from now on, also if that fails.
func (l *Loop) AddPacketSocket(fd int, o PacketOptions, h PacketHandler) (*PacketSocket, error) {
	s := newPacketSocket(l, fd, o, h)
	sa, err := unix.Getsockname(fd)
	if err != nil {
		closeFD(fd)
		return nil, err
	}
	_, s.v6 = sa.(*unix.SockaddrInet6)
	s.local = fromSockaddr(sa).AddrPort()
	level, name := unix.SOL_IP, unix.IP_PKTINFO
	if s.v6 {
		level, name = unix.SOL_IPV6, unix.IPV6_RECVPKTINFO
	}
	told, err := unix.GetsockoptInt(fd, level, name)
	s.foreign = err == nil && told != 0
	return s.start()
}

// DialPacket opens a UDP socket that sends to addr and takes datagrams from
// there only. With loose set it is not connected: Send names the peer and may
// name the source, and datagrams of anybody come in.
func (l *Loop) DialPacket(addr address.Addr, o *DialOptions, loose bool, p PacketOptions, h PacketHandler) (*PacketSocket, error) {
	sa, family := toSockaddr(addr)
	if sa == nil || family == unix.AF_UNIX {
		return nil, fmt.Errorf("dial udp %q: not an IP address", addr)
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	if err := prepareDialPacket(fd, sa, o, loose); err != nil {
		closeFD(fd)
		return nil, fmt.Errorf("dial udp %s: %w", addr, err)
	}
	s := newPacketSocket(l, fd, p, h)
	s.v6, s.peer, s.foreign = family == unix.AF_INET6, !loose, loose
	return s.start()
}

func prepareDialPacket(fd int, sa unix.Sockaddr, o *DialOptions, loose bool) error {
	if err := o.bind(fd); err != nil || loose {
		return err
	}
	return unix.Connect(fd, sa)
}

func newPacketSocket(l *Loop, fd int, o PacketOptions, h PacketHandler) *PacketSocket {
	s := &PacketSocket{loop: l, fd: fd, handler: h, limit: o.MaxSize, gso: true}
	if s.limit <= 0 {
		s.limit = DefaultDatagram
	}
	s.limit = min(s.limit, MaxDatagram)
	s.slot = s.limit
	// A kernel without GRO hands out the datagrams one by one.
	if o.GRO && unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil {
		s.slot = MaxDatagram
	}
	return s
}

func (s *PacketSocket) start() (*PacketSocket, error) {
	if err := s.loop.register(s.fd, source{packet: s}, packetMask); err != nil {
		closeFD(s.fd)
		return nil, err
	}
	return s, nil
}

// packetMask asks for no writability: what the kernel does not take at once is
// lost, as the network might lose it.
const packetMask = epollIn | unix.EPOLLET

// Loop returns the socket's loop.
func (s *PacketSocket) Loop() *Loop { return s.loop }

// FD returns the descriptor, for socket options; -1 once closed.
func (s *PacketSocket) FD() int { return s.fd }

// LocalAddr returns the address that the socket is bound to; for a socket that
// was dialled, the one it sends from once it has sent.
func (s *PacketSocket) LocalAddr() address.Addr {
	if s.local.IsValid() || s.fd < 0 {
		return address.IP(s.local)
	}
	a, err := SocketAddr(s.fd)
	if err != nil {
		return address.Addr{}
	}
	return a
}

// Mute takes what is queued and then receives nothing more: the kernel gives
// what comes to other sockets of the address, or tells the senders that the port
// is closed. Sending goes on. Where that cannot be had, the socket is closed. Not
// to be called while a datagram is handled.
func (s *PacketSocket) Mute() {
	if s.fd < 0 || s.muted {
		return
	}
	// A connected socket is found by its peer's datagrams only, and a group that
	// shares the address (SO_REUSEPORT) leaves it out. Nobody sends from port 9.
	ip := s.local.Addr()
	switch {
	case !ip.IsUnspecified():
	case s.v6:
		ip = netip.IPv6Loopback()
	default:
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	sa, _ := toSockaddr(address.IP(netip.AddrPortFrom(ip, discardPort)))
	err := unix.Connect(s.fd, sa)
	s.takeQueued()
	if err != nil {
		s.Close()
		return
	}
	s.muted = true
	if s.fd >= 0 {
		epollDel(s.loop.ep, s.fd)
		s.loop.forget(s.fd)
	}
}

const discardPort = 9

// takeQueued reads all there is, within reason.
func (s *PacketSocket) takeQueued() {
	for range 256 {
		if s.fd < 0 || !s.readBatch() {
			return
		}
	}
}

// Close closes the socket. What its peers have sent and was not read is lost.
func (s *PacketSocket) Close() {
	if s.fd < 0 {
		return
	}
	if q := s.loop.outgoing; q != nil && q.sock == s {
		q.flush()
	}
	if s.fd < 0 {
		return // Whoever was told of a failure closed it.
	}
	if !s.muted {
		s.loop.forget(s.fd)
	}
	closeFD(s.fd)
	s.fd = -1
}

// maxBatches bounds the batches that a socket is read for before others have
// their turn.
const maxBatches = 4

// event reads what there is, or a fair share of it.
func (s *PacketSocket) event() {
	if s.again {
		return // It has its turn anyway.
	}
	for range maxBatches {
		if s.fd < 0 || !s.readBatch() {
			return
		}
	}
	if s.fd >= 0 {
		s.again = true
		s.loop.unread = append(s.loop.unread, s)
	}
}

// readOn gives the sockets with more to read another turn.
func (l *Loop) readOn() {
	q := l.unread
	l.unread = l.unreadSpare[:0]
	for i, s := range q {
		q[i] = nil
		s.again = false
		if s.fd >= 0 && !s.muted {
			s.event()
		}
	}
	l.unreadSpare = q[:0]
}

// readBatch reads once and reports whether there may be more.
func (s *PacketSocket) readBatch() bool {
	l := s.loop
	b := l.incoming
	if b == nil {
		b = newPacketBatch()
		l.incoming = b
	}
	n, e := b.receive(s)
	switch e {
	case 0:
	case unix.EAGAIN:
		s.failures = 0
		return false
	case unix.EINTR:
		return true
	default:
		s.handler.ReceiveFailed(s, e)
		// The error is taken, and datagrams may stand behind it. One that does not go
		// away must not keep the loop busy.
		s.failures++
		return s.failures < maxBatches
	}
	s.failures = 0
	full := n == b.slots
	l.receiving = true
	for i := 0; i < n && s.fd >= 0; i++ {
		b.deliver(s, i)
	}
	l.receiving = false
	if q := l.outgoing; q != nil {
		q.flush()
	}
	return full
}

// Transparent is the option to send from addresses that are not the host's own.
// It needs CAP_NET_ADMIN.
func Transparent(v6 bool) SocketOption {
	if v6 {
		return SocketOption{Level: unix.SOL_IPV6, Name: unix.IPV6_TRANSPARENT, Int: 1}
	}
	return SocketOption{Level: unix.SOL_IP, Name: unix.IP_TRANSPARENT, Int: 1}
}

// CheckTransparent returns why Transparent cannot be used here, or nil.
func CheckTransparent() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer closeFD(fd)
	return Transparent(false).apply(fd)
}

func sysRecvmmsg(fd int, h *mmsghdr, n int) (int, syscall.Errno) {
	r, _, e := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(h)), uintptr(n), 0, 0, 0)
	return int(r), e
}

func sysSendmmsg(fd int, h *mmsghdr, n int) (int, syscall.Errno) {
	r, _, e := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(h)), uintptr(n), unix.MSG_NOSIGNAL, 0, 0)
	return int(r), e
}

func sysSendmsg(fd int, h *unix.Msghdr) syscall.Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(h)), unix.MSG_NOSIGNAL)
	return e
}
