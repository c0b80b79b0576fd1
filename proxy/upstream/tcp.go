// SPDX-License-Identifier: Apache-2.0

package upstream

import "weir.dev/weir/proxy/engine"

// ConnectTCP makes a connection to the host for one downstream connection: it
// dials, shakes hands as o asks (nil asks for nothing), and counts the connection
// against the breakers of priority p, the host and the cluster's statistics until
// Close. The error is ErrOverflow if a breaker does not let it through, a
// *ConnectError if the host could not be reached, or that of an interrupt of the
// task.
func (w *Worker) ConnectTCP(t *engine.Task, h *Host, p ResourcePriority, o *TransportOptions) (*Conn, error) {
	w = w.home(h)
	res, st := w.cluster.Resources(p), w.Stats
	if !w.cluster.CanConnect(h) || !res.Connections.TryAcquire() {
		st.CxOverflow.Inc()
		return nil, ErrOverflow
	}
	h.AddRequests(1) // As in Envoy's TCP pool, a connection is a request.
	for _, n := range []interface{ Inc() }{&st.RqTotal, &st.RqActive, &st.RqPendingTotal, &h.Local(w.loop).Stats.RqTotal} {
		n.Inc()
	}
	c := w.pools(t, h).newConn(nil, &res.Connections)
	if remote, err := c.dial(t, o); err != nil {
		c.close(remote)
		w.ended(h)
		return nil, err
	}
	return c, nil
}

// Close ends a connection that ConnectTCP made.
func (c *Conn) Close() {
	if c.closed {
		return
	}
	c.worker.ended(c.host)
	c.close(c.Socket.HungUp())
}

// ended counts the end of a connection that counted as a request.
func (w *Worker) ended(h *Host) {
	h.AddRequests(-1)
	w.Stats.RqActive.Dec()
}

// Account brings the cluster's byte counters up to date with what has crossed the
// wire; a connection that ends does so by itself.
func (c *Conn) Account() { c.account() }
