// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stats"
)

// scribe is a fake filter, and its factory: it notes what happens, and answers with
// its name the datagrams that begin with it. All others go on to the next.
type scribe struct {
	name string
	mu   *sync.Mutex
	log  *[]string
}

func newScribe(name string) *scribe { return &scribe{name, new(sync.Mutex), new([]string)} }

func (s *scribe) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.log = append(*s.log, what)
}

func (s *scribe) notes() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(*s.log, ",")
}

func (s *scribe) New(w *PacketWorker, old PacketFilter) PacketFilter {
	if o, ok := old.(*scribe); ok {
		s.note("after " + o.name)
	} else {
		s.note("new in " + w.Listener())
	}
	w.Count(1)
	return s
}

func (s *scribe) Receive(sock *engine.PacketSocket, d *engine.Datagram) bool {
	if !strings.HasPrefix(string(d.Data), s.name) {
		return true
	}
	sock.Send([]byte("from "+s.name), d.Remote, d.Local.Addr(), s)
	return false
}

func (s *scribe) Sent(int, error)         {}
func (s *scribe) ReceiveFailed(err error) { s.note(err.Error()) }
func (s *scribe) Drain()                  { s.note("drain") }
func (s *scribe) Close()                  { s.note("close") }

func packetEngine(t *testing.T, loops int) []*engine.Loop {
	t.Helper()
	e, err := engine.New(engine.Options{Loops: loops})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e.Loops()
}

func packetOptions(reuse bool) PacketOptions {
	return PacketOptions{Options: Options{
		Name: "test", BindToPort: true, Socket: engine.ListenOptions{ReusePort: reuse},
		Addresses: []address.Addr{
			address.IP(netip.MustParseAddrPort("127.0.0.1:0")), address.IP(netip.MustParseAddrPort("127.0.0.2:0")),
		},
	}}
}

func ask(t *testing.T, to address.Addr, what string) (string, error) {
	t.Helper()
	c, err := net.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(what)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	return string(b[:n]), err
}

// TestPacketListener: filters see datagrams in order, follow one another under an
// update, and are told of the end.
func TestPacketListener(t *testing.T) {
	loops := packetEngine(t, 2)
	a, b, c := newScribe("a"), newScribe("b"), newScribe("c")
	l, err := NewPacket(loops, packetOptions(true), &PacketConfig{Filters: []PacketFactory{a, b}}, &Limits{}, stats.NewStore(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if n := len(l.Addresses()); n != 2 || l.Active() != 4 {
		t.Errorf("%d addresses, %d active; want 2 and 4", n, l.Active())
	}
	for _, at := range l.Addresses() {
		for _, name := range []string{"a", "b"} {
			if got, err := ask(t, at, name); got != "from "+name {
				t.Errorf("asked %s for %s: %q, %v", at, name, got, err)
			}
		}
	}
	l.Update(&PacketConfig{Filters: []PacketFactory{c}})
	if got, err := ask(t, l.Addresses()[0], "c"); got != "from c" {
		t.Errorf("after the update: %q, %v", got, err)
	}
	l.StopAccepting()
	if got, err := ask(t, l.Addresses()[0], "c"); !errors.Is(err, net.ErrClosed) && err == nil {
		t.Errorf("a stopped listener has answered %q", got)
	}
	l.Drain()
	l.Close()
	l.Close()
	for _, want := range []struct {
		s     *scribe
		notes string
	}{{a, "new in test,new in test,close,close"}, {b, "new in test,new in test,close,close"}, {c, "after a,after a,drain,drain,close,close"}} {
		if got := want.s.notes(); got != want.notes {
			t.Errorf("%s noted %s, want %s", want.s.name, got, want.notes)
		}
	}
}

// TestPacketListenerRefuses: a socket that loops would share is refused, and one that is
// taken leaves nothing open.
func TestPacketListenerRefuses(t *testing.T) {
	loops := packetEngine(t, 2)
	listen := func(loops []*engine.Loop, o PacketOptions) (*PacketListener, error) {
		return NewPacket(loops, o, &PacketConfig{Filters: []PacketFactory{newScribe("a")}}, &Limits{}, stats.NewStore(), slog.New(slog.DiscardHandler))
	}
	if _, err := listen(loops, packetOptions(false)); err == nil || !strings.Contains(err.Error(), "enable_reuse_port") {
		t.Errorf("two loops with one socket: %v", err)
	}
	l, err := listen(loops[:1], packetOptions(false))
	if err != nil {
		t.Fatal(err)
	}
	o := packetOptions(false)
	o.Addresses = l.Addresses()
	if _, err := listen(loops[:1], o); err == nil || !strings.Contains(err.Error(), l.Addresses()[0].String()) {
		t.Errorf("an address that is taken: %v", err)
	}
	l.Close() // It was never started.
	l, err = listen(loops[:1], o)
	if err != nil {
		t.Errorf("the address is still taken: %v", err)
		return
	}
	l.Close()
}
