// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/tls/tlstest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// rig is a layer on a loop with Go's own client at the other end.
type rig struct {
	t      testing.TB
	loop   *engine.Loop
	client *tls.Conn
	raw    net.Conn
	conn   *Conn
}

func newRig(t testing.TB, version uint16) *rig {
	t.Helper()
	e, err := engine.New(engine.Options{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	r := &rig{t: t, loop: e.Loops()[0]}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r.raw, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.raw.Close() })
	k, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	f, err := k.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	pair := tlstest.NewCA(t, "test CA").Issue(t, tlstest.Leaf{}).TLS()
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, DynamicRecordSizingDisabled: true}
	r.client = tls.Client(r.raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: version, DynamicRecordSizingDisabled: true})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.client.Handshake(); err != nil {
			t.Error(err)
		}
	})
	r.do(func(*engine.Task) error {
		sock, err := r.loop.NewConn(fd, false)
		if err != nil {
			return err
		}
		r.conn = newConn(sock, &sync.Pool{})
		r.conn.tls = tls.Server((*wire)(r.conn), cfg)
		return r.conn.handshake()
	})
	wg.Wait()
	return r
}

// do runs f on a task of the loop.
func (r *rig) do(f func(t *engine.Task) error) {
	r.t.Helper()
	var err error
	if e := r.loop.Do(func(t *engine.Task) { err = f(t) }); e != nil {
		r.t.Fatal(e)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func versions(t *testing.T, f func(t *testing.T, version uint16)) {
	t.Run("1.2", func(t *testing.T) { f(t, tls.VersionTLS12) })
	t.Run("1.3", func(t *testing.T) { f(t, tls.VersionTLS13) })
}

// Bodies larger than any buffer go both ways at once, by a task that reads and one
// that writes.
func TestBothWaysAtOnce(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		r := newRig(t, v)
		want := make([]byte, 3<<20+17)
		if _, err := rand.Read(want); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		back := make([]byte, len(want))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.client.Write(want); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := r.loop.Do(func(*engine.Task) {
				if _, err := r.conn.Write(want); err != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Error(err)
			}
		})
		// The client begins to read late, so the writer has to wait.
		r.do(func(*engine.Task) error {
			for n := 0; n < len(got); {
				k, err := r.conn.Read(got[n:min(len(got), n+7000)])
				if err != nil {
					return err
				}
				n += k
			}
			return nil
		})
		if _, err := io.ReadFull(r.client, back); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if !bytes.Equal(got, want) || !bytes.Equal(back, want) {
			t.Error("what arrived is not what was sent")
		}
	})
}

// A head and a small body are one record and one packet; large ones are full records.
func TestRecords(t *testing.T) {
	r := newRig(t, tls.VersionTLS13)
	for _, tt := range []struct{ a, b, records int }{
		{100, 100, 1}, {0, 10, 1}, {10, 0, 1}, {100, maxRecord - 100, 1}, {100, maxRecord, 2}, {100, 3*maxRecord - 100, 3},
		{maxRecord, 1, 2}, {200, 9 * maxRecord, 10}, {2 * maxRecord, 10, 3},
	} {
		a, b := bytes.Repeat([]byte("a"), tt.a), bytes.Repeat([]byte("b"), tt.b)
		sent := r.conn.sock.Sent
		var wg sync.WaitGroup
		wg.Go(func() { r.do(func(*engine.Task) error { return r.conn.Write2(a, b) }) })
		got := make([]byte, len(a)+len(b))
		if _, err := io.ReadFull(r.client, got); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if !bytes.Equal(got, append(a, b...)) {
			t.Errorf("%v: arrived otherwise", tt)
		}
		const overhead = 5 + 16 + 1 // header, tag, type (RFC 8446 §5.2)
		if n := int(r.conn.sock.Sent-sent) - tt.a - tt.b; n != tt.records*overhead {
			t.Errorf("%v: %d bytes of overhead, want %d records", tt, n, tt.records)
		}
	}
}

// Ready tells of plaintext above the socket, and not of what is for the layer alone.
func TestReady(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		r := newRig(t, v)
		if _, err := r.client.Write([]byte("abcdef")); err != nil {
			t.Fatal(err)
		}
		read := func(n int, want string) {
			t.Helper()
			r.do(func(*engine.Task) error {
				b := make([]byte, n)
				k, err := r.conn.Read(b)
				if string(b[:k]) != want {
					t.Errorf("read %q, want %q", b[:k], want)
				}
				return err
			})
		}
		ready := func(want bool) {
			t.Helper()
			r.do(func(*engine.Task) error {
				if got := r.conn.Ready(); got != want {
					t.Errorf("ready: %v", got)
				}
				return nil
			})
		}
		read(2, "ab")
		ready(true)
		ready(true)
		read(1, "c")
		ready(true)
		read(10, "def")
		ready(false)
		read2 := func(first, second string) {
			// Two records in one packet.
			if _, err := r.client.Write([]byte(first)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.client.Write([]byte(second)); err != nil {
				t.Fatal(err)
			}
		}
		read2("one", "two")
		read(100, "one")
		read(100, "two")
		ready(false)
		if err := r.client.Close(); err != nil {
			t.Fatal(err)
		}
		r.do(func(*engine.Task) error {
			if _, err := r.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("got %v at the end", err)
			}
			return nil
		})
		ready(true)
	})
}

// An interrupted read loses nothing.
func TestInterruptedRead(t *testing.T) {
	r := newRig(t, tls.VersionTLS13)
	stop := errors.New("stop")
	r.do(func(task *engine.Task) error {
		task.SetDeadline(1e6, stop)
		if _, err := r.conn.Read(make([]byte, 1)); !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
		task.SetDeadline(0, nil)
		return nil
	})
	if _, err := r.client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	r.do(func(*engine.Task) error {
		b := make([]byte, 9)
		n, err := r.conn.Read(b)
		if string(b[:n]) != "x" {
			t.Errorf("read %q", b[:n])
		}
		return err
	})
}

// The end is told by close_notify, and the other direction stays open.
func TestCloseWrite(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		r := newRig(t, v)
		r.do(func(*engine.Task) error {
			if _, err := r.conn.Write([]byte("bye")); err != nil {
				return err
			}
			return r.conn.CloseWrite()
		})
		got, err := io.ReadAll(r.client) // An end without close_notify would be an error.
		if string(got) != "bye" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := r.client.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		r.do(func(*engine.Task) error {
			b := make([]byte, 9)
			n, err := r.conn.Read(b)
			if string(b[:n]) != "late" {
				t.Errorf("read %q", b[:n])
			}
			r.conn.Close()
			r.conn.Close()
			return err
		})
	})
}

// A peer that has closed without a word gets none: the alert would meet a reset. One
// that has only ended its stream, and is sent something after that, is told the end.
func TestClosesAfterPeer(t *testing.T) {
	for _, answer := range []string{"", "answer"} {
		r := newRig(t, tls.VersionTLS13)
		if err := r.raw.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		r.do(func(*engine.Task) error {
			if _, err := r.conn.Read(make([]byte, 9)); err != io.EOF {
				t.Errorf("read %v, want the end", err)
			}
			if answer != "" {
				if _, err := r.conn.Write([]byte(answer)); err != nil {
					return err
				}
			}
			r.conn.Close()
			return nil
		})
		// crypto/tls tells both ends alike, so the records are counted.
		left, err := io.ReadAll(r.raw)
		if err != nil {
			t.Fatal(err)
		}
		var f framing
		f.take(left)
		want := 0
		if answer != "" {
			want = 2
		}
		if f.done != want {
			t.Errorf("answer %q: %d records before the end, want %d", answer, f.done, want)
		}
	}
}

func TestFraming(t *testing.T) {
	stream := []byte{23, 3, 3, 0, 2, 'a', 'b', 23, 3, 3, 0, 0, 22, 3, 3, 1, 0}
	stream = append(stream, make([]byte, 256)...)
	for step := 1; step < 20; step++ {
		var f framing
		for p := stream; len(p) > 0; {
			n := min(step, len(p))
			f.take(p[:n])
			p = p[n:]
		}
		if f.done != 3 || f.left != 0 || f.head != 0 {
			t.Errorf("in steps of %d: %+v", step, f)
		}
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newRig(t, tls.VersionTLS13)
	request, response := bytes.Repeat([]byte("q"), 100), bytes.Repeat([]byte("p"), 100)
	b := make([]byte, 4096)
	var total float64
	r.do(func(*engine.Task) error {
		total = testing.AllocsPerRun(200, func() {
			if err := r.conn.Write2(request, response); err != nil {
				t.Fatal(err)
			}
			r.conn.Ready()
		})
		return nil
	})
	if total > 0 {
		t.Errorf("a write costs %v allocations", total)
	}
	for range 250 {
		if _, err := r.client.Write(request); err != nil {
			t.Fatal(err)
		}
	}
	r.do(func(*engine.Task) error {
		total = testing.AllocsPerRun(200, func() {
			if n, err := r.conn.Read(b); err != nil || n != len(request) {
				t.Fatal(n, err)
			}
			r.conn.Ready()
		})
		return nil
	})
	// One small one is crypto/tls's, for each time it reads from below.
	if total > 1 {
		t.Errorf("a read costs %v allocations", total)
	}
}
