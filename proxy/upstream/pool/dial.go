// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// newConn returns a connection that is yet to be dialled, for a pool or without one,
// and that the breaker has let pass. It is counted until close.
func (hp *hostPools) newConn(p *pool, breaker *breaker.Limit) *Conn {
	st := hp.worker.Stats
	c := &Conn{Conn: upstream.Conn{Host: hp.host}, worker: hp.worker, loop: hp.loop, pools: hp, pool: p, breaker: breaker, used: true}
	c.idle.Init(hp.loop, c.idled)
	hp.all[c] = struct{}{}
	hp.worker.Hold()
	c.Host.AddConnections(1)
	st.CxTotal.Inc()
	st.CxActive.Inc()
	c.Host.Local(hp.worker.Loop()).Stats.CxTotal.Inc()
	return c
}

// dial opens the connection. If it cannot the caller closes it; remote tells that
// the host ended it. The error is a *ConnectError, or that of an interrupt.
func (c *Conn) dial(t *engine.Task, o *upstream.TransportOptions) (remote bool, err error) {
	start := engine.Nano()
	var slow engine.Timer
	slow.Init(t.Loop(), c.Host.Unreachable)
	slow.Set(int64(upstream.SlowConnect))
	addr, err := c.connect(t, start, o)
	slow.Release()
	if err != nil {
		if _, ok := errors.AsType[*engine.Interrupted](err); ok {
			return false, err // The request ended, not the connection.
		}
		c.Host.Unreachable()
		return !errors.Is(err, engine.ErrDialTimeout), c.failed(addr, err)
	}
	c.Host.Reached()
	cl := c.worker.Cluster()
	c.worker.Stats.CxConnectTime.Record(uint64(engine.Nano()-start) / uint64(time.Millisecond))
	if d := cl.HTTP.MaxConnectionDuration; d > 0 && c.pool != nil {
		jitter := 1 + c.worker.Random()*cl.HTTP.MaxConnectionDurationJitter/100
		c.until = c.loop.Now() + int64(float64(d)*jitter)
	}
	return false, nil
}

// failed counts a connection that could not be made.
func (c *Conn) failed(addr address.Addr, err error) error {
	st := c.worker.Stats
	st.CxConnectFail.Inc()
	c.Host.Local(c.worker.Loop()).Stats.CxConnectFail.Inc()
	switch {
	case errors.Is(err, engine.ErrDialTimeout):
		st.CxConnectTimeout.Inc()
	case errors.Is(err, engine.ErrBind):
		st.BindErrors.Inc()
	}
	return &ConnectError{Address: addr, Err: err}
}

// connect dials and shakes hands within the cluster's connect timeout from start.
func (c *Conn) connect(t *engine.Task, start int64, o *upstream.TransportOptions) (address.Addr, error) {
	sock, addr, err := dial(t, c.Host, c.worker.Cluster())
	if err != nil {
		return addr, err
	}
	return addr, secure(t, &c.Conn, sock, addr, c.Host.Transport.Transport, deadline(c.worker.Cluster(), start), o)
}

// deadline is when a connection that was begun at start must be there.
func deadline(cl *upstream.Cluster, start int64) int64 { return start + int64(cl.ConnectTimeout) }

// secure makes c a connection on a socket to addr, and shakes hands until the deadline.
func secure(t *engine.Task, c *upstream.Conn, sock *engine.Conn, addr address.Addr, tr upstream.Transport, deadline int64, o *upstream.TransportOptions) error {
	c.Socket, c.Transport = sock, sock
	local := sock.LocalAddr()
	c.Info = &streaminfo.Connection{Local: local, DirectLocal: local, Remote: addr, DirectRemote: addr, Start: time.Now(), TransportProtocol: "raw_buffer"}
	if tr == nil {
		return nil // Cleartext.
	}
	var late engine.Timer
	late.Init(t.Loop(), func() { sock.Abort(engine.ErrDialTimeout) })
	late.Set(max(deadline-engine.Nano(), 1))
	defer late.Release()
	return tr.Wrap(t, c, o)
}

// Dial makes a connection to a host that is none of its pools', such as for a health
// check: to addr, secured by tr, with the cluster's socket options. It counts nowhere.
// Who asked for it closes its Transport and its Socket.
func Dial(t *engine.Task, h *upstream.Host, addr address.Addr, tr upstream.Transport, o *upstream.TransportOptions) (*upstream.Conn, error) {
	start := engine.Nano()
	sock, err := t.Dial(addr, dialOptions(h.Cluster, addr))
	if err != nil {
		return nil, err
	}
	c := &upstream.Conn{Host: h}
	if err := secure(t, c, sock, addr, tr, deadline(h.Cluster, start), o); err != nil {
		c.Transport.Close()
		sock.Close()
		return nil, err
	}
	return c, nil
}

// dial connects to the host, at any of its addresses.
func dial(t *engine.Task, h *upstream.Host, cl *upstream.Cluster) (*engine.Conn, address.Addr, error) {
	if len(h.Addresses) > 0 {
		r := &race{task: t, cluster: cl, timeout: cl.ConnectTimeout}
		return r.run(order(h, cl.HappyEyeballs))
	}
	sock, err := t.Dial(h.Address, dialOptions(cl, h.Address))
	return sock, h.Address, err
}

func dialOptions(c *upstream.Cluster, dst address.Addr) *engine.DialOptions {
	o := &engine.DialOptions{Timeout: c.ConnectTimeout}
	src, opts := c.Bind.SourceFor(dst.Addr())
	if src.IsValid() && !dst.IsUnix() {
		o.Source = address.IP(src)
		if c.Bind.FreeBind {
			o.Options = append(o.Options, engine.FreeBind())
		}
	}
	for _, s := range opts {
		if s.Family != upstream.FamilyAuto && (s.Family == upstream.FamilyV4Only) != dst.Addr().Is4() {
			continue
		}
		to := &o.Options
		if s.State == upstream.AfterBind {
			to = &o.Bound
		}
		*to = append(*to, engine.SocketOption{Level: s.Level, Name: s.Name, Int: s.Int, Bytes: s.Bytes})
	}
	if k := c.KeepAlive; k.Enabled && !dst.IsUnix() {
		o.Options = append(o.Options, engine.KeepAlive{Probes: k.Probes, Time: k.Time, Interval: k.Interval}.Options()...)
	}
	return o
}
