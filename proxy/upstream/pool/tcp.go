// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// ConnectTCP makes a connection to the host for one downstream connection: it
// dials, shakes hands as o asks (nil asks for nothing), and counts the connection
// against the breakers of priority p, the host and the cluster's statistics until
// Close. The error is ErrOverflow if a breaker does not let it through, ErrOverloaded if
// the overload manager does not, a
// *ConnectError if the host could not be reached, or that of an interrupt of the
// task.
func ConnectTCP(w *upstream.Worker, t *engine.Task, h *upstream.Host, p breaker.Priority, o *upstream.TransportOptions) (*Conn, error) {
	w = w.Home(h)
	res, st := w.Cluster().Resources(p), w.Stats
	if w.Cluster().Sheds() {
		return nil, ErrOverloaded
	}
	if !w.Cluster().CanConnect(h) || !res.Connections.TryAcquire() {
		st.CxOverflow.Inc()
		return nil, ErrOverflow
	}
	h.AddRequests(1) // As in Envoy's TCP pool, a connection is a request.
	for _, n := range []interface{ Inc() }{&st.RqTotal, &st.RqActive, &st.RqPendingTotal, &h.Local(w.Loop()).Stats.RqTotal} {
		n.Inc()
	}
	c := poolsOf(w, t, h).newConn(nil, &res.Connections)
	if remote, err := c.dial(t, o); err != nil {
		c.close(remote)
		ended(w, h)
		return nil, err
	}
	return c, nil
}

// Close ends a connection that ConnectTCP made.
func (c *Conn) Close() {
	if c.closed {
		return
	}
	ended(c.worker, c.Host)
	c.close(c.Socket.HungUp())
}

// ended counts the end of a connection that counted as a request.
func ended(w *upstream.Worker, h *upstream.Host) {
	h.AddRequests(-1)
	w.Stats.RqActive.Dec()
}

// Account brings the cluster's byte counters up to date with what has crossed the
// wire; a connection that ends does so by itself.
func (c *Conn) Account() { c.account() }
