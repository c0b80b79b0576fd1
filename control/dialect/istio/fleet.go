// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// prefix begins the names of gateways; what follows names the selector: the value of the
// label "istio" alone, or all labels with ":" for "/".
const prefix = "istio-"

// usual is the label by which Istio's own gateways are chosen.
const usual = "istio"

// fleetOf names the proxies that a selector chooses.
func fleetOf(selector map[string]string) string {
	if v, ok := selector[usual]; ok && len(selector) == 1 && v != "" {
		return v
	}
	return strings.ReplaceAll(labels.SelectorFromSet(selector).String(), "/", ":")
}

// labelsOf returns the labels of the proxies of a fleet.
func labelsOf(fleet string) map[string]string {
	if fleet != "" && !strings.Contains(fleet, "=") {
		return map[string]string{usual: fleet}
	}
	out := map[string]string{}
	for _, pair := range strings.Split(fleet, ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			out[strings.ReplaceAll(k, ":", "/")] = v
		}
	}
	return out
}

// Owns reports whether a gateway is a fleet of Istio's Gateways.
func (d *Dialect) Owns(gateway source.Name) bool {
	return gateway.Namespace == "" && strings.HasPrefix(gateway.Name, prefix)
}

func gatewayOf(fleet string) source.Name { return source.Name{Name: prefix + fleet} }

func fleetIn(gateway source.Name) string { return strings.TrimPrefix(gateway.Name, prefix) }

// Gateways returns the fleets that there are, by name.
func (d *Dialect) Gateways(c *memo.Ctx) []source.Name {
	var out []source.Name
	for _, f := range d.fleets.Get(c, struct{}{}) {
		out = append(out, gatewayOf(f))
	}
	return out
}

// readFleets returns the selectors of Gateways. Those without one are for every fleet,
// and a fleet of their own only if there is no other.
func (d *Dialect) readFleets(c *memo.Ctx, _ struct{}) []string {
	found := map[string]bool{}
	for _, n := range source.Names(c, source.IstioGateway) {
		if g := d.gateway.Get(c, n); g != nil {
			found[fleetOf(g.selector)] = true
		}
	}
	if len(found) > 1 {
		delete(found, "")
	}
	return slices.Sorted(maps.Keys(found))
}

// layout is what the ports of a fleet have.
type layout struct {
	sockets []*socket
	// problems are of servers that are not served there.
	problems map[serverID][]graph.Problem
}

// serverID names a server of a Gateway.
type serverID struct {
	gateway source.Name
	index   int
}

// socket is a port with its servers, the older Gateway's first.
type socket struct {
	port    int32
	servers []*server
}

// kind tells servers that can share a port from those that cannot.
func (s *server) kind() string {
	switch {
	case s.secure:
		return "TLS"
	case s.http:
		return "HTTP"
	}
	return "TCP"
}

// readLayout puts the servers of all Gateways of a fleet on its ports. Where two cannot
// be at one place, the older Gateway's is.
func (d *Dialect) readLayout(c *memo.Ctx, fleet string) *layout {
	out := &layout{problems: map[serverID][]graph.Problem{}}
	own := labels.Set(labelsOf(fleet))
	var all []*istiov1.Gateway
	for _, n := range source.Names(c, source.IstioGateway) {
		if o, ok := source.Get[*istiov1.Gateway](c, source.IstioGateway, n); ok && labels.SelectorFromSet(o.Spec.Selector).Matches(own) {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, attach.Older)
	taken := map[placeOfHost]source.Name{}
	for _, o := range all {
		g := d.gateway.Get(c, source.NameOf(o))
		for _, s := range g.servers {
			if len(s.problems) == 0 {
				out.add(s, taken)
			}
		}
	}
	slices.SortFunc(out.sockets, func(a, b *socket) int { return cmp.Compare(a.port, b.port) })
	return out
}

// placeOfHost is a host name on a port.
type placeOfHost struct {
	port int32
	host string
}

// add puts a server on its port.
func (l *layout) add(s *server, taken map[placeOfHost]source.Name) {
	refuse := func(path, format string, args ...any) {
		l.problems[s.id] = append(l.problems[s.id], graph.Problemf(s.path(path), reasonConflict, format, args...))
	}
	at := slices.IndexFunc(l.sockets, func(o *socket) bool { return o.port == s.port })
	if at < 0 {
		l.sockets = append(l.sockets, &socket{port: s.port})
		at = len(l.sockets) - 1
	}
	k := l.sockets[at]
	if len(k.servers) > 0 && k.servers[0].kind() != s.kind() {
		refuse("port", "port %d speaks %s for Gateway %s of the same proxies, which is older, and %s here: use another port",
			s.port, k.servers[0].kind(), k.servers[0].id.gateway, s.kind())
		return
	}
	switch {
	case s.kind() == "TCP" && len(k.servers) > 0:
		refuse("port", "port %d is that of Gateway %s, which is older: TCP has no host names to tell them by", s.port, k.servers[0].id.gateway)
		return
	case s.secure && !s.passthrough:
		var left []hostIn
		for _, h := range s.hosts {
			p := placeOfHost{s.port, h.name}
			if other, ok := taken[p]; ok {
				refuse("hosts", "%s on port %d is that of Gateway %s, which is older", h.name, s.port, other)
				continue
			}
			taken[p] = s.id.gateway
			left = append(left, h)
		}
		if len(left) < len(s.hosts) {
			own := *s
			own.hosts = left
			s = &own
		}
	}
	if len(s.hosts) > 0 {
		k.servers = append(k.servers, s)
	}
}

// at returns the servers of a port.
func (l *layout) at(port int32) []*server {
	for _, k := range l.sockets {
		if k.port == port {
			return k.servers
		}
	}
	return nil
}
