// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
)

// Apply makes the snapshot what is served, and looks only at what differs from the one
// before. What others depend on goes first: secrets, endpoints, clusters, for which it
// waits until they are warm, routes, and then the listeners that use them; what is no
// longer used goes last. A resource that has a problem is left as it was; it is told
// now and, while it stays so, each time.
func (p *Proxy) Apply(s *xds.Snapshot) []xds.Problem { return p.apply(s, true) }

func (p *Proxy) apply(s *xds.Snapshot, wait bool) []xds.Problem {
	p.applying.Lock()
	defer p.applying.Unlock()
	first := p.snapshot_ == nil
	changes := p.changes(s)
	if first {
		// A proxy begins to serve when all of it is good.
		if problems := p.begin(s, changes); xds.HasErrors(problems) {
			return problems
		}
	} else {
		p.change(s, changes, wait)
	}
	p.mu.Lock()
	p.snapshot_ = s
	p.mu.Unlock()
	return p.problems()
}

// changes are what differs from the snapshot that is served, and what was refused the
// last time: an address may have become free since.
func (p *Proxy) changes(s *xds.Snapshot) []xds.Change {
	all := xds.Changes(p.snapshot_, s)
	fresh := make(map[refusal]bool, len(all))
	for _, c := range all {
		fresh[refusal{c.Kind, c.Name}] = true
	}
	for r := range p.refused {
		if fresh[r] {
			continue
		}
		c := xds.Change{Kind: r.kind, Name: r.name}
		switch r.kind {
		case xds.KindListener:
			if l, ok := s.Listeners().Get(r.name); ok {
				c.Message, c.Old, c.Origin = l, l, s.Listeners().Origin(r.name)
			}
		case xds.KindCluster:
			if l, ok := s.Clusters().Get(r.name); ok {
				c.Message, c.Old, c.Origin = l, l, s.Clusters().Origin(r.name)
			}
		default:
			// What is wrong with the others stands in themselves.
		}
		if c.Message != nil {
			all = append(all, c)
		}
	}
	return all
}

// refusal names a resource that could not be used.
type refusal struct {
	kind xds.Kind
	name string
}

// refuse notes what is wrong with a resource; nothing, if problems is empty.
func (p *Proxy) refuse(c *xds.Change, problems ...xds.Problem) {
	key := refusal{c.Kind, c.Name}
	if len(problems) == 0 {
		delete(p.refused, key)
		return
	}
	p.refused[key] = problems
}

func (p *Proxy) problems() []xds.Problem {
	out := p.resources.Problems()
	for _, prs := range p.refused {
		out = append(out, prs...)
	}
	xds.Sort(out)
	return out
}

// begin applies the first snapshot: either all of it or, if anything is wrong, nothing.
func (p *Proxy) begin(s *xds.Snapshot, changes []xds.Change) []xds.Problem {
	p.change(s, changes, true)
	problems := p.problems()
	if !xds.HasErrors(problems) {
		return nil
	}
	return problems
}

// change applies changes in the order in which they depend on each other.
func (p *Proxy) change(s *xds.Snapshot, changes []xds.Change, wait bool) {
	by := map[xds.Kind][]*xds.Change{}
	for i := range changes {
		c := &changes[i]
		by[c.Kind] = append(by[c.Kind], c)
	}
	version := s.Version()
	for _, c := range by[xds.KindSecret] {
		p.changeSecret(c)
	}
	for _, kind := range []xds.Kind{xds.KindRuntime, xds.KindEndpoints} {
		p.changeResources(by[kind], version, false)
	}
	p.changeClusters(p.changeLimits(by[xds.KindCluster], false), wait)
	for _, kind := range []xds.Kind{xds.KindExtension, xds.KindVirtualHost, xds.KindRoutes, xds.KindScopedRoute} {
		p.changeResources(by[kind], version, false)
	}
	p.changeListeners(by[xds.KindListener])
	p.removeClusters(p.changeLimits(by[xds.KindCluster], true))
	for _, kind := range []xds.Kind{xds.KindScopedRoute, xds.KindRoutes, xds.KindVirtualHost, xds.KindExtension, xds.KindEndpoints, xds.KindRuntime} {
		p.changeResources(by[kind], version, true)
	}
}

// changeResources gives those resources to who watches them that came or changed or, if
// gone, takes away those that went.
func (p *Proxy) changeResources(changes []*xds.Change, version string, gone bool) {
	if len(changes) > 0 {
		if _, grouped := group(resource.Snapshot, changes[0].Kind, changes[0].Name); grouped {
			p.changeGroups(changes, version, gone)
			return
		}
	}
	for _, c := range changes {
		if gone != (c.Message == nil) {
			continue
		}
		id := resource.ID{Source: resource.Snapshot, Kind: c.Kind, Name: c.Name}
		if gone {
			p.refuse(c)
			p.resources.Remove(id)
			continue
		}
		if err := p.resources.Set(id, c.Message, version); err != nil {
			p.refuse(c, p.located(c.Kind, c.Name, c.Origin.Field, err))
			continue
		}
		p.refuse(c)
	}
}

// changeSecret gives a secret to those who use it. One that is gone can be named no
// more; who uses it keeps it.
func (p *Proxy) changeSecret(c *xds.Change) {
	src := p.secrets.Source(resource.Snapshot)
	if c.Message == nil {
		src.Remove(c.Name)
		p.refuse(c)
		return
	}
	if err := src.Set(c.Name, c.Message.(*tlsv3.Secret)); err != nil {
		p.refuse(c, p.located(xds.KindSecret, c.Name, c.Origin.Field, err))
		return
	}
	p.refuse(c)
}

// warmLimit bounds how long listeners wait for their clusters' first answer.
const warmLimit = 15 * time.Second

// changeClusters hands clusters to their manager and, if it is to wait, returns when
// they are warm, so that no route points at one that is not.
func (p *Proxy) changeClusters(changes []*xds.Change, wait bool) {
	for _, c := range changes {
		if c.Message != nil {
			p.known.set(c.Name, true)
		}
	}
	var warming []<-chan struct{}
	for _, c := range changes {
		if c.Message == nil {
			p.known.set(c.Name, false)
			p.refuse(c)
			continue
		}
		// What routes to the cluster waits for its secrets, too.
		p.awaiting = func(w *resource.Watch) { warming = append(warming, w.Ready()) }
		message := c.Message.(*clusterv3.Cluster)
		cfg, problems := p.compileCluster(message, c.Origin.Field)
		p.awaiting = nil
		if cfg != nil {
			cfg.Again = func() *upstream.Config {
				again, _ := upstream.Compile(message, p.upstreamContext())
				return again
			}
			warm, err := p.clusters.Update(cfg)
			if err != nil {
				problems = append(problems, xds.Problem{Severity: xds.Error, Kind: xds.KindCluster, Name: cfg.Name, Reason: err.Error()})
			} else {
				warming = append(warming, warm)
				p.reportLoad(cfg)
			}
		}
		p.refuse(c, problems...)
		if cfg == nil && c.Old == nil && p.snapshot_ != nil { // Of a start that fails, one reason will do.
			p.known.set(c.Name, false)
		}
	}
	if !wait {
		p.fetching.warming = append(cold(p.fetching.warming), warming...)
		return
	}
	if p.snapshot_ == nil && len(p.refused) > 0 {
		return
	}
	limit := time.NewTimer(warmLimit)
	defer limit.Stop()
	for _, w := range warming {
		select {
		case <-w:
		case <-p.flushStop:
			return
		case <-limit.C:
			p.log("upstream").Warn("some clusters have no hosts yet: their names could not be resolved in time; requests to them answer 503 until they can")
			return
		}
	}
}

// compileCluster compiles a cluster; what does not stop it is logged.
func (p *Proxy) compileCluster(c *clusterv3.Cluster, origin string) (*upstream.Config, []xds.Problem) {
	cfg, prs := upstream.Compile(c, p.upstreamContext())
	var errs []xds.Problem
	for i := range prs {
		pr := &prs[i]
		pr.Kind, pr.Name, pr.Path = xds.KindCluster, c.GetName(), joinPath(origin, pr.Path)
		if pos, ok := place(p.opts.Positions, pr.Path); ok {
			pr.File, pr.Line, pr.Column = pos.File, pos.Line, pos.Column
		}
		located := p.opts.Positions.Locate(prs[i : i+1])[0]
		if pr.Severity == xds.Warning {
			p.log("upstream").Warn(located.Error())
			continue
		}
		errs = append(errs, located)
	}
	return cfg, errs
}

func joinPath(a, b string) string {
	if b == "" {
		return a
	}
	return a + "." + b
}

func (p *Proxy) hasCluster(name string) bool { return p.known.has(name) }

// changeListeners brings the listeners up to date and has new ones accept.
func (p *Proxy) changeListeners(changes []*xds.Change) {
	for _, c := range changes {
		if c.Message == nil {
			p.refuse(c)
			p.removeListener(c.Name)
			continue
		}
		if err := p.updateListener(c.Name, c.Message.(*listenerv3.Listener), c.Origin.Field); err != nil {
			p.refuse(c, p.located(xds.KindListener, c.Name, c.Origin.Field, err))
			continue
		}
		p.refuse(c)
	}
	if p.snapshot_ == nil && len(p.refused) > 0 {
		return
	}
	for _, c := range changes {
		if c.Message == nil {
			continue
		}
		if err := p.startListener(c.Name); err != nil {
			p.refuse(c, p.located(xds.KindListener, c.Name, c.Origin.Field, err))
		}
	}
}
