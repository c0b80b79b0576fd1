// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"
)

// What a server may send: of one text in bytes, of elements in one list, and of a line.
const (
	maxText = 1 << 20
	maxList = 1 << 16
	maxLine = 1 << 12
)

var errTooMuch = errors.New("redis: the server announces more than it may send, or does not speak Redis' protocol")

// dialer returns a function that connects, with TLS if config is not nil.
func dialer(config *tls.Config, timeout time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "/") {
			network = "unix"
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		c, err := (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if config != nil {
			config := config.Clone()
			if host, _, err := net.SplitHostPort(address); err == nil && config.ServerName == "" {
				config.ServerName = host
			}
			t := tls.Client(c, config)
			if err := t.HandshakeContext(ctx); err != nil {
				_ = c.Close() // Nothing was sent yet.
				return nil, err
			}
			c = t
		}
		return &guarded{Conn: c}, nil
	}
}

// guarded is a connection on which the server can not announce more than it may: who
// reads makes room for what is announced before it comes.
type guarded struct {
	net.Conn
	guard guard
}

// Read reads, and fails once the server goes beyond its bounds.
func (c *guarded) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.guard.pass(b[:n]) {
		return 0, errTooMuch
	}
	return n, err
}

// guard follows Redis' protocol (RESP 2 and 3) as far as lengths go.
type guard struct {
	kind   byte // of the line that is being read; 0 is between lines
	length int  // of the line
	number int  // that stands in it
	minus  bool
	skip   int // bytes of text that are still to come, with their end
}

// pass reports whether b may be read on.
func (g *guard) pass(b []byte) bool {
	for len(b) > 0 {
		if g.skip > 0 {
			n := min(g.skip, len(b))
			g.skip -= n
			b = b[n:]
			continue
		}
		c := b[0]
		b = b[1:]
		if !g.step(c) {
			return false
		}
	}
	return true
}

func (g *guard) step(c byte) bool {
	switch {
	case g.kind == 0:
		*g = guard{kind: c}
		return strings.IndexByte("+-:_,#($!=*~>%|", c) >= 0
	case c == '\n':
		kind, n, minus := g.kind, g.number, g.minus
		*g = guard{}
		switch {
		case minus || !g.hasLength(kind):
			return true // "$-1" is nothing.
		case g.isText(kind):
			g.skip = n + len("\r\n")
			return n <= maxText
		}
		return n <= maxList
	}
	if g.length++; g.length > maxLine {
		return false
	}
	switch {
	case c == '\r' || !g.hasLength(g.kind):
	case c == '-' && g.length == 1:
		g.minus = true
	case c >= '0' && c <= '9' && g.number <= maxText:
		g.number = g.number*10 + int(c-'0')
	default:
		return false
	}
	return true
}

func (*guard) isText(kind byte) bool   { return kind == '$' || kind == '!' || kind == '=' }
func (g *guard) hasLength(k byte) bool { return g.isText(k) || strings.IndexByte("*~>%|", k) >= 0 }
