// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// hostOf names a virtual host of a table.
type hostOf struct {
	table  graph.TableID
	domain string
}

// tablesOf returns the tables of a server with the host names that each is for: one of
// its own for each name in TLS, and the port's in cleartext.
func tablesOf(fleet string, s *server) map[graph.TableID][]hostIn {
	out := map[graph.TableID][]hostIn{}
	id := graph.TableID{Socket: graph.SocketID{Gateway: gatewayOf(fleet), Port: s.port}}
	for _, h := range s.hosts {
		if s.secure {
			id.Host = h.name
		}
		out[id] = append(out[id], h)
	}
	return out
}

// places yields the domains that a VirtualService has, by what its gateways' servers
// and it both name.
func (d *Dialect) places(c *memo.Ctx, key source.Key, yield func(at hostOf, host string)) {
	v := d.virtual.Get(c, key.Name)
	if v == nil || len(v.problems) > 0 || v.delegated() || len(v.spec.HTTP) == 0 {
		return
	}
	for _, b := range d.bindings(c, v) {
		for _, k := range d.layout.Get(c, b.fleet).sockets {
			for _, s := range k.servers {
				if s.id.gateway != b.gateway.name || !s.http {
					continue
				}
				for table, hosts := range tablesOf(b.fleet, s) {
					for _, h := range hosts {
						for _, own := range v.hosts {
							if both, ok := attach.Meet(h.name, own); ok && h.admits(v.name.Namespace) {
								yield(hostOf{table, both}, own)
							}
						}
					}
				}
			}
		}
	}
}

func (d *Dialect) domainsOf(c *memo.Ctx, key source.Key) []memo.Pair[graph.TableID, string] {
	var out []memo.Pair[graph.TableID, string]
	d.places(c, key, func(at hostOf, _ string) {
		out = append(out, memo.Pair[graph.TableID, string]{Bucket: at.table, Member: at.domain})
	})
	return out
}

func (d *Dialect) membersOf(c *memo.Ctx, key source.Key) []memo.Pair[hostOf, source.Name] {
	var out []memo.Pair[hostOf, source.Name]
	d.places(c, key, func(at hostOf, _ string) {
		out = append(out, memo.Pair[hostOf, source.Name]{Bucket: at, Member: key.Name})
	})
	return out
}

// usersOf says to which VirtualServices one delegates.
func (d *Dialect) usersOf(c *memo.Ctx, key source.Key) []memo.Pair[source.Name, source.Name] {
	var out []memo.Pair[source.Name, source.Name]
	if v := d.virtual.Get(c, key.Name); v != nil && len(v.problems) == 0 {
		for i := range v.spec.HTTP {
			if r := &v.spec.HTTP[i]; r.Delegate != nil {
				out = append(out, memo.Pair[source.Name, source.Name]{Bucket: delegateName(v, r.Delegate), Member: key.Name})
			}
		}
	}
	return out
}

func delegateName(v *virtual, d *istiov1.Delegate) source.Name {
	return source.Name{Namespace: first(d.Namespace, v.name.Namespace), Name: d.Name}
}

// serversAt returns the servers that a table is of.
func (d *Dialect) serversAt(c *memo.Ctx, table graph.TableID) []*server {
	var out []*server
	for _, s := range d.layout.Get(c, fleetIn(table.Socket.Gateway)).at(table.Socket.Port) {
		if s.http && (!s.secure || slices.ContainsFunc(s.hosts, func(h hostIn) bool { return h.name == table.Host })) {
			out = append(out, s)
		}
	}
	return out
}

// readTable returns the domains of a table: those of VirtualServices, and those of
// servers that redirect to https.
func (d *Dialect) readTable(c *memo.Ctx, id graph.TableID) []hostOf {
	domains := slices.Clone(d.domains.Members(c, id))
	for _, s := range d.serversAt(c, id) {
		for _, h := range s.hosts {
			if s.redirect && !slices.Contains(domains, h.name) {
				domains = append(domains, h.name)
			}
		}
	}
	out := make([]hostOf, len(domains))
	for i, n := range domains {
		out[i] = hostOf{id, n}
	}
	return out
}

// readHost makes a virtual host of the rules of all its VirtualServices: the older's
// first, and those for all requests last.
func (d *Dialect) readHost(c *memo.Ctx, id hostOf) *graph.Host {
	out := &graph.Host{Domain: id.domain}
	servers := d.serversAt(c, id.table)
	for _, s := range servers {
		if s.redirect && slices.ContainsFunc(s.hosts, func(h hostIn) bool { return attach.Covers(h.name, id.domain) }) {
			out.Overlay.Message = &routev3.VirtualHost{RequireTls: routev3.VirtualHost_ALL}
		}
	}
	var all []*istiov1.VirtualService
	for _, n := range d.members.Members(c, id) {
		if v := d.virtual.Get(c, n); v != nil {
			all = append(all, v.object)
		}
	}
	slices.SortFunc(all, attach.Older)
	for i, o := range all {
		key := source.Key{Kind: source.IstioVirtualService, Name: source.NameOf(o)}
		if i == 0 {
			out.Origin = source.Input(c).Place(key).Origin(key, "spec.hosts")
		}
		b := &builder{d: d, c: c, object: key, place: d.placeOf(c, id, d.virtual.Get(c, key.Name), servers)}
		b.virtual(d.virtual.Get(c, key.Name))
		out.Routes = append(out.Routes, b.out...)
	}
	slices.SortStableFunc(out.Routes, func(a, b *graph.Route) int {
		return number(catchAll(a.Message.GetMatch())) - number(catchAll(b.Message.GetMatch()))
	})
	return out
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// placeOf tells where the rules of a VirtualService are for, in a host.
func (d *Dialect) placeOf(c *memo.Ctx, id hostOf, v *virtual, servers []*server) place {
	p := place{listen: id.table.Socket.Port, secure: id.table.Host != "", fleet: fleetIn(id.table.Socket.Gateway)}
	for _, s := range servers {
		if slices.Contains(v.gateways, s.id.gateway) && !slices.Contains(p.gateways, s.id.gateway) {
			p.gateways = append(p.gateways, s.id.gateway)
		}
	}
	if len(p.gateways) > 0 {
		p.from = p.gateways[0].Namespace
	}
	return p
}

// virtual adds the rules of a VirtualService.
func (b *builder) virtual(v *virtual) {
	for i := range v.spec.HTTP {
		in := &v.spec.HTTP[i]
		path := fmt.Sprintf("spec.http[%d]", i)
		name := fmt.Sprintf("virtualservice/%s/http/%d", v.name, i)
		matches := pointers(in.Match)
		if in.Delegate != nil {
			if b.delegate(v, in, name, path, matches) {
				return
			}
			continue
		}
		if b.add(b.ruleOf(b.object, path, name, in), matches) {
			return // Nothing is left for the rules below.
		}
	}
}

func pointers(list []istiov1.HTTPMatchRequest) []*istiov1.HTTPMatchRequest {
	var out []*istiov1.HTTPMatchRequest
	for i := range list {
		out = append(out, &list[i])
	}
	return out
}

// delegated finds the VirtualService that has the rules; nil if there is none that may.
func (d *Dialect) delegated(c *memo.Ctx, v *virtual, to *istiov1.Delegate) (*virtual, string) {
	name := delegateName(v, to)
	own := d.virtual.Get(c, name)
	switch {
	case own == nil:
		return nil, fmt.Sprintf("there is no VirtualService %s", name)
	case !own.delegated():
		return nil, fmt.Sprintf("VirtualService %s has hosts of its own: one that others delegate to has none", name)
	case len(own.problems) > 0:
		return nil, fmt.Sprintf("VirtualService %s is not served: %s", name, own.problems[0])
	case !exported(own.spec.ExportTo, name.Namespace, v.name.Namespace):
		return nil, fmt.Sprintf("VirtualService %s is not exported to namespace %s", name, v.name.Namespace)
	}
	return own, ""
}

// delegate adds the rules that a VirtualService has for a rule of another.
func (b *builder) delegate(v *virtual, root *istiov1.HTTPRoute, name, path string, matches []*istiov1.HTTPMatchRequest) (all bool) {
	if len(matches) == 0 {
		matches = []*istiov1.HTTPMatchRequest{nil}
	}
	own, wrong := b.d.delegated(b.c, v, root.Delegate)
	if wrong != "" {
		return b.add(&rule{name: name, path: path, from: b.object, spec: &istiov1.HTTPRoute{}}, matches)
	}
	key := source.Key{Kind: source.IstioVirtualService, Name: own.name}
	for i := range own.spec.HTTP {
		in := &own.spec.HTTP[i]
		var joined []*istiov1.HTTPMatchRequest
		some := len(in.Match) == 0
		for _, outer := range matches {
			if some {
				joined = append(joined, outer)
			}
			for j := range in.Match {
				if m, ok := both(outer, &in.Match[j]); ok {
					joined = append(joined, m)
				}
			}
		}
		if len(joined) == 0 {
			continue // No request is for both.
		}
		r := b.ruleOf(key, fmt.Sprintf("spec.http[%d]", i), fmt.Sprintf("%s/%s/http/%d", name, own.name, i), inherit(root, in))
		if b.add(r, joined) {
			return true
		}
	}
	return false
}

// inherit gives a rule what it does not say itself, of the rule that delegates to it.
func inherit(root, own *istiov1.HTTPRoute) *istiov1.HTTPRoute {
	out := *own
	unless := func(set bool, take func()) {
		if !set {
			take()
		}
	}
	unless(out.Rewrite != nil, func() { out.Rewrite = root.Rewrite })
	unless(out.Timeout != "", func() { out.Timeout = root.Timeout })
	unless(out.Retries != nil, func() { out.Retries = root.Retries })
	unless(out.CorsPolicy != nil, func() { out.CorsPolicy = root.CorsPolicy })
	unless(out.Mirror != nil || len(out.Mirrors) > 0, func() {
		out.Mirror, out.Mirrors = root.Mirror, root.Mirrors
		out.MirrorPercent, out.OldMirrorPercent, out.MirrorPercentage = root.MirrorPercent, root.OldMirrorPercent, root.MirrorPercentage
	})
	out.Headers = joinHeaders(root.Headers, own.Headers)
	return &out
}

// joinHeaders does to headers what both say; where they differ, what own says.
func joinHeaders(root, own *istiov1.Headers) *istiov1.Headers {
	switch {
	case root == nil:
		return own
	case own == nil:
		return root
	}
	return &istiov1.Headers{Request: joinOperations(root.Request, own.Request), Response: joinOperations(root.Response, own.Response)}
}

func joinOperations(root, own *istiov1.HeaderOperations) *istiov1.HeaderOperations {
	switch {
	case root == nil:
		return own
	case own == nil:
		return root
	}
	return &istiov1.HeaderOperations{
		Set: joined(root.Set, own.Set), Add: joined(root.Add, own.Add), Remove: slices.Concat(root.Remove, own.Remove),
	}
}

func joined(root, own map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range []map[string]string{root, own} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}
