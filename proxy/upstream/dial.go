// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"errors"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

func (p *httpPool) dial(t *engine.Task, breaker *Resource) (*Conn, error) {
	cl, st := p.worker.cluster, p.worker.Stats
	c := &Conn{pool: p, breaker: breaker, used: true}
	c.idle.Init(p.loop, c.idled)
	p.all[c] = struct{}{}
	p.worker.Hold()
	p.host.AddConnections(1)
	st.CxTotal.Inc()
	st.CxHTTP1Total.Inc()
	st.CxActive.Inc()
	local := p.host.Local(p.worker.loop)
	local.Stats.CxTotal.Inc()
	start := engine.Nano()
	sock, addr, err := p.connect(t)
	if err == nil {
		c.Socket, c.Transport = sock, sock
		local := sock.LocalAddr()
		c.Info = &streaminfo.Connection{Local: local, DirectLocal: local, Remote: addr, DirectRemote: addr, Start: time.Now(), TransportProtocol: "raw_buffer"}
		err = p.handshake(t, c, start)
	}
	if err != nil {
		c.close(!errors.Is(err, engine.ErrDialTimeout))
		var interrupted *engine.Interrupted
		if errors.As(err, &interrupted) {
			return nil, err // The request ended, not the connection.
		}
		st.CxConnectFail.Inc()
		local.Stats.CxConnectFail.Inc()
		switch {
		case errors.Is(err, engine.ErrDialTimeout):
			st.CxConnectTimeout.Inc()
		case errors.Is(err, engine.ErrBind):
			st.BindErrors.Inc()
		}
		return nil, &ConnectError{Address: addr, Err: err}
	}
	st.CxConnectTime.Record(uint64(engine.Nano()-start) / uint64(time.Millisecond))
	if d := cl.HTTP.MaxConnectionDuration; d > 0 {
		jitter := 1 + p.worker.rand.Float64()*cl.HTTP.MaxConnectionDurationJitter/100
		c.until = p.loop.Now() + int64(float64(d)*jitter)
	}
	return c, nil
}

// connect tries the host's addresses in turn.
func (p *httpPool) connect(t *engine.Task) (*engine.Conn, address.Addr, error) {
	cl := p.worker.cluster
	sock, err := t.Dial(p.host.Address, cl.dialOptions(p.host.Address))
	if err == nil {
		return sock, p.host.Address, nil
	}
	for _, a := range p.host.Addresses {
		var interrupted *engine.Interrupted
		if errors.As(err, &interrupted) {
			break // Nobody wants the connection any more.
		}
		sock, e := t.Dial(a, cl.dialOptions(a))
		if e == nil {
			return sock, a, nil
		}
		if errors.As(e, &interrupted) {
			err = e
		}
	}
	return nil, p.host.Address, err
}

func (c *Cluster) dialOptions(dst address.Addr) *engine.DialOptions {
	o := &engine.DialOptions{Timeout: c.ConnectTimeout}
	src, opts := c.Bind.SourceFor(dst.Addr())
	if src.IsValid() && !dst.IsUnix() {
		o.Source = address.IP(src)
		if c.Bind.FreeBind {
			o.Options = append(o.Options, engine.FreeBind())
		}
	}
	for _, s := range opts {
		to := &o.Options
		if s.State == AfterBind {
			to = &o.Bound
		}
		*to = append(*to, engine.SocketOption{Level: s.Level, Name: s.Name, Int: s.Int, Bytes: s.Bytes})
	}
	if k := c.KeepAlive; k.Enabled && !dst.IsUnix() {
		o.Options = append(o.Options, engine.KeepAlive{Probes: k.Probes, Time: k.Time, Interval: k.Interval}.Options()...)
	}
	return o
}

func (p *httpPool) handshake(t *engine.Task, c *Conn, start int64) error {
	tr := p.host.Transport.Transport
	if tr == nil {
		return nil // Cleartext.
	}
	// The time to connect is that of the handshake too, as in Envoy.
	if d := p.worker.cluster.ConnectTimeout; d > 0 {
		var tm engine.Timer
		tm.Init(p.loop, func() { c.Socket.Abort(engine.ErrDialTimeout) })
		tm.Set(max(int64(d)-(engine.Nano()-start), 1))
		defer tm.Release()
	}
	return tr.Wrap(t, c, nil)
}
