// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"fmt"
	"io"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
)

var (
	// ErrPeerClosed is returned by listener filters when the client closed
	// before they had seen enough.
	ErrPeerClosed = errors.New("the client closed before the listener filters were done")
	// ErrRefused, in the chain of a listener filter's error, closes the
	// connection even where a timeout would let it pass
	// (continue_on_listener_filters_timeout).
	ErrRefused = errors.New("refused")
	// errPeek is a socket that could not be read.
	errPeek = errors.New("peek")
)

// Peek shows look the first bytes that the client sent, again and again as more
// of them arrive, until it is content. The bytes stay in the socket: the next
// filter sees the same ones, and so does the filter chain. No buffer is held
// while nothing arrives.
//
// look returns 0 when it has seen enough, otherwise the least number of bytes it
// wants to be shown next, which must be more than it was shown. The buffer
// begins with initial bytes. The slice is look's to change and is gone when look
// returns.
func Peek(t *engine.Task, c *conn.Conn, initial int, look func(b []byte) (want int, err error)) error {
	size, want := max(initial, 64), 1
	for {
		n, more, err := peekOnce(t.Loop(), c, size, want, look)
		if err != nil || more == 0 {
			return err
		}
		if want = more; want > size {
			size = max(want, 2*size)
			if n > 0 {
				continue // There may be more than the buffer took.
			}
		}
		if err := c.Socket.AwaitMore(); err != nil {
			return peekError(err)
		}
	}
}

// peekOnce peeks once and returns how many bytes filled the buffer, 0 if it was
// not filled, and how many are wanted, 0 if look is content.
func peekOnce(l *engine.Loop, c *conn.Conn, size, want int, look func([]byte) (int, error)) (full, more int, err error) {
	var b []byte
	if size <= engine.BufferSize {
		b = l.Buffer()
		defer l.PutBuffer(b)
	} else {
		b = make([]byte, size)
	}
	n, end := c.Socket.PeekNow(b[:size])
	if end != nil && !errors.Is(end, io.EOF) {
		return 0, 0, peekError(end)
	}
	more = want
	if n >= want {
		if more, err = look(b[:n]); err != nil || more == 0 {
			return 0, 0, err
		}
	}
	if end != nil {
		return 0, 0, ErrPeerClosed
	}
	if n == size {
		full = n
	}
	return full, more, nil
}

func peekError(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrPeerClosed
	}
	var interrupted *engine.Interrupted
	if errors.As(err, &interrupted) {
		return err
	}
	if engine.IsReset(err) {
		return ErrPeerClosed
	}
	return fmt.Errorf("%w: %w", errPeek, err)
}

// Take takes n bytes that were peeked out of the socket.
func Take(t *engine.Task, c *conn.Conn, n int) error {
	b := t.Loop().Buffer()
	defer t.Loop().PutBuffer(b)
	for n > 0 {
		k, err := c.Socket.Read(b[:min(n, len(b))])
		if err != nil {
			return peekError(err)
		}
		n -= k
	}
	return nil
}
