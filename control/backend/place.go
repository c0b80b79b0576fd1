// SPDX-License-Identifier: Apache-2.0

package backend

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// place returns what says of an endpoint, if it is spread, where its Node is and which labels it has: of others
// its zone is all that is read.
func place(c *memo.Ctx, spread bool, s *build.Spread) func(*discoveryv1.EndpointSlice, *discoveryv1.Endpoint, *build.Endpoint) {
	if !spread {
		return func(*discoveryv1.EndpointSlice, *discoveryv1.Endpoint, *build.Endpoint) {}
	}
	names := s.LabelNames()
	return func(slice *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint, out *build.Endpoint) {
		if node, ok := source.Get[*corev1.Node](c, source.Node, source.Name{Name: text(e.NodeName)}); ok {
			own := PlaceOfNode(node)
			if out.Zone == "" {
				out.Zone = own.Zone
			}
			if out.Zone == own.Zone {
				out.Region, out.SubZone = own.Region, own.SubZone
			}
		}
		if len(names) == 0 {
			return
		}
		out.Labels = map[string]string{}
		labels, _ := labelsOf(c, slice, e)
		for _, name := range names {
			if v, ok := labels[name]; ok {
				out.Labels[name] = v
			}
		}
		out.Labels[build.LabelNode] = text(e.NodeName)
	}
}

// PlaceOfNode is where a Node is, by its labels.
func PlaceOfNode(node source.Object) build.Place {
	l := node.GetLabels()
	return build.Place{Region: l[build.LabelRegion], Zone: l[build.LabelZone], SubZone: l[build.LabelSubZone], Node: node.GetName()}
}
