// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/upstream"
)

// ConnectRaw makes a connection of its own to the host that carries no HTTP but the
// payload of a request, as [Exchange].Tunnel and SendTunnel see it (Envoy's
// connect_config). hello, if not nil, returns what is sent before anything else. It
// counts against the connection breaker; Release ends it.
func ConnectRaw(w *upstream.Worker, t *engine.Task, h *upstream.Host, o *Options, hello func(c *Conn) []byte) (Exchange, error) {
	res := w.Cluster().Resources(o.Priority)
	if w.Cluster().Sheds() {
		return nil, ErrOverloaded
	}
	if !w.Cluster().CanConnect(h) || !res.Connections.TryAcquire() {
		w.Stats.CxOverflow.Inc()
		return nil, ErrOverflow
	}
	c := poolsOf(w, t, h).newConn(nil, &res.Connections)
	if remote, err := c.dial(t, o.Transport); err != nil {
		c.close(remote)
		return nil, err
	}
	if hello != nil {
		if _, err := c.Transport.Write(hello(c)); err != nil {
			c.close(c.Socket.HungUp())
			return nil, &ConnectError{Address: h.Address, Err: err}
		}
	}
	return c.exchange(), nil
}
