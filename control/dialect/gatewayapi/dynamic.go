// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// follow returns the cluster that one of n references of a route leads to, or what is
// wrong with it.
func (d *Dialect) follow(c *memo.Ctx, to backend.Ref, n int) (graph.ClusterID, *graph.Problem) {
	id, problem := d.backends.Resolve(c, to)
	if problem == nil && to.From == source.TLSRoute && n > 1 && d.backends.Dynamic(c, id) {
		p := graph.Problemf("", string(gwapiv1.RouteReasonUnsupportedValue),
			"%s is of type %s, which must be the only backend of a TLSRoute: its hosts are those that clients name, and no other gets a share of them; make a route of its own for it",
			id.Backend, v1alpha1.BackendDynamicResolver)
		return graph.ClusterID{}, &p
	}
	return id, problem
}

func countReferences(o source.Object) int {
	n := 0
	references(o, func(reference) { n++ })
	return n
}

// ended tells which references of a TLSRoute lead nowhere at a parent, since TLS ends there
// and the name that clients ask for is the proxy's own.
func (d *Dialect) ended(c *memo.Ctx, r *route, b *backing, p attachedParent) []graph.Problem {
	if r.key.Kind != source.TLSRoute {
		return nil
	}
	var out []graph.Problem
	for _, at := range p.places {
		if !at.terminates {
			continue
		}
		references(r.object, func(ref reference) {
			to := b.at[ref.path]
			if !to.Valid || !d.backends.Dynamic(c, to.Cluster) {
				return
			}
			out = append(out, graph.Problemf(ref.path, string(gwapiv1.RouteReasonUnsupportedValue),
				"%s is of type %s, and listener %s of %s ends TLS, so that clients name the proxy and no backend; connections there are closed: attach the route to listeners whose tls.mode is %s",
				to.Cluster.Backend, v1alpha1.BackendDynamicResolver, at.listener.name, at.listener.parent, gwapiv1.TLSModePassthrough))
		})
	}
	return out
}
