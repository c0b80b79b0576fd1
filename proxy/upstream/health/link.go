// SPDX-License-Identifier: Apache-2.0

package health

import (
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/pool"
)

// A Link is a connection to a host for its checks. It belongs to one loop.
type Link struct {
	*upstream.Conn
	closed bool
	// Used tells that it has been rested on since it was made: the host may have closed
	// it meanwhile.
	Used bool
}

// Connect makes a connection to where the host is to be asked.
func (p *Probe) Connect(t *engine.Task) (*Link, error) {
	h := p.Host()
	tr := h.Transport.Transport
	if p.config.Match != nil {
		tr = h.Cluster.TransportFor(p.config.Match).Transport
	}
	c, err := pool.Dial(t, h, p.target(h), tr, &upstream.TransportOptions{ALPN: p.config.ALPN, FallbackALPN: p.fallback})
	if err != nil {
		return nil, err
	}
	return &Link{Conn: c}, nil
}

// target is where the host is asked: where its endpoint says, or at the checker's port.
func (p *Probe) target(h *upstream.Host) address.Addr {
	switch {
	case h.Check.Address != (address.Addr{}):
		return h.Check.Address
	case p.config.AltPort != 0 && h.Address.Addr().IsValid():
		return h.Address.WithPort(p.config.AltPort)
	}
	return h.Address
}

// Ends are the connection's for a codec.
func (l *Link) Ends() codec.Ends {
	return codec.Ends{Transport: l.Transport, Socket: l.Socket, Plain: l.Transport == conn.Transport(l.Socket), Loop: l.Socket.Loop()}
}

// Rest leaves the connection until the next check. It is closed if the host speaks
// unasked, or closes it.
func (l *Link) Rest() {
	l.Used = true
	if l.Transport.Ready() || !l.Socket.Idle(l) {
		l.Close()
	}
}

// Ready is called when something comes on a connection that rests.
func (l *Link) Ready(*engine.Conn) { l.Rest() }

// Take ends Rest. It reports whether the connection is good, and still leads to where
// the host is asked.
func (l *Link) Take(p *Probe) bool {
	if l.closed {
		return false
	}
	l.Socket.NotIdle()
	if l.Transport.Ready() || l.Socket.HungUp() || l.Info.Remote != p.target(p.Host()) {
		l.Close()
	}
	return !l.closed
}

// Close closes the connection; a second call does nothing.
func (l *Link) Close() {
	if !l.closed {
		l.closed = true
		l.Socket.NotIdle()
		l.Transport.Close()
		l.Socket.Close()
	}
}
