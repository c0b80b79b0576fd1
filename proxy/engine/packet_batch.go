// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

const (
	// maxSlots is how many messages are read at a time.
	maxSlots = 32
	// arenaSize bounds the memory that they are read into: large ones are read
	// fewer at a time.
	arenaSize = 1 << 20
	// controlWords holds every control message that is asked for, in 8 bytes each.
	controlWords = 12
)

// packetBatch is what a loop reads datagrams into: one for all its sockets, since
// datagrams are handled before the next are read.
type packetBatch struct {
	arena []byte
	slot  int // bytes of each message, as the headers are set up now
	slots int
	hdrs  [maxSlots]mmsghdr
	iovs  [maxSlots]unix.Iovec
	names [maxSlots]unix.RawSockaddrInet6
	ctrl  [maxSlots][controlWords]uint64
	d     Datagram
}

func newPacketBatch() *packetBatch {
	b := &packetBatch{arena: make([]byte, arenaSize)}
	for i := range b.hdrs {
		h := &b.hdrs[i].hdr
		h.Iov, h.Iovlen = &b.iovs[i], 1
		b.reset(i)
	}
	return b
}

// reset makes a header ready to be read into again.
func (b *packetBatch) reset(i int) {
	h := &b.hdrs[i].hdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.names[i])), uint32(unsafe.Sizeof(b.names[i]))
	h.Control, h.Controllen = (*byte)(unsafe.Pointer(&b.ctrl[i])), controlWords*8
	h.Flags = 0
}

// resize divides the arena anew.
func (b *packetBatch) resize(slot int) {
	stride := (slot + 63) &^ 63
	b.slot, b.slots = slot, min(maxSlots, len(b.arena)/stride)
	for i := range b.slots {
		b.iovs[i].Base = &b.arena[i*stride]
		b.iovs[i].Len = uint64(slot)
	}
}

// receive reads messages of a socket and returns how many.
func (b *packetBatch) receive(s *PacketSocket) (int, syscall.Errno) {
	if b.slot != s.slot {
		b.resize(s.slot)
	}
	n, e := sysRecvmmsg(s.fd, &b.hdrs[0], b.slots)
	if e != 0 {
		return 0, e
	}
	return n, 0
}

// deliver hands the datagrams of a message to the socket's handler.
func (b *packetBatch) deliver(s *PacketSocket, i int) {
	m := &b.hdrs[i]
	stride := (b.slot + 63) &^ 63
	data := b.arena[i*stride:][:m.n]
	truncated := m.hdr.Flags&unix.MSG_TRUNC != 0
	b.d.Remote, b.d.Local = netip.AddrPort{}, s.local
	if !s.peer && m.hdr.Namelen > 0 {
		b.d.Remote = fromName(&b.names[i])
	}
	segment, lost := 0, s.lost
	if m.hdr.Controllen > 0 {
		segment, lost = b.control(s, i, int(m.hdr.Controllen))
	}
	b.reset(i)
	if lost != s.lost {
		s.handler.Dropped(s, uint64(lost-s.lost))
		s.lost = lost
	}
	if truncated {
		s.handler.Dropped(s, 1)
		return
	}
	if segment == 0 || segment > len(data) {
		segment = max(len(data), 1)
	}
	for {
		b.d.Data = data[:min(segment, len(data)):min(segment, len(data))]
		if len(b.d.Data) > s.limit {
			s.handler.Dropped(s, 1)
		} else {
			s.handler.Receive(s, &b.d)
		}
		if data = data[len(b.d.Data):]; len(data) == 0 || s.fd < 0 {
			return
		}
	}
}

// control reads a message's control messages: the address it was sent to, the
// size of the datagrams it is made of (0 if it is one), and the kernel's count of
// datagrams dropped.
func (b *packetBatch) control(s *PacketSocket, i, size int) (segment int, lost uint32) {
	lost = s.lost
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&b.ctrl[i])), controlWords*8)
	size = min(size, len(buf))
	for at := 0; at+unix.SizeofCmsghdr <= size; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&buf[at]))
		end := at + int(h.Len)
		if int(h.Len) < unix.SizeofCmsghdr || end > size {
			return segment, lost
		}
		p := unsafe.Pointer(uintptr(unsafe.Pointer(h)) + unix.SizeofCmsghdr)
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO:
			b.d.Local = netip.AddrPortFrom(localV4((*unix.Inet4Pktinfo)(p)), s.local.Port())
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO:
			info := (*unix.Inet6Pktinfo)(p)
			b.d.Local = netip.AddrPortFrom(netip.AddrFrom16(info.Addr).Unmap(), s.local.Port())
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO:
			segment = int(*(*int32)(p))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL:
			lost = *(*uint32)(p)
		}
		at += (int(h.Len) + 7) &^ 7
	}
	return segment, lost
}

// localV4 is the destination of a datagram, or the local address to answer from
// if it was sent to several hosts.
func localV4(p *unix.Inet4Pktinfo) netip.Addr {
	a := netip.AddrFrom4(p.Addr)
	if a.IsMulticast() || p.Addr == [4]byte{255, 255, 255, 255} {
		a = netip.AddrFrom4(p.Spec_dst)
	}
	return a
}

// fromName reads a sender's address; one that is local to a link has its
// interface's number as its zone.
func fromName(n *unix.RawSockaddrInet6) netip.AddrPort {
	if n.Family == unix.AF_INET {
		p := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		return netip.AddrPortFrom(netip.AddrFrom4(p.Addr), swap(p.Port))
	}
	a := netip.AddrFrom16(n.Addr).Unmap()
	if n.Scope_id != 0 && a.Is6() {
		a = a.WithZone(strconv.FormatUint(uint64(n.Scope_id), 10))
	}
	return netip.AddrPortFrom(a, swap(n.Port))
}
