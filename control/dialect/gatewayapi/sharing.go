// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Owns reports whether a fleet is of Gateways: it has the name of one or, without a
// namespace, that of a class.
func (d *Dialect) Owns(fleet source.Name) bool {
	_, shared := graph.ClassOfFleet(fleet)
	return shared || fleet.Namespace != ""
}

// ours are the Gateways that are ours, the older first.
func (d *Dialect) ours(c *memo.Ctx) []*gateway {
	var found []*gwapiv1.Gateway
	for _, n := range source.Names(c, source.Gateway) {
		if d.gateway.Get(c, n) == nil {
			continue
		}
		if o, ok := source.Get[*gwapiv1.Gateway](c, source.Gateway, n); ok {
			found = append(found, o)
		}
	}
	slices.SortFunc(found, func(a, b *gwapiv1.Gateway) int { return attach.Older(a, b) })
	out := make([]*gateway, len(found))
	for i, o := range found {
		out[i] = d.gateway.Get(c, source.NameOf(o))
	}
	return out
}

// Gateways returns the fleets that there are: of each Gateway or, for all of a class that
// share theirs, one. That of the oldest Gateway is first.
func (d *Dialect) Gateways(c *memo.Ctx) []source.Name {
	var out []source.Name
	seen := map[source.Name]bool{}
	for _, g := range d.ours(c) {
		if !seen[g.fleet] {
			seen[g.fleet] = true
			out = append(out, g.fleet)
		}
	}
	return out
}

// readSharers returns the Gateways of a fleet, the older first.
func (d *Dialect) readSharers(c *memo.Ctx, fleet source.Name) []source.Name {
	if fleet.Namespace != "" {
		if g := d.gateway.Get(c, fleet); g == nil || g.fleet != fleet {
			return nil
		}
		return []source.Name{fleet}
	}
	var out []source.Name
	for _, g := range d.ours(c) {
		if g.fleet == fleet {
			out = append(out, g.name)
		}
	}
	return out
}

// sharing returns the listeners of all Gateways that have their proxies in common with one.
func (d *Dialect) sharing(c *memo.Ctx, name source.Name) []*listener {
	g := d.gateway.Get(c, name)
	if g == nil || g.fleet == name {
		return d.listeners.Get(c, name).list
	}
	var out []*listener
	for _, n := range d.sharers.Get(c, g.fleet) {
		out = append(out, d.listeners.Get(c, n).list...)
	}
	return out
}

// gatewayAt is the Gateway of a listener at a socket.
func (d *Dialect) gatewayAt(c *memo.Ctx, socket graph.SocketID, l listenerID) source.Name {
	switch {
	case socket.Gateway.Namespace != "":
		return socket.Gateway
	case l.parent.Kind == source.Gateway:
		return l.parent.Name
	}
	if o, ok := source.Get[*gwapiv1.ListenerSet](c, source.ListenerSet, l.parent.Name); ok {
		return gatewayOfSet(o)
	}
	return source.Name{}
}

// A contest is what listeners of other Gateways mean for one of a fleet that is shared.
type contest struct {
	// conflict is that another has its place, and wanted who wants its place in vain.
	conflict *graph.Problem
	wanted   []string
}

// readContests returns those of a fleet that Gateways share: the listener of the oldest has
// its place.
func (d *Dialect) readContests(c *memo.Ctx, fleet source.Name) map[listenerID]contest {
	var all []*listener
	for _, name := range d.sharers.Get(c, fleet) {
		all = append(all, d.offer(c, name).list...)
	}
	findConflicts(all)
	out := map[listenerID]contest{}
	for _, l := range all {
		if l.conflict != nil || len(l.wanted) > 0 {
			out[l.id] = contest{l.conflict, l.wanted}
		}
	}
	return out
}
