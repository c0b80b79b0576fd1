// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"slices"
	"strings"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"
)

// hostPools are one loop's connections to one host: a pool for each protocol and for
// each set of options that requests ask of the transport, and the connections that
// are for bytes.
type hostPools struct {
	worker  *Worker
	host    *Host // the newest: a logical host's address may be another by now
	loop    *engine.Loop
	pools   []*pool
	all     map[*Conn]struct{}
	drained bool
}

// ConnectOptions say what a request needs of its connection.
type ConnectOptions struct {
	Priority ResourcePriority
	// Transport is what the request asks of the transport socket; nil is nothing.
	Transport *TransportOptions
	// Downstream is the protocol of the client's request, for clusters that follow it.
	Downstream streaminfo.Protocol
}

// Connect returns an exchange with the host: on a connection that is free, or a new
// one, or the next to become free if no more may be opened. fresh tells that a
// connection was dialled for this request.
func (w *Worker) Connect(t *engine.Task, h *Host, o *ConnectOptions) (x Exchange, fresh bool, err error) {
	w = w.home(h)
	hp := w.pools(t, h)
	p := hp.find(w.cluster.protocolFor(o.Downstream), o.Transport)
	if x := p.free(); x != nil {
		return x, false, nil
	}
	return p.open(t, o.Priority)
}

// pools returns the loop's pools of a host.
func (w *Worker) pools(t *engine.Task, h *Host) *hostPools {
	local := h.Local(w.loop)
	hp, _ := local.Pool.(*hostPools)
	if hp == nil {
		hp = &hostPools{worker: w, host: h, loop: t.Loop(), all: map[*Conn]struct{}{}, drained: !h.InCluster()}
		local.Pool = hp
	}
	hp.host = h
	return hp
}

// protocol is what the connections of a pool speak.
type protocol uint8

const (
	speakHTTP1 protocol = iota
	speakHTTP2
	speakALPN // whichever of the two the handshake settles
)

// protocolFor says what the connections for a request speak.
func (c *Cluster) protocolFor(downstream streaminfo.Protocol) protocol {
	switch c.HTTP.Version {
	case UseHTTP2:
		return speakHTTP2
	case UseALPN:
		return speakALPN
	case UseDownstream:
		if downstream >= streaminfo.HTTP2 {
			return speakHTTP2
		}
	default:
	}
	return speakHTTP1
}

func (hp *hostPools) find(speak protocol, o *TransportOptions) *pool {
	if len(hp.pools) > 0 && o == nil && hp.pools[0].options == nil && hp.pools[0].speak == speak {
		return hp.pools[0]
	}
	for _, p := range hp.pools {
		if p.speak == speak && p.options.same(o) {
			return p
		}
	}
	p := &pool{hostPools: hp, speak: speak, options: o.clone()}
	p.offer = p.protocols()
	hp.pools = append(hp.pools, p)
	return p
}

// protocols returns the options to dial with: those that are asked for, and what the
// pool needs of the handshake.
func (p *pool) protocols() *TransportOptions {
	o := TransportOptions{}
	if p.options != nil {
		o = *p.options
	}
	switch p.speak {
	case speakHTTP2:
		o.FallbackALPN = []string{"h2"}
	case speakALPN:
		o.ALPN = []string{"h2", "http/1.1"}
	default:
		o.FallbackALPN = []string{"http/1.1"}
	}
	return &o
}

// drop forgets a pool that has no connection left, unless it is the host's ordinary
// one.
func (hp *hostPools) drop(p *pool) {
	if p.options != nil {
		hp.pools = slices.DeleteFunc(hp.pools, func(x *pool) bool { return x == p })
	}
}

// Drain lets what runs, and who waits, finish and closes idle connections.
func (hp *hostPools) Drain() {
	hp.drained = true
	for _, p := range slices.Clone(hp.pools) {
		p.drain()
	}
}

// Close closes all connections at once: what runs on them fails.
func (hp *hostPools) Close() {
	drained := hp.drained
	hp.Drain()
	hp.drained = drained
	for _, p := range slices.Clone(hp.pools) {
		p.fail(ErrPoolClosed)
	}
	for c := range hp.all {
		if c.Socket != nil {
			c.Socket.Abort(ErrPoolClosed)
		}
	}
}

// same reports whether both may share connections.
func (o *TransportOptions) same(x *TransportOptions) bool {
	if o == nil || x == nil {
		return o == x
	}
	return o.ServerName == x.ServerName && o.Downstream == x.Downstream &&
		slices.Equal(o.VerifyNames, x.VerifyNames) && slices.Equal(o.ALPN, x.ALPN)
}

func (o *TransportOptions) clone() *TransportOptions {
	if o == nil {
		return nil
	}
	c := *o
	c.ServerName = strings.Clone(o.ServerName)
	c.VerifyNames = slices.Clone(o.VerifyNames)
	c.ALPN = slices.Clone(o.ALPN)
	return &c
}
