// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// conn is one connection of a client, with at most one request on its way.
type conn struct {
	wire
	c      *client
	source netip.Addr
	busy   bool
	// buf[:n] is the answer's head as far as it came, with the beginning of its body. A body's rest is discarded
	// unread, so a connection needs no more.
	buf [2 << 10]byte
	n   int
	// body is true once the head is complete; need is then how much of the body is missing.
	body bool
	need int
	ok   bool
	due  time.Duration
}

func (c *client) dial(source netip.Addr) (*conn, error) {
	cn := &conn{c: c, source: source}
	return cn, c.open(cn)
}

func (c *client) open(cn *conn) error {
	w, err := c.connect(cn.source, "http/1.1")
	if err != nil {
		return err
	}
	cn.wire, cn.busy, cn.n, cn.body = w, false, 0, false
	return c.add(w.fd, cn)
}

// reopen replaces a connection that the proxy has ended.
func (c *client) reopen(cn *conn) error {
	c.remove(cn.fd)
	return c.open(cn)
}

// send writes a request. A request is far smaller than an empty socket's buffer, so it is taken whole.
func (c *client) send(cn *conn, req []byte) error {
	cn.busy, cn.n, cn.body = true, 0, false
	n, errno := cn.write(req)
	switch {
	case errno == syscall.EPIPE || errno == syscall.ECONNRESET:
		// The read that follows reports it: the event is pending.
		return nil
	case errno != 0:
		return fmt.Errorf("send a request: %w", errno)
	case n < len(req):
		return fmt.Errorf("send a request: the kernel took %d of %d bytes", n, len(req))
	}
	return nil
}

// readable reads what is there.
func (cn *conn) readable() error {
	c := cn.c
	if !cn.busy {
		return c.unasked(cn)
	}
	cn.event()
	for !cn.body {
		n, errno := cn.read(cn.buf[cn.n:])
		if errno == syscall.EAGAIN || errno == syscall.EINTR {
			return nil
		}
		if errno != 0 || n == 0 {
			return c.broken(cn)
		}
		cn.n += n
		if err := c.head(cn); err != nil {
			return err
		}
		// What did not fill the buffer was all there is: trying again would cost a system call for nothing.
		if cn.secure == nil && cn.n < len(cn.buf) && (!cn.body || cn.need > 0) {
			return nil
		}
	}
	for cn.need > 0 {
		n, errno := cn.discard(c.scratch[:min(cn.need, len(c.scratch))])
		if errno == syscall.EAGAIN || errno == syscall.EINTR {
			return nil
		}
		if errno != 0 || n == 0 {
			return c.broken(cn)
		}
		cn.need -= n
	}
	cn.busy = false
	if cn.ok {
		c.res.Answered++
		c.res.Bytes += uint64(c.spec.Length)
	}
	return c.done(cn)
}

// head looks for the end of an answer's head and checks it.
func (c *client) head(cn *conn) error {
	head, status, length, err := parseHead(cn.buf[:cn.n])
	if err != nil || head == 0 {
		return err
	}
	cn.body, cn.ok, cn.need = true, true, length-(cn.n-head)
	if status != 200 {
		c.res.BadStatus++
		cn.ok = false
	} else if length != c.spec.Length || cn.need < 0 {
		c.res.BadLength++
		cn.ok = false
	}
	return nil
}

// unasked handles what arrives on an idle connection: its end, which is allowed, or bytes, which are not.
func (c *client) unasked(cn *conn) error {
	cn.event()
	if n, errno := cn.read(cn.buf[:]); errno == 0 && n > 0 {
		c.res.BadLength++
	}
	c.res.Reconnects++
	return c.reopen(cn)
}

// broken replaces a connection that ended under a request, and ends the request with it.
func (c *client) broken(cn *conn) error {
	c.res.Broken++
	if err := c.reopen(cn); err != nil {
		return err
	}
	if c.res.Wrong() > wrongLimit {
		return nil // turn ends the run; another request would break as well.
	}
	return c.done(cn)
}

// parseHead finds the end of an answer's head, its status and Content-Length. A head of 0 means that more is needed.
// An answer whose length is not given by Content-Length is an error: the backend always sends one, and a proxy that
// re-frames the body does other work than the rest.
func parseHead(b []byte) (head, status, length int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) == 2<<10 {
			return 0, 0, 0, fmt.Errorf("an answer's head is longer than %d bytes", len(b))
		}
		return 0, 0, 0, nil
	}
	if end < 12 || string(b[:7]) != "HTTP/1." {
		return 0, 0, 0, fmt.Errorf("not an HTTP/1 answer: %.40q", b)
	}
	for _, d := range b[9:12] {
		if d < '0' || d > '9' {
			return 0, 0, 0, fmt.Errorf("not a status line: %.40q", b)
		}
		status = status*10 + int(d-'0')
	}
	const name = "\ncontent-length:"
	for at := 0; at < end; {
		nl := bytes.IndexByte(b[at:end], '\n')
		if nl < 0 {
			break
		}
		at += nl
		if end-at > len(name) && b[at+1]|0x20 == 'c' && bytes.EqualFold(b[at:at+len(name)], []byte(name)) {
			value := b[at+len(name) : end]
			if cr := bytes.IndexByte(value, '\r'); cr >= 0 {
				value = value[:cr]
			}
			length, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil || length < 0 {
				return 0, 0, 0, fmt.Errorf("content-length %.20q is not a length", value)
			}
			return end + 4, status, length, nil
		}
		at++
	}
	return 0, 0, 0, fmt.Errorf("an answer of status %d without content-length", status)
}
