// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"fmt"
	"net/netip"
	"syscall"
)

// A wsclient is a closed loop of WebSocket messages: every connection has one on its way and waits for its echo.
type wsclient struct {
	loop
	// hello is the request, ping the masked message, pong what the server must send back.
	hello, ping, pong []byte
}

// A wsconn is one connection of it.
type wsconn struct {
	wire
	c    *wsclient
	open bool
	buf  [4 << 10]byte
	n    int
}

// websockets runs the closed loop. Messages are binary, of spec.Length bytes, at most 125, the longest with a length of
// one byte.
func websockets(spec Spec, hooks Hooks) (Result, error) {
	if spec.Length < 1 || spec.Length > 125 {
		return Result{}, fmt.Errorf("WebSocket messages of %d bytes: 1 to 125 are known", spec.Length)
	}
	l, err := newLoop(spec)
	if err != nil {
		return Result{}, err
	}
	c := &wsclient{loop: l}
	defer c.close()
	c.hello = []byte("GET " + spec.Path + " HTTP/1.1\r\nHost: " + spec.Host + "\r\nUser-Agent: weir-bench\r\n" +
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: d2Vpci1iZW5jaC0tLS0tLQ==\r\n\r\n")
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	c.ping = append([]byte{0x82, 0x80 | byte(spec.Length)}, key[:]...)
	c.pong = []byte{0x82, byte(spec.Length)}
	for i := range spec.Length {
		c.ping = append(c.ping, byte(i)^key[i&3])
		c.pong = append(c.pong, byte(i))
	}
	for range spec.Conns {
		cn := &wsconn{c: c}
		if err := c.dial(cn); err != nil {
			return c.res, err
		}
	}
	return c.closed(hooks)
}

// dial connects cn and asks for WebSocket.
func (c *wsclient) dial(cn *wsconn) error {
	w, err := c.connect(netip.Addr{}, "http/1.1")
	if err != nil {
		return err
	}
	cn.wire, cn.open, cn.n = w, false, 0
	if err := c.add(w.fd, cn); err != nil {
		return err
	}
	return cn.send(c.hello)
}

func (cn *wsconn) send(b []byte) error {
	n, errno := cn.write(b)
	switch {
	case errno == syscall.EPIPE || errno == syscall.ECONNRESET:
		// The read that follows reports it: the event is pending.
		return nil
	case errno != 0:
		return fmt.Errorf("send a message: %w", errno)
	case n < len(b):
		return fmt.Errorf("send a message: the kernel took %d of %d bytes", n, len(b))
	}
	return nil
}

// readable reads until what was sent is answered.
func (cn *wsconn) readable() error {
	c := cn.c
	cn.event()
	for {
		n, errno := cn.read(cn.buf[cn.n:])
		if errno == syscall.EAGAIN || errno == syscall.EINTR {
			return nil
		}
		if errno != 0 || n == 0 {
			c.res.Broken++
			c.remove(cn.fd)
			if c.res.Wrong() > wrongLimit {
				return nil // turn ends the run; another connection would break as well.
			}
			return c.dial(cn)
		}
		cn.n += n
		whole, err := cn.answered()
		if err != nil {
			return err
		}
		if whole {
			return cn.send(c.ping)
		}
		if cn.secure == nil {
			return nil
		}
	}
}

// answered says whether the answer to what was sent last is there, and counts it.
func (cn *wsconn) answered() (bool, error) {
	c, b := cn.c, cn.buf[:cn.n]
	if !cn.open {
		if !bytes.Contains(b, []byte("\r\n\r\n")) {
			return false, nil
		}
		if !bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) || !bytes.HasSuffix(b, []byte("\r\n\r\n")) {
			return false, fmt.Errorf("WebSocket is refused: %.40q", b)
		}
		cn.open, cn.n = true, 0
		return true, nil
	}
	if len(b) < len(c.pong) {
		return false, nil
	}
	cn.n = 0
	if !bytes.Equal(b, c.pong) {
		c.res.BadLength++
		return true, nil
	}
	c.res.Answered++
	c.res.Bytes += uint64(c.spec.Length)
	return true, nil
}
