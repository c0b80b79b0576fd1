// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir.dev/weir/proxy/address"
)

// packetEcho sends every datagram back, from where it was sent to.
type packetEcho struct {
	got     chan Datagram
	dropped chan uint64
	failed  chan error
}

func newPacketEcho() *packetEcho {
	return &packetEcho{make(chan Datagram, 4096), make(chan uint64, 64), make(chan error, 64)}
}

func (e *packetEcho) Receive(s *PacketSocket, d *Datagram) {
	c := *d
	c.Data = bytes.Clone(d.Data)
	e.got <- c
	s.Send(d.Data, d.Remote, d.Local.Addr(), e)
}

func (e *packetEcho) ReceiveFailed(_ *PacketSocket, err error) { e.failed <- err }
func (e *packetEcho) Dropped(_ *PacketSocket, n uint64)        { e.dropped <- n }
func (e *packetEcho) Sent(_ int, err error) {
	if err != nil {
		e.failed <- err
	}
}

// onLoop runs f on the loop and waits.
func onLoop(l *Loop, f func()) {
	done := make(chan struct{})
	l.Post(func() { defer close(done); f() })
	<-done
}

func packetLoop(t *testing.T) *Loop {
	t.Helper()
	e, err := New(Options{Loops: 1, OnPanic: func(v any, stack []byte) { t.Errorf("panic: %v\n%s", v, stack) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e.Loops()[0]
}

func listenPacket(t *testing.T, l *Loop, addr string, lo ListenOptions, o PacketOptions, h PacketHandler) *PacketSocket {
	t.Helper()
	fd, err := ListenPacket(address.IP(netip.MustParseAddrPort(addr)), &lo)
	if err != nil {
		t.Fatal(err)
	}
	var s *PacketSocket
	onLoop(l, func() { s, err = l.AddPacketSocket(fd, o, h) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func dialUDP(t *testing.T, to string) *net.UDPConn {
	t.Helper()
	a, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.DialUDP("udp", nil, a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func exchange(t *testing.T, c *net.UDPConn, data []byte) {
	t.Helper()
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, MaxDatagram)
	n, err := c.Read(b)
	if err != nil || !bytes.Equal(b[:n], data) {
		t.Fatalf("sent %d bytes, got %d, %v", len(data), n, err)
	}
}

// TestPacketWildcard: a client hears from the address that it wrote to, whichever
// that is.
func TestPacketWildcard(t *testing.T) {
	for _, bind := range []string{"0.0.0.0:0", "[::]:0"} {
		l := packetLoop(t)
		e := newPacketEcho()
		s := listenPacket(t, l, bind, ListenOptions{}, PacketOptions{}, e)
		port := s.LocalAddr().Port()
		hosts := []string{"127.0.0.1", "127.0.0.2", "127.9.8.7"}
		if bind == "[::]:0" {
			hosts = append(hosts, "::1")
		}
		for _, h := range hosts {
			// A connected client takes datagrams of that one address only.
			c := dialUDP(t, net.JoinHostPort(h, fmt.Sprint(port)))
			exchange(t, c, []byte("hello "+h))
			d := <-e.got
			if d.Local.String() != c.RemoteAddr().String() || d.Remote.String() != c.LocalAddr().String() {
				t.Errorf("bound to %s: datagram from %v to %v, want %v to %v", bind, d.Remote, d.Local, c.LocalAddr(), c.RemoteAddr())
			}
		}
	}
}

func TestPacketSizes(t *testing.T) {
	l := packetLoop(t)
	e := newPacketEcho()
	s := listenPacket(t, l, "127.0.0.1:0", ListenOptions{}, PacketOptions{MaxSize: 9000}, e)
	c := dialUDP(t, s.LocalAddr().String())
	for _, n := range []int{0, 1, 1472, 1500, 9000} {
		exchange(t, c, bytes.Repeat([]byte{byte(n)}, n))
	}
	if _, err := c.Write(make([]byte, 9001)); err != nil {
		t.Fatal(err)
	}
	if n := <-e.dropped; n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
	exchange(t, c, []byte("after"))
}

// TestPacketSegments: datagrams that one client sends as one message are taken one
// by one, and go back together, the same.
func TestPacketSegments(t *testing.T) {
	for _, gro := range []bool{false, true} {
		l := packetLoop(t)
		e := newPacketEcho()
		s := listenPacket(t, l, "127.0.0.1:0", ListenOptions{}, PacketOptions{GRO: gro}, e)
		c := dialUDP(t, s.LocalAddr().String())
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, 1000) }); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Skip("no UDP_SEGMENT: ", err)
		}
		var want [][]byte
		var all []byte
		for i := range 20 {
			n := 1000
			if i == 19 {
				n = 321
			}
			want = append(want, bytes.Repeat([]byte{byte(i)}, n))
			all = append(all, want[i]...)
		}
		if _, err := c.Write(all); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, MaxDatagram)
		for i, w := range want {
			n, err := c.Read(b)
			if err != nil || !bytes.Equal(b[:n], w) {
				t.Fatalf("gro %v: datagram %d: %d bytes, %v; want %d", gro, i, n, err, len(w))
			}
			if d := <-e.got; !bytes.Equal(d.Data, w) {
				t.Fatalf("gro %v: datagram %d came with %d bytes", gro, i, len(d.Data))
			}
		}
	}
}

// TestPacketMute: of two sockets of one address the one that is muted takes nothing
// more, and can send.
func TestPacketMute(t *testing.T) {
	for _, bind := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		l := packetLoop(t)
		old, next := newPacketEcho(), newPacketEcho()
		reuse := ListenOptions{ReusePort: true}
		s := listenPacket(t, l, bind, reuse, PacketOptions{}, old)
		c := dialUDP(t, fmt.Sprintf("127.0.0.1:%d", s.LocalAddr().Port()))
		exchange(t, c, []byte("one"))
		second := listenPacket(t, l, s.LocalAddr().String(), reuse, PacketOptions{}, next)
		onLoop(l, s.Mute)
		for range 50 { // Each of a socket of its own, so that the kernel would spread them.
			exchange(t, dialUDP(t, c.RemoteAddr().String()), []byte("two"))
		}
		if len(old.got) != 1 || len(next.got) != 50 {
			t.Errorf("bound to %s: %d datagrams for the muted socket, %d for the other", bind, len(old.got), len(next.got))
		}
		to := c.LocalAddr().(*net.UDPAddr).AddrPort()
		onLoop(l, func() { s.Send([]byte("late"), to, netip.MustParseAddr("127.0.0.1"), old) })
		b := make([]byte, 16)
		if n, err := c.Read(b); err != nil || string(b[:n]) != "late" {
			t.Errorf("bound to %s: %q, %v from the muted socket", bind, b[:n], err)
		}
		onLoop(l, second.Close)
		onLoop(l, s.Close)
	}
}

// TestPacketDial: a connected socket tells of a closed port, and loses nothing that
// is sent after.
func TestPacketDial(t *testing.T) {
	l := packetLoop(t)
	peer, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 7, 9)}) // Nobody else comes to that address while it is free.
	if err != nil {
		t.Fatal(err)
	}
	addr := peer.LocalAddr().(*net.UDPAddr)
	_ = peer.Close()
	e := newPacketEcho()
	var s *PacketSocket
	onLoop(l, func() {
		s, err = l.DialPacket(address.IP(addr.AddrPort()), &DialOptions{}, false, PacketOptions{GRO: true}, e)
		if err == nil {
			s.Send([]byte("lost"), netip.AddrPort{}, netip.Addr{}, e)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-e.failed; err != unix.ECONNREFUSED { //nolint:errorlint // It is the bare number.
		t.Errorf("failed with %v", err)
	}
	if peer, err = net.ListenUDP("udp", addr); err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	onLoop(l, func() { s.Send([]byte("kept"), netip.AddrPort{}, netip.Addr{}, e) })
	b := make([]byte, 16)
	if err := peer.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := peer.ReadFrom(b); err != nil || string(b[:n]) != "kept" {
		t.Errorf("the peer got %q, %v", b[:n], err)
	}
	onLoop(l, s.Close)
	onLoop(l, func() { s.Send([]byte("no"), netip.AddrPort{}, netip.Addr{}, e) })
	if err := <-e.failed; err != net.ErrClosed { //nolint:errorlint // As above.
		t.Errorf("sending on a closed socket failed with %v", err)
	}
}

// TestPacketFairness: a socket with more than a share to read lets others have
// their turn, and is read on without a further event.
func TestPacketFairness(t *testing.T) {
	l := packetLoop(t)
	const flood = 3 * maxBatches * maxSlots / 2
	first := newPacketEcho()
	second := &meanwhile{first: first, had: make(chan int, 1)}
	a := listenPacket(t, l, "127.0.0.1:0", ListenOptions{}, PacketOptions{}, first)
	b := listenPacket(t, l, "127.0.0.1:0", ListenOptions{}, PacketOptions{}, second)
	ca, cb := dialUDP(t, a.LocalAddr().String()), dialUDP(t, b.LocalAddr().String())
	onLoop(l, func() {
		// The loop is busy here, so all of it waits when it looks.
		for range flood {
			if _, err := ca.Write([]byte("x")); err != nil {
				t.Error(err)
			}
		}
		if _, err := cb.Write([]byte("y")); err != nil {
			t.Error(err)
		}
	})
	if n := <-second.had; n > maxBatches*maxSlots {
		t.Errorf("%d datagrams of one socket were read before the other's", n)
	}
	for i := range flood {
		select {
		case <-first.got:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d datagrams of %d came", i, flood)
		}
	}
}

// meanwhile tells how many datagrams another has when its own comes.
type meanwhile struct {
	quiet
	first *packetEcho
	had   chan int
}

func (m *meanwhile) Receive(*PacketSocket, *Datagram) { m.had <- len(m.first.got) }

// quiet takes datagrams and answers without keeping anything.
type quiet struct{ n int }

func (q *quiet) Receive(s *PacketSocket, d *Datagram) {
	q.n++
	s.Send(d.Data, d.Remote, d.Local.Addr(), q)
}
func (q *quiet) ReceiveFailed(*PacketSocket, error) {}
func (q *quiet) Dropped(*PacketSocket, uint64)      {}
func (q *quiet) Sent(int, error)                    {}

func TestPacketAllocations(t *testing.T) {
	l := packetLoop(t)
	q := &quiet{}
	s := listenPacket(t, l, "0.0.0.0:0", ListenOptions{}, PacketOptions{}, q)
	fd := s.FD()
	to := unix.SockaddrInet4{Port: int(s.LocalAddr().Port()), Addr: [4]byte{127, 0, 0, 1}}
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(client) }()
	if err := unix.Connect(client, &to); err != nil {
		t.Fatal(err)
	}
	data, got := []byte("12345678"), make([]byte, 64)
	onLoop(l, func() {
		if fd < 0 {
			t.Error("closed")
		}
		n := testing.AllocsPerRun(100, func() {
			if k, e := send(client, data); e != 0 || k != len(data) {
				t.Errorf("send: %d, %v", k, e)
			}
			s.event()
			if k, e := recv(client, got); e != 0 || k != len(data) {
				t.Errorf("receive: %d, %v", k, e)
			}
		})
		if n > 0 {
			t.Errorf("%v allocations for a datagram and its answer", n)
		}
	})
	if q.n < 100 {
		t.Errorf("%d datagrams", q.n)
	}
}
