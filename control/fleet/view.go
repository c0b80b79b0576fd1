// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	corev1 "k8s.io/api/core/v1"

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

// viewOf reads what a proxy says of itself: in which zone it is, by node.locality.zone, and on which
// node of Kubernetes, by node.metadata.
func viewOf(node *corev3.Node) viewID {
	return viewID{
		whole: !slices.Contains(node.GetClientFeatures(), wire.DeliversHosts),
		Place: build.Place{
			Zone: node.GetLocality().GetZone(),
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
func (g *gateway) serve(id viewID, zones map[string]string) *xds.Store {
	g.coming++
	if id == (viewID{}) {
		return g.store
	}
	v := g.views[id]
	if v == nil {
		v = &view{at: located(id.Place, zones)}
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
	if v.at != (build.Place{}) {
		next = xds.Placed(next, before, had, func(m *endpointv3.ClusterLoadAssignment) *endpointv3.ClusterLoadAssignment {
			return build.Near(m, v.at)
		})
	}
	v.store.Publish(next)
}

// located is a place whose zone, if it does not say that itself, is its node's.
func located(p build.Place, zones map[string]string) build.Place {
	if p.Zone == "" {
		p.Zone = zones[p.Node]
	}
	return p
}

// node notes in which zone a Node is. It is called with mu.
func (r *Runner) node(c source.Change) {
	zone := ""
	if c.Object != nil {
		zone = c.Object.GetLabels()[corev1.LabelTopologyZone]
	}
	if name := c.Key.Name.Name; zone == "" {
		delete(r.zones, name)
	} else {
		r.zones[name] = zone
	}
	for _, g := range r.gateways {
		for id, v := range g.views {
			if at := located(id.Place, r.zones); id.Node == c.Key.Name.Name && at != v.at {
				v.at = at
				v.publish(id, g.store.Snapshot(), nil)
			}
		}
	}
}
