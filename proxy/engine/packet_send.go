// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A PacketSender is told what became of a datagram. Sent runs on the loop and
// must not send.
type PacketSender interface {
	// Sent tells that n bytes were handed to the kernel, or why they were not: the
	// datagram is then lost.
	Sent(n int, err error)
}

// maxQueued is how many datagrams are sent at a time.
const maxQueued = 64

// outgoing is one datagram to be sent.
type outgoing struct {
	data []byte
	to   netip.AddrPort
	from netip.Addr
	by   PacketSender
}

// packetQueue is what a loop has to send by one socket: the datagrams that were
// received together are sent together.
type packetQueue struct {
	sock    *PacketSocket
	n       int
	queue   [maxQueued]outgoing
	errs    [maxQueued]syscall.Errno
	hdrs    [maxQueued]mmsghdr
	counts  [maxQueued]int // datagrams in each message
	iovs    [maxQueued]unix.Iovec
	names   [maxQueued]unix.RawSockaddrInet6
	ctrl    [maxQueued][controlWords]uint64
	refused int // messages that an earlier datagram's error held up
}

// Send sends one datagram: to a peer if the socket has none, from a local address
// if the socket is a wildcard's and from is valid. While datagrams are being
// received it is sent with others at the end of their batch, before which p must
// not change. by is told the outcome.
func (s *PacketSocket) Send(p []byte, to netip.AddrPort, from netip.Addr, by PacketSender) {
	if s.fd < 0 {
		by.Sent(len(p), net.ErrClosed)
		return
	}
	l := s.loop
	q := l.outgoing
	if q == nil {
		q = &packetQueue{}
		l.outgoing = q
	}
	if q.n == maxQueued || q.n > 0 && q.sock != s {
		q.flush()
	}
	q.sock = s
	q.queue[q.n] = outgoing{p, to, from, by}
	q.n++
	if !l.receiving {
		q.flush()
	}
}

// flush sends the queue and tells the senders.
func (q *packetQueue) flush() {
	s, n := q.sock, q.n
	if n == 0 {
		return
	}
	clear(q.errs[:n])
	q.refused = 0
	for done := 0; done < n; {
		done = q.send(s, done, n)
	}
	q.n = 0
	for range q.refused {
		if s.fd >= 0 {
			s.handler.ReceiveFailed(s, unix.ECONNREFUSED)
		}
	}
	for i := range n {
		o := &q.queue[i]
		var err error
		if e := q.errs[i]; e != 0 {
			err = e
		}
		by, size := o.by, len(o.data)
		*o = outgoing{}
		by.Sent(size, err)
	}
}

// send sends the datagrams from the first on and returns how far it came. Those
// that failed are noted.
func (q *packetQueue) send(s *PacketSocket, first, end int) int {
	messages := 0
	for at := first; at < end; {
		k := q.build(s, messages, at, end)
		q.counts[messages] = k
		at += k
		messages++
	}
	at, retried := first, false
	for i := 0; i < messages; {
		sent, e := 1, syscall.Errno(0)
		if messages-i == 1 {
			e = sysSendmsg(s.fd, &q.hdrs[i].hdr)
		} else {
			sent, e = sysSendmmsg(s.fd, &q.hdrs[i], messages-i)
		}
		switch {
		case e == 0:
			for range sent {
				at += q.counts[i]
				i++
			}
			retried = false
		case e == unix.EINTR:
		case e == unix.ECONNREFUSED && !retried:
			// The error is that of an earlier datagram; this one has not been tried.
			q.refused++
			retried = true
		case q.counts[i] > 1:
			// The path does not take several as one: go on one by one.
			s.gso = false
			return at
		default:
			q.errs[at] = e
			at++
			i++
			retried = false
		}
	}
	return at
}

// build makes message i of the datagrams from first on, and returns how many it
// takes: several of one size to one peer make one message.
func (q *packetQueue) build(s *PacketSocket, i, first, end int) int {
	o := &q.queue[first]
	count := 1
	if s.gso {
		count = q.alike(first, end)
	}
	for j := first; j < first+count; j++ {
		v, d := &q.iovs[j], q.queue[j].data
		v.Base, v.Len = unsafe.SliceData(d), uint64(len(d))
	}
	h := &q.hdrs[i].hdr
	h.Iov, h.Iovlen = &q.iovs[first], uint64(count)
	h.Name, h.Namelen, h.Control, h.Controllen = nil, 0, nil, 0
	if o.to.IsValid() && !s.peer {
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&q.names[i])), s.name(&q.names[i], o.to)
	}
	used := 0
	if s.foreign && o.from.IsValid() {
		used = s.source(&q.ctrl[i], o.from)
	}
	if count > 1 {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&q.ctrl[i][used/8]))
		c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
		*(*uint16)(unsafe.Pointer(&q.ctrl[i][used/8+2])) = uint16(len(o.data))
		used += unix.CmsgSpace(2)
	}
	if used > 0 {
		h.Control, h.Controllen = (*byte)(unsafe.Pointer(&q.ctrl[i])), uint64(used)
	}
	return count
}

// maxSegmented bounds the bytes of a message that the kernel divides, which must
// fit an IP packet.
const maxSegmented = 65000

// alike counts the datagrams from first on that can be sent as one message: all
// of one size, but for a shorter last.
func (q *packetQueue) alike(first, end int) int {
	o := &q.queue[first]
	size := len(o.data)
	if size == 0 {
		return 1
	}
	total := size
	for j := first + 1; j < end; j++ {
		n := &q.queue[j]
		total += len(n.data)
		if len(n.data) == 0 || len(n.data) > size || total > maxSegmented || n.to != o.to || n.from != o.from {
			return j - first
		}
		if len(n.data) < size {
			return j - first + 1
		}
	}
	return end - first
}

// name writes a peer's address as the socket's family has it.
func (s *PacketSocket) name(n *unix.RawSockaddrInet6, to netip.AddrPort) uint32 {
	if !s.v6 {
		p := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		// An IPv6 peer cannot be reached: the kernel refuses the zero address's port 0.
		*p = unix.RawSockaddrInet4{Family: unix.AF_INET}
		if a := to.Addr().Unmap(); a.Is4() {
			p.Port, p.Addr = swap(to.Port()), a.As4()
		}
		return unix.SizeofSockaddrInet4
	}
	*n = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swap(to.Port()), Addr: to.Addr().As16()}
	if z := to.Addr().Zone(); z != "" {
		n.Scope_id = zoneID(z)
	}
	return unix.SizeofSockaddrInet6
}

// source writes the control message that says which address to send from.
func (s *PacketSocket) source(buf *[controlWords]uint64, from netip.Addr) int {
	c := (*unix.Cmsghdr)(unsafe.Pointer(buf))
	if s.v6 {
		c.Level, c.Type = unix.SOL_IPV6, unix.IPV6_PKTINFO
		c.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
		*(*unix.Inet6Pktinfo)(unsafe.Pointer(&buf[2])) = unix.Inet6Pktinfo{Addr: from.As16()}
		return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
	}
	c.Level, c.Type = unix.SOL_IP, unix.IP_PKTINFO
	c.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	info := unix.Inet4Pktinfo{}
	if a := from.Unmap(); a.Is4() {
		info.Spec_dst = a.As4()
	}
	*(*unix.Inet4Pktinfo)(unsafe.Pointer(&buf[2])) = info
	return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
}
