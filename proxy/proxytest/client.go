// SPDX-License-Identifier: Apache-2.0

package proxytest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Client is a connection that sends exact bytes. Every read and write has
// Patience as its deadline, and what goes wrong fails the test. It is for one
// goroutine that reads and one that writes.
type Client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// Dial connects to the proxy's first listener.
func (p *Proxy) Dial() *Client {
	p.t.Helper()
	return Dial(p.t, p.Addr())
}

// Dial connects to an address: "host:port", or a socket's path.
func Dial(t testing.TB, addr string) *Client {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	conn, err := net.DialTimeout(network, addr, Patience)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	c := &Client{t: t, conn: conn, r: bufio.NewReader(conn)}
	t.Cleanup(c.Close)
	return c
}

// Conn is the connection itself.
func (c *Client) Conn() net.Conn { return c.conn }

// Close closes the connection; a second call does nothing.
func (c *Client) Close() {
	// Closed already, or gone: either way it is closed now.
	_ = c.conn.Close()
}

func (c *Client) arm() {
	c.t.Helper()
	if err := c.conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		c.t.Fatalf("set deadline: %v", err)
	}
}

// Send writes the bytes.
func (c *Client) Send(parts ...string) {
	c.t.Helper()
	if err := c.TrySend(parts...); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// TrySend is Send where the peer may have closed.
func (c *Client) TrySend(parts ...string) error {
	c.t.Helper()
	c.arm()
	for _, p := range parts {
		if _, err := io.WriteString(c.conn, p); err != nil {
			return err
		}
	}
	return nil
}

// CloseWrite ends what the client sends and leaves the other direction open.
func (c *Client) CloseWrite() {
	c.t.Helper()
	if err := c.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatalf("close write: %v", err)
	}
}

// Reset closes the connection with a reset.
func (c *Client) Reset() {
	c.t.Helper()
	if err := reset(c.conn); err != nil {
		c.t.Fatalf("reset: %v", err)
	}
}

func reset(conn net.Conn) error {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil {
			return err
		}
	}
	return conn.Close()
}

// ReadN reads exactly n bytes.
func (c *Client) ReadN(n int) string {
	c.t.Helper()
	c.arm()
	b := make([]byte, n)
	if k, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatalf("read %d bytes: got %q and then %v", n, b[:k], err)
	}
	return string(b)
}

// ReadHead reads up to and with the first empty line.
func (c *Client) ReadHead() string {
	c.t.Helper()
	c.arm()
	s, err := readHead(c.r)
	if err != nil {
		c.t.Fatalf("read a head: got %q and then %v", s, err)
	}
	return s
}

func readHead(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), err
		}
		if line == "\r\n" {
			return b.String(), nil
		}
	}
}

// ReadAll reads until the connection ends, and tells whether it was reset.
func (c *Client) ReadAll() (got string, wasReset bool) {
	c.t.Helper()
	c.arm()
	b, err := io.ReadAll(c.r)
	switch {
	case err == nil:
		return string(b), false
	case errors.Is(err, syscall.ECONNRESET):
		return string(b), true
	}
	c.t.Fatalf("read until the end: got %q and then %v", b, err)
	return "", false
}

// ExpectClosed fails the test unless the connection ends, by a reset or not,
// without another byte.
func (c *Client) ExpectClosed() {
	c.t.Helper()
	if got, _ := c.ReadAll(); got != "" {
		c.t.Fatalf("the connection was to end, but sent %q", got)
	}
}

// Response is a response as it was read.
type Response struct {
	*http.Response
	// Content is the whole body. Err is why it could not be read to its end.
	Content string
	Err     error
}

// String is the response on a line, for messages.
func (r *Response) String() string { return fmt.Sprintf("%s %v %q", r.Status, r.Header, r.Content) }

// Response reads the response to a request of the given method, its body with
// it. A body that ends early is told in Err; anything else fails the test.
func (c *Client) Response(method string) *Response {
	c.t.Helper()
	c.arm()
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read a response: %v", err)
	}
	out := &Response{Response: res}
	if res.StatusCode == http.StatusSwitchingProtocols || method == http.MethodConnect && res.StatusCode/100 == 2 {
		return out // What follows is not HTTP.
	}
	b, err := io.ReadAll(res.Body)
	out.Content, out.Err = string(b), err
	return out
}

// Do sends a request and reads its response; the method is the request's first
// word.
func (c *Client) Do(request string) *Response {
	c.t.Helper()
	c.Send(request)
	method, _, _ := strings.Cut(request, " ")
	return c.Response(method)
}

// Do sends one request on a connection of its own.
func (p *Proxy) Do(request string) *Response {
	p.t.Helper()
	c := p.Dial()
	defer c.Close()
	return c.Do(request)
}
