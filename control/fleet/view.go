// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/serve"
	"weir.dev/weir/xds/wire"
)

// viewID is what proxies say of themselves that are served the same.
type viewID struct {
	// whole does not take virtual hosts by themselves.
	whole bool
	build.Place
}

// viewOf reads what a proxy says of itself: where it is, by node.locality, and on which
// node of Kubernetes, by node.metadata.
func viewOf(node *corev3.Node) viewID {
	return viewID{
		whole: !slices.Contains(node.GetClientFeatures(), wire.DeliversHosts),
		Place: build.Place{
			Region: node.GetLocality().GetRegion(), Zone: node.GetLocality().GetZone(), SubZone: node.GetLocality().GetSubZone(),
			Node: node.GetMetadata().GetFields()[infra.NodeMetadata].GetStringValue(),
		},
	}
}

// A view is the snapshot of a Gateway as some of its proxies are served it.
type view struct {
	store xds.Store
	at    build.Place
	// users are the proxies that are served it, and coming those that will be told of.
	users, coming int
}

// serve returns what who says id is served. Its view is there until a proxy that is told of
// afterwards has gone. It is called with the Runner's mu.
func (g *gateway) serve(id viewID, nodes map[string]build.Place) *xds.Store {
	g.coming++
	v := g.views[id]
	if v == nil {
		v = &view{at: located(id.Place, nodes)}
		g.views[id] = v
		v.publish(id, g.store.Snapshot(), nil)
	}
	v.coming++
	return &v.store
}

// come notes that who was served a view is a client, and leave that it has gone.
func (g *gateway) come(c serve.Client) {
	g.coming--
	if v := g.views[viewOf(c.Node)]; v != nil {
		v.coming--
		v.users++
	}
}

func (g *gateway) leave(c serve.Client) {
	id := viewOf(c.Node)
	v := g.views[id]
	if v == nil {
		return
	}
	if v.users--; v.users+v.coming <= 0 {
		delete(g.views, id)
	}
}

// publishViews publishes the newest snapshot to those who are served it in a form of their
// own; before is the one that they have. It is called with the Runner's mu.
func (g *gateway) publishViews(before *xds.Snapshot) {
	for id, v := range g.views {
		v.publish(id, g.store.Snapshot(), before)
	}
}

// publish makes a view one of newest; of before is what it has, nil if nothing of that counts.
func (v *view) publish(id viewID, newest, before *xds.Snapshot) {
	if newest == nil {
		return
	}
	var had *xds.Snapshot
	if before != nil {
		had = v.store.Snapshot()
	}
	next := newest
	if id.whole {
		next = xds.Whole(newest, before, had)
	}
	v.store.Publish(xds.Placed(next, before, had, func(m *endpointv3.ClusterLoadAssignment) *endpointv3.ClusterLoadAssignment {
		return build.Near(m, v.at)
	}))
}

// located is a place of which its node says what it does not say itself.
func located(p build.Place, nodes map[string]build.Place) build.Place {
	own := nodes[p.Node]
	if p.Zone == "" {
		p.Zone = own.Zone
	}
	if p.Region == "" && p.Zone == own.Zone {
		p.Region = own.Region
	}
	if p.SubZone == "" && p.Zone == own.Zone {
		p.SubZone = own.SubZone
	}
	return p
}

// node notes where a Node is. It is called with mu.
func (r *Runner) node(c source.Change) {
	if c.Object == nil {
		delete(r.nodes, c.Key.Name.Name)
	} else {
		r.nodes[c.Key.Name.Name] = backend.PlaceOfNode(c.Object)
	}
	for _, g := range r.gateways {
		for id, v := range g.views {
			if at := located(id.Place, r.nodes); id.Node == c.Key.Name.Name && at != v.at {
				v.at = at
				v.publish(id, g.store.Snapshot(), nil)
			}
		}
	}
}
