// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"errors"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

// ConnectTCP makes a connection to the host for one downstream connection: it
// dials, shakes hands as o asks (nil asks for nothing), and counts the connection
// against the breakers of priority p, the host and the cluster's statistics until
// Close. The error is ErrOverflow if a breaker does not let it through, a
// *ConnectError if the host could not be reached, or that of an interrupt of the
// task.
func (w *Worker) ConnectTCP(t *engine.Task, h *Host, p ResourcePriority, o *TransportOptions) (*Conn, error) {
	res, st := w.cluster.Resources(p), w.Stats
	if !w.cluster.CanConnect(h) || !res.Connections.TryAcquire() {
		st.CxOverflow.Inc()
		return nil, ErrOverflow
	}
	c := &Conn{pool: &httpPool{worker: w, host: h, loop: t.Loop()}, breaker: &res.Connections, used: true}
	c.idle.Init(c.pool.loop, c.idled)
	w.Hold()
	h.AddConnections(1)
	h.AddRequests(1) // As in Envoy's TCP pool, a connection is a request.
	local := &h.Local(w.loop).Stats
	for _, n := range []interface{ Inc() }{&st.CxTotal, &st.CxActive, &st.RqTotal, &st.RqActive, &st.RqPendingTotal, &local.CxTotal, &local.RqTotal} {
		n.Inc()
	}
	if err := c.openTCP(t, o); err != nil {
		var failed *ConnectError
		if errors.As(err, &failed) {
			st.CxConnectFail.Inc()
			local.CxConnectFail.Inc()
			if failed.Timeout() {
				st.CxConnectTimeout.Inc()
			}
			if errors.Is(err, engine.ErrBind) {
				st.BindErrors.Inc()
			}
		}
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) openTCP(t *engine.Task, o *TransportOptions) error {
	p := c.pool
	start := engine.Nano()
	sock, addr, err := p.connect(t)
	if err == nil {
		c.Socket, c.Transport = sock, sock
		local := sock.LocalAddr()
		c.Info = &streaminfo.Connection{Local: local, DirectLocal: local, Remote: addr, DirectRemote: addr, Start: time.Now(), TransportProtocol: "raw_buffer"}
		if tr := p.host.Transport.Transport; tr != nil {
			err = tr.Wrap(t, c, o)
		}
	}
	var interrupted *engine.Interrupted
	switch {
	case errors.As(err, &interrupted):
		return err
	case err != nil:
		return &ConnectError{Address: addr, Err: err}
	}
	p.worker.Stats.CxConnectTime.Record(uint64(engine.Nano()-start) / uint64(time.Millisecond))
	return nil
}

// Close ends a connection that ConnectTCP made.
func (c *Conn) Close() {
	if c.closed {
		return
	}
	c.pool.host.AddRequests(-1)
	c.pool.worker.Stats.RqActive.Dec()
	remote := c.Socket != nil && c.Socket.HungUp()
	if c.Transport != nil {
		c.Transport.Close()
	}
	c.close(remote)
}

// Account brings the cluster's byte counters up to date with what has crossed the
// wire; a connection that ends does so by itself.
func (c *Conn) Account() { c.account() }
