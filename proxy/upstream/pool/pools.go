// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"maps"
	"slices"
	"strings"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/streaminfo"

	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// hostPools are one loop's connections to one host: a pool for each protocol and for
// each set of options that requests ask of the transport, and the connections that
// are for bytes.
type hostPools struct {
	worker  *upstream.Worker
	host    *upstream.Host // the newest: a logical host's address may be another by now
	loop    *engine.Loop
	kept    *kept
	plain   [speakALPN + 1]*pool // of requests that ask for nothing
	special map[poolKey]*pool
	sweepAt int // the number of special pools at which to look for useless ones
	all     map[*Conn]struct{}
}

// poolKey is what requests must have in common to share connections.
type poolKey struct {
	speak              protocol
	downstream         *streaminfo.Connection
	name, verify, alpn string
}

func keyOf(speak protocol, o *Options) poolKey {
	key := poolKey{speak: speak, downstream: o.Owner}
	if t := o.Transport; t != nil {
		key.name, key.verify, key.alpn = t.ServerName, strings.Join(t.VerifyNames, ","), strings.Join(t.ALPN, ",")
		if t.Downstream != nil {
			key.downstream = t.Downstream
		}
	}
	return key
}

// Options say what a request needs of its connection.
type Options struct {
	Priority breaker.Priority
	// Transport is what the request asks of the transport socket; nil is nothing.
	Transport *upstream.TransportOptions
	// Downstream is the protocol of the client's request, for clusters that follow it.
	Downstream streaminfo.Protocol
	// Owner is the downstream connection that shares its connections with no other
	// (connection_pool_per_downstream_connection); nil is none.
	Owner *streaminfo.Connection
}

// plain reports whether a request asks for nothing that others would not.
func (o *Options) plain() bool { return o.Transport == nil && o.Owner == nil }

// Connect returns an exchange with the host: on a connection that is free, or a new
// one, or the next to become free if no more may be opened. fresh tells that a
// connection was dialled for this request.
func Connect(w *upstream.Worker, t *engine.Task, h *upstream.Host, o *Options) (x Exchange, fresh bool, err error) {
	w = w.Home(h)
	foresee(w, t, o)
	p := poolsOf(w, t, h).find(protocolFor(w.Cluster(), o.Downstream), o)
	if p == nil {
		w.Stats.CxPoolOverflow.Inc()
		return nil, false, ErrOverflow
	}
	if x := p.free(); x != nil {
		p.preconnect()
		return x, false, nil
	}
	if x, err = p.open(t, o.Priority); err != nil {
		return nil, false, err
	}
	return x, x.Fresh(), nil
}

// poolsOf returns the loop's pools of a host.
func poolsOf(w *upstream.Worker, t *engine.Task, h *upstream.Host) *hostPools {
	local := h.Local(w.Loop())
	hp, _ := local.Pool.(*hostPools)
	if hp == nil {
		hp = &hostPools{worker: w, kept: keptOf(w), host: h, loop: t.Loop(), all: map[*Conn]struct{}{}, sweepAt: minSweep}
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
func protocolFor(c *upstream.Cluster, downstream streaminfo.Protocol) protocol {
	switch c.HTTP.Version {
	case upstream.UseHTTP2:
		return speakHTTP2
	case upstream.UseALPN:
		return speakALPN
	case upstream.UseDownstream:
		if downstream >= streaminfo.HTTP2 {
			return speakHTTP2
		}
	default:
	}
	return speakHTTP1
}

// find returns the pool of those that ask for what o says; nil if a breaker allows no
// further pool.
func (hp *hostPools) find(speak protocol, o *Options) *pool {
	if o.plain() {
		if p := hp.plain[speak]; p != nil {
			return p
		}
	} else if p := hp.special[keyOf(speak, o)]; p != nil {
		return p
	}
	return hp.add(speak, o)
}

// minSweep is the number of special pools from which on it is looked for those that
// nobody can use any more; maxPools bounds them, for each host and loop: names that
// clients choose (auto_sni) must not cost connections without bound.
const (
	minSweep = 64
	maxPools = 4096
)

func (hp *hostPools) add(speak protocol, o *Options) *pool {
	if len(hp.special) >= hp.sweepAt {
		hp.sweep()
	}
	if len(hp.special) >= maxPools && !hp.evict() {
		return nil
	}
	res := &hp.worker.Cluster().Resources(o.Priority).ConnectionPools
	if !res.TryAcquire() && (!hp.evict() || !res.TryAcquire()) {
		return nil
	}
	p := &pool{hostPools: hp, speak: speak, breaker: res, offer: offered(speak, o.Transport)}
	if o.plain() {
		hp.plain[speak] = p
		return p
	}
	// What the request's own memory holds must not be kept.
	p.key = keyOf(speak, &Options{Transport: p.offer, Owner: o.Owner})
	if hp.special == nil {
		hp.special = map[poolKey]*pool{}
	}
	hp.special[p.key] = p
	return p
}

// offered returns the options to dial with: those that are asked for, and what the
// protocol needs of the handshake.
func offered(speak protocol, asked *upstream.TransportOptions) *upstream.TransportOptions {
	o := &upstream.TransportOptions{}
	if asked != nil {
		*o = *asked
		o.ServerName = strings.Clone(o.ServerName)
		o.VerifyNames, o.ALPN = slices.Clone(o.VerifyNames), slices.Clone(o.ALPN)
	}
	switch speak {
	case speakHTTP2:
		o.FallbackALPN = []string{"h2"}
	case speakALPN:
		o.FallbackALPN = []string{"h2", "http/1.1"}
	default:
		o.FallbackALPN = []string{"http/1.1"}
	}
	return o
}

// sweep closes the connections that were for a downstream connection which has ended.
func (hp *hostPools) sweep() {
	for _, p := range hp.every() {
		if d := p.key.downstream; d != nil && !d.End.IsZero() {
			p.drain()
			p.rest()
		}
	}
	hp.sweepAt = max(minSweep, 2*len(hp.special))
}

// evict closes a pool that has nothing to do, and reports whether there was one.
func (hp *hostPools) evict() bool {
	for _, p := range hp.special {
		if p.quiet() {
			p.drain()
			p.rest()
			return true
		}
	}
	for _, p := range hp.plain {
		if p != nil && p.quiet() {
			p.drain()
			p.rest()
			return true
		}
	}
	return false
}

// spare closes a connection that idles in another pool than p, and reports whether
// there was one.
func (hp *hostPools) spare(p *pool) bool {
	for _, x := range hp.plain {
		if x != nil && x != p && x.shrink() {
			return true
		}
	}
	for _, x := range hp.special {
		if x != p && x.shrink() {
			return true
		}
	}
	return false
}

// every returns all pools.
func (hp *hostPools) every() []*pool {
	all := slices.Collect(maps.Values(hp.special))
	for _, p := range hp.plain {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// rest forgets a pool that has no connection and nobody who waits for one.
func (p *pool) rest() {
	if p.conns > 0 || len(p.waiting) > 0 || p.breaker == nil {
		return
	}
	p.breaker.Release()
	p.breaker = nil
	p.leave()
}

// leave takes a pool out of those that are found.
func (p *pool) leave() {
	if p.plain[p.speak] == p {
		p.plain[p.speak] = nil
	} else if p.special[p.key] == p {
		delete(p.special, p.key)
	}
}

// Drain lets what runs, and who waits, finish and closes idle connections; requests to
// come get new ones.
func (hp *hostPools) Drain() {
	for _, p := range hp.every() {
		p.leave()
		p.drain()
		p.rest()
	}
}

// Close closes all connections at once: what runs on them fails.
func (hp *hostPools) Close() {
	for _, p := range hp.every() {
		p.fail(ErrClosed, 0)
	}
	hp.Drain()
	for c := range hp.all {
		if c.Socket != nil {
			c.Socket.Abort(ErrClosed)
		}
	}
}
