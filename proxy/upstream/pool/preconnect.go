// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/breaker"
)

// mostAhead bounds how many connections one request has opened ahead, as in Envoy.
const mostAhead = 3

// preconnect opens connections ahead of those that are needed, if the cluster asks for
// it (per_upstream_preconnect_ratio) and the host is healthy: as many that the streams
// there are and those that wait, times the ratio, would find room. Breakers that are
// near their limit keep what is left for requests.
func (p *pool) preconnect() {
	ratio := p.worker.Cluster().Preconnect.PerUpstreamRatio
	if ratio <= 1 || p.drained || !p.host.InCluster() || p.host.Health() != upstream.Healthy {
		return
	}
	for range mostAhead {
		active, room := p.load()
		if float64(len(p.waiting)+active)*ratio <= float64(active+room) || !p.openAhead() {
			return
		}
	}
}

// foresee opens connections to the hosts of requests to come, if the cluster asks for it
// (predictive_preconnect_ratio) and its policy can tell: as many that the streams of all
// hosts, and one more, times the ratio, would find room. Where a request asks something
// of its connection nothing is opened: what the next will ask is not known.
func foresee(w *upstream.Worker, t *engine.Task, o *Options) {
	ratio := w.Cluster().Preconnect.PredictiveRatio
	if ratio <= 1 || !w.Cluster().Blind || !o.plain() {
		return
	}
	for range mostAhead {
		waiting, active, room := 0, 0, 0
		for _, h := range w.Set().Hosts {
			hp, _ := h.Local(w.Loop()).Pool.(*hostPools)
			if hp == nil {
				continue
			}
			for _, p := range hp.every() {
				a, r := p.load()
				waiting, active, room = waiting+len(p.waiting), active+a, room+r
			}
		}
		if float64(waiting+active+1)*ratio <= float64(active+room) {
			return
		}
		h := w.PickAhead()
		if h == nil || h.Health() != upstream.Healthy {
			return
		}
		p := poolsOf(w, t, h).find(protocolFor(w.Cluster(), o.Downstream), &Options{})
		if p == nil {
			return
		}
		if a, r := p.load(); float64(len(p.waiting)+a+1)*ratio <= float64(a+r) {
			return
		}
		if !p.openAhead() {
			p.rest()
			return
		}
	}
}

// openAhead dials a connection that no request waits for, if every limit allows it.
func (p *pool) openAhead() bool {
	cl := p.worker.Cluster()
	res := &cl.Resources(breaker.Default).Connections
	if cl.Sheds() || !cl.CanConnect(p.host) || !res.TryAcquire() {
		return false
	}
	p.start(res)
	return true
}

// load returns how many streams the pool's connections carry, and for how many more
// they have room, those that are being dialled included.
func (p *pool) load() (active, room int) {
	if p.each() == 1 && len(p.multi) == 0 {
		free := len(p.idle) + p.dialing
		return p.conns - free, free
	}
	for _, c := range p.multi {
		active += c.multi.Streams()
		room += max(p.each()-c.multi.Streams(), 0)
	}
	return active, room + p.dialing*p.each()
}
