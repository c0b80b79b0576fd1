// SPDX-License-Identifier: Apache-2.0

package udpproxy

import (
	"net/netip"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/upstream"
)

// lateAnswers is how long a session that takes no more datagrams of its client
// waits for another answer of its host.
const lateAnswers = time.Second

// maxEnding bounds the sessions of one loop that wait for late answers; beyond it
// they end at once.
const maxEnding = 4096

// session is one client's datagrams to one local address and one host.
type session struct {
	filter        *filter
	key           key
	remote, local netip.AddrPort // the client, and where it sends to
	down, up      *engine.PacketSocket
	use           *use
	host          *upstream.Host
	// to and from are set where the socket is not connected: the host, and the
	// address to send from.
	to     netip.AddrPort
	from   netip.Addr
	idle   engine.Timer
	flush  engine.Timer // of the periodic access log
	ending bool
	closed bool
	record
}

// open makes a session, within the cluster's limit; nil if it cannot be.
func (f *filter) open(k key, u *use, h *upstream.Host, down *engine.PacketSocket, d *engine.Datagram) *session {
	if !u.limit.TryAcquire() {
		u.worker.Stats.CxOverflow.Inc()
		return nil
	}
	s := &session{filter: f, key: k, remote: d.Remote, local: d.Local, down: down, use: u, host: h}
	if f.originalSource {
		s.to, s.from = h.Address.AddrPort(), d.Remote.Addr()
	}
	up, err := f.loop.DialPacket(h.Address, dialOptions(u.cluster, h.Address, f.originalSource), f.originalSource, f.read, s)
	if err != nil {
		u.limit.Release()
		u.stats.TxErrors.Inc()
		f.log.Debug("cannot open a socket to a host", "host", h.Address, "error", err)
		return nil
	}
	s.up = up
	s.start, s.id = time.Now(), f.worker.NextID()
	s.idle.Init(f.loop, s.expired)
	s.flush.Init(f.loop, s.logPeriodic)
	u.worker.Hold()
	f.worker.Count(1)
	f.stats.Total.Inc()
	f.stats.Active.Inc()
	f.table[k] = s
	s.periodic()
	return s
}

// dialOptions are how a socket to a host is made: as the cluster's
// upstream_bind_config says.
func dialOptions(c *upstream.Cluster, dst address.Addr, transparent bool) *engine.DialOptions {
	o := &engine.DialOptions{}
	if dst.IsUnix() {
		return o
	}
	src, opts := c.Bind.SourceFor(dst.Addr())
	if src.IsValid() && !transparent {
		o.Source = address.IP(src)
		if c.Bind.FreeBind {
			o.Options = append(o.Options, engine.FreeBind())
		}
	}
	if transparent {
		o.Options = append(o.Options, engine.Transparent(dst.Addr().Is6()))
	}
	for _, s := range opts {
		to := &o.Options
		if s.State == upstream.AfterBind {
			to = &o.Bound
		}
		*to = append(*to, engine.SocketOption{Level: s.Level, Name: s.Name, Int: s.Int, Bytes: s.Bytes})
	}
	return o
}

// forward sends a client's datagram to the host.
func (s *session) forward(p []byte) {
	st := s.filter.stats
	st.RxBytes.Add(uint64(len(p)))
	st.RxDatagrams.Inc()
	s.rxBytes += uint64(len(p))
	s.rxDatagrams++
	s.idle.Set(int64(s.filter.config.idle))
	s.up.Send(p, s.to, s.from, s)
}

// Sent counts what became of a datagram to the host.
func (s *session) Sent(n int, err error) {
	if err != nil {
		s.use.stats.TxErrors.Inc()
		return
	}
	s.use.stats.TxDatagrams.Inc()
	s.use.worker.Stats.CxTxBytesTotal.Add(uint64(n))
}

// Receive forwards a datagram of the host to the client.
func (s *session) Receive(_ *engine.PacketSocket, d *engine.Datagram) {
	if s.to.IsValid() && d.Remote != s.to {
		s.use.stats.RxErrors.Inc() // Of somebody else: the socket is not connected.
		return
	}
	s.use.stats.RxDatagrams.Inc()
	s.use.worker.Stats.CxRxBytesTotal.Add(uint64(len(d.Data)))
	wait := s.filter.config.idle
	if s.ending {
		wait = lateAnswers
	}
	s.idle.Set(int64(wait))
	s.down.Send(d.Data, s.remote, s.local.Addr(), (*answer)(s))
}

// ReceiveFailed counts what came back instead of an answer, such as that the host's
// port is closed.
func (s *session) ReceiveFailed(*engine.PacketSocket, error) { s.use.stats.RxErrors.Inc() }

// Dropped counts datagrams of the host that were too large.
func (s *session) Dropped(_ *engine.PacketSocket, n uint64) { s.use.stats.RxErrors.Add(n) }

// answer is a session as the sender of datagrams to its client.
type answer session

// Sent counts what became of a datagram to the client.
func (a *answer) Sent(n int, err error) {
	st := a.filter.stats
	if err != nil {
		st.TxErrors.Inc()
		a.txErrors++
		return
	}
	st.TxBytes.Add(uint64(n))
	st.TxDatagrams.Inc()
	a.txBytes += uint64(n)
	a.txDatagrams++
}

// expired ends the session once nothing has come for long enough.
func (s *session) expired() {
	if !s.ending {
		s.filter.stats.IdleTimeout.Inc()
	}
	s.close()
}

// retire takes the session from its client, for another to have its place; late
// answers of the host still go out.
func (s *session) retire() {
	if s.ending || s.closed {
		return
	}
	if len(s.filter.ending) >= maxEnding {
		s.close()
		return
	}
	s.leave()
	s.filter.ending[s] = struct{}{}
	s.idle.Set(int64(lateAnswers))
}

// leave ends what the session counts in while it takes datagrams.
func (s *session) leave() {
	s.ending = true
	if s.filter.table[s.key] == s {
		delete(s.filter.table, s.key)
	}
	s.use.limit.Release()
	s.filter.stats.Active.Dec()
}

// close ends the session.
func (s *session) close() {
	if s.closed {
		return
	}
	s.closed = true
	if !s.ending {
		s.leave()
	}
	f := s.filter
	delete(f.ending, s)
	s.idle.Release()
	s.flush.Release()
	s.logEnd()
	s.up.Close()
	s.use.worker.Drop()
	f.worker.Count(-1)
}
