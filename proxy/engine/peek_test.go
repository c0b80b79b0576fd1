// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// TestPeek: peeking takes nothing, waits for more than it has shown, and leaves
// what is there to be read, even when the wait is cut short.
func TestPeek(t *testing.T) {
	e := start(t, Options{})
	type result struct {
		step string
		err  error
	}
	done := make(chan result, 8)
	addr := listen(t, e.Loops()[0], func(task *Task, c *Conn) {
		var b [16]byte
		check := func(step string, n int, err error, want string) {
			if err == nil && string(b[:n]) != want {
				err = errors.New("got " + string(b[:n]) + ", want " + want)
			}
			done <- result{step, err}
		}
		n, err := c.Peek(b[:], 0)
		check("one byte", n, err, "a")
		errLate := errors.New("late")
		task.SetDeadline(int64(10*time.Millisecond), errLate)
		if err := c.AwaitMore(); !errors.Is(err, errLate) {
			done <- result{"wait for more", err}
		}
		n, err = c.PeekNow(b[:])
		check("after the wait", n, err, "a")
		n, err = c.Read(b[:])
		check("read", n, err, "a")
		n, err = c.PeekNow(b[:])
		check("nothing", n, err, "")
		n, err = c.Peek(b[:], 1)
		check("two bytes", n, err, "bc")
		n, err = c.PeekNow(b[:1])
		check("a full buffer", n, err, "b")
		if err := c.AwaitMore(); err != nil {
			done <- result{"wait for the end", err}
		}
		if n, err = c.PeekNow(b[:]); n != 2 || !errors.Is(err, io.EOF) {
			done <- result{"the end", errors.New("not told")}
		}
		close(done)
	})
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	send := map[string]string{"nothing": "bc"}
	if _, err := conn.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	for r := range done {
		if r.err != nil {
			t.Errorf("%s: %v", r.step, r.err)
		}
		if s := send[r.step]; s != "" {
			if _, err := conn.Write([]byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		if r.step == "a full buffer" {
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
