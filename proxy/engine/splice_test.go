// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"io"
	"testing"
	"time"
)

// tally counts what a Flow is told.
type tally struct{ moved, stalls, resumed int }

func (f *tally) Moved(n int) { f.moved += n }

func (f *tally) Stalled(on bool) {
	if on {
		f.stalls++
	} else {
		f.resumed++
	}
}

// TestSpliceReady: what is there is moved, and nobody waits for what is not.
func TestSpliceReady(t *testing.T) {
	e := start(t, Options{})
	l := e.Loops()[0]
	const size = 16 << 20
	back := listen(t, l, func(_ *Task, c *Conn) {
		if _, err := c.Write(make([]byte, size)); err != nil {
			t.Error(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, c)
	})
	f := &tally{}
	front := listen(t, l, func(task *Task, c *Conn) {
		up, err := task.Dial(back, &DialOptions{Timeout: time.Minute})
		if err != nil {
			t.Error(err)
			return
		}
		defer up.Close()
		for {
			read, write := c.SpliceReady(up, f)
			if write != nil {
				t.Error(write)
				return
			}
			if read == io.EOF {
				return
			}
			if read != nil {
				t.Error(read)
				return
			}
			if up.Ready() {
				t.Error("returned although there is more")
			}
			// Wait for more as a handler that is not idle would.
			if _, err := up.Peek(make([]byte, 1), 0); err != nil && err != io.EOF {
				t.Error(err)
				return
			}
		}
	})
	c := dial(t, front)
	// The reader begins late, so that the destination fills up.
	stalled := func() (on bool) {
		if err := l.Do(func(*Task) { on = f.stalls > 0 }); err != nil {
			t.Fatal(err)
		}
		return on
	}
	for !stalled() {
	}
	n, err := io.Copy(io.Discard, c)
	if err != nil || n != size {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := l.Do(func(*Task) {
		if f.moved != size || f.stalls == 0 || f.stalls != f.resumed {
			t.Errorf("told of %+v", *f)
		}
	}); err != nil {
		t.Error(err)
	}
}

func TestTryRead(t *testing.T) {
	e := start(t, Options{})
	l := e.Loops()[0]
	addr := listen(t, l, func(_ *Task, c *Conn) {
		b := make([]byte, 8)
		n, err := c.Read(b[:3]) // The first bytes are waited for,
		if err != nil || n != 3 {
			t.Error(n, err)
		}
		if n, err = c.TryRead(b[3:]); err != nil || n != 2 {
			t.Error(n, err)
		}
		if n, err := c.TryRead(b); err != nil || n != 0 || c.Ready() { // and those that are not there are not.
			t.Error(n, err, c.Ready())
		}
		if !bytes.Equal(b[:5], []byte("hello")) {
			t.Errorf("%q", b)
		}
		c.Close()
		if _, err := c.TryRead(b); err == nil {
			t.Error("read of a closed connection")
		}
	})
	c := dial(t, addr)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(c)
}
