// SPDX-License-Identifier: Apache-2.0

package build

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// A Place is where a proxy runs, as far as that is known: a region (topology.kubernetes.io/region), a zone and a sub-zone
// of it, and a node of Kubernetes. The zero Place is unknown.
type Place struct{ Region, Zone, SubZone, Node string }

// PlaceOf reads a zone, or region/zone or region/zone/subzone.
func PlaceOf(text string) Place {
	switch parts := strings.SplitN(text, "/", 3); len(parts) {
	case 1:
		return Place{Zone: text}
	case 2:
		return Place{Region: parts[0], Zone: parts[1]}
	default:
		return Place{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
	}
}

func (p Place) locality() *corev3.Locality {
	return &corev3.Locality{Region: p.Region, Zone: p.Zone, SubZone: p.SubZone}
}

// hintsKey is the metadata of an endpoint that says for which zones and nodes it is meant:
// the hints of EndpointSlices, in lists of these names.
const (
	hintsKey  = "weir.dev/hints"
	hintZones = "zones"
	hintNodes = "nodes"
)

// hints returns metadata that says for whom an endpoint is meant; nil if for everybody.
func hints(zones, nodes []string) *corev3.Metadata {
	if len(zones)+len(nodes) == 0 {
		return nil
	}
	fields := map[string]*structpb.Value{}
	for name, of := range map[string][]string{hintZones: zones, hintNodes: nodes} {
		list := &structpb.ListValue{}
		for _, v := range of {
			list.Values = append(list.Values, structpb.NewStringValue(v))
		}
		if len(of) > 0 {
			fields[name] = structpb.NewListValue(list)
		}
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{hintsKey: {Fields: fields}}}
}

// hinted tells whether an endpoint has hints of a kind, and whether one is value.
func hinted(e *endpointv3.LbEndpoint, kind, value string) (any, it bool) {
	list := e.GetMetadata().GetFilterMetadata()[hintsKey].GetFields()[kind].GetListValue().GetValues()
	return len(list) > 0, value != "" && slices.ContainsFunc(list, func(v *structpb.Value) bool { return v.GetStringValue() == value })
}

// Near returns endpoints as a proxy in a place is to prefer them, by Envoy's priorities: first those that
// are meant for its node, then those for its zone, then the others, which get requests as the
// nearer ones become unhealthy. As with kube-proxy nodes count only if each endpoint is meant for
// some and one for this, and so do zones; if neither does it returns what it was given.
//
// Where backends share a cluster by weights (Weighted) each has its nearest endpoints only:
// priorities would be those of all of them.
//
// Endpoints of which a Spread says how they are preferred are so by that.
func Near(of *endpointv3.ClusterLoadAssignment, p Place) *endpointv3.ClusterLoadAssignment {
	if s := spreadOf(of); s != nil {
		return s.of(of, p)
	}
	if p == (Place{}) || !hasHints(of) {
		return of
	}
	out := &endpointv3.ClusterLoadAssignment{ClusterName: of.GetClusterName(), NamedEndpoints: of.GetNamedEndpoints(), Policy: of.GetPolicy()}
	var shared []*endpointv3.LocalityLbEndpoints
	for _, l := range of.GetEndpoints() {
		if l.GetLoadBalancingWeight() == nil {
			shared = append(shared, l)
			continue
		}
		first := tiers([]*endpointv3.LocalityLbEndpoints{l}, p)[0]
		out.Endpoints = append(out.Endpoints, part(l, first, 0)...)
	}
	for i, tier := range tiers(shared, p) {
		for _, l := range shared {
			out.Endpoints = append(out.Endpoints, part(l, tier, uint32(i))...)
		}
	}
	return out
}

func hasHints(of *endpointv3.ClusterLoadAssignment) bool {
	for _, l := range of.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			if e.GetMetadata().GetFilterMetadata()[hintsKey] != nil {
				return true
			}
		}
	}
	return false
}

// A tier holds the endpoints that are alike near.
type tier map[*endpointv3.LbEndpoint]bool

// tiers sorts endpoints by how near they are; none is empty but the one of no endpoints.
func tiers(of []*endpointv3.LocalityLbEndpoints, p Place) []tier {
	nodes, zones, rest := tier{}, tier{}, tier{}
	everyNode, everyZone := true, true
	for _, l := range of {
		for _, e := range l.GetLbEndpoints() {
			anyNode, node := hinted(e, hintNodes, p.Node)
			anyZone, zone := hinted(e, hintZones, p.Zone)
			everyNode, everyZone = everyNode && anyNode, everyZone && anyZone
			rest[e] = true
			if zone {
				zones[e] = true
			}
			if node {
				nodes[e] = true
			}
		}
	}
	var out []tier
	take := func(t tier, every bool) {
		near := tier{}
		for e := range t {
			if rest[e] {
				near[e] = true
			}
		}
		if !every || len(near) == 0 {
			return
		}
		for e := range near {
			delete(rest, e)
		}
		out = append(out, near)
	}
	take(nodes, everyNode)
	take(zones, everyZone)
	if len(rest) > 0 || len(out) == 0 {
		out = append(out, rest)
	}
	return out
}

// part is what of a locality is in a tier, if something is.
func part(l *endpointv3.LocalityLbEndpoints, t tier, priority uint32) []*endpointv3.LocalityLbEndpoints {
	out := &endpointv3.LocalityLbEndpoints{
		Locality: l.GetLocality(), LoadBalancingWeight: l.GetLoadBalancingWeight(), Priority: priority, Metadata: l.GetMetadata(),
	}
	for _, e := range l.GetLbEndpoints() {
		if t[e] {
			out.LbEndpoints = append(out.LbEndpoints, e)
		}
	}
	if len(out.LbEndpoints) == 0 {
		return nil
	}
	return []*endpointv3.LocalityLbEndpoints{out}
}
