// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"net/netip"
	"slices"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// readPort finds a port.
func (b *Backends) readPort(c *memo.Ctx, id portID) port {
	switch id.of.Kind {
	case source.Service:
		s, ok := source.Get[*corev1.Service](c, source.Service, id.of.Name)
		if !ok {
			return port{}
		}
		return b.servicePort(s, id.port)
	case source.ServiceImport:
		s, ok := source.Get[*v1alpha1.ServiceImport](c, source.ServiceImport, id.of.Name)
		if !ok {
			return port{}
		}
		for _, p := range s.Spec.Ports {
			if p.Port == id.port {
				return port{found: true, has: true, name: p.Name, protocol: orTCP(corev1.Protocol(p.Protocol)), app: text(p.AppProtocol)}
			}
		}
		return port{found: true}
	case source.Backend, source.EnvoyBackend, source.XBackend:
		o := b.own.Get(c, id.of)
		if o == nil {
			return port{}
		}
		return port{found: true, has: true, app: o.app}
	case source.Hostname:
		return port{found: true, has: true, external: id.of.Name.Name}
	}
	return port{}
}

func (b *Backends) servicePort(s *corev1.Service, number int32) port {
	out := port{found: true}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		if !b.opts.ExternalName {
			out.refused = "is of type ExternalName, which can lead anywhere and is not taken: name the host in a Backend of " + v1alpha1.Group
			return out
		}
		out.external = s.Spec.ExternalName
	}
	for _, p := range s.Spec.Ports {
		if p.Port == number {
			out.has, out.name, out.protocol, out.app = true, p.Name, orTCP(p.Protocol), text(p.AppProtocol)
			out.near = text(s.Spec.TrafficDistribution)
			if ip, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil { // Which None is not.
				out.address = ip.String()
			}
			return out
		}
	}
	// An ExternalName Service need not list its ports.
	out.has = out.external != "" && len(s.Spec.Ports) == 0 && number != 0
	return out
}

func orTCP(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// readEndpoints finds the endpoints of a port; nil if its cluster has them itself.
func (b *Backends) readEndpoints(c *memo.Ctx, id endpointsID) *endpointv3.ClusterLoadAssignment {
	if id.of.Kind == source.Function {
		return b.functionEndpoints(c, id)
	}
	p := b.port.Get(c, id.portID)
	if !p.has || p.external != "" {
		return nil
	}
	if o := b.ownOf(c, id.of); o != nil {
		if o.names || o.dynamic {
			return nil
		}
		out := build.Endpoints(id.Name(), o.endpoints)
		build.ParseSpread(id.spread).On(out)
		return out
	}
	label := discoveryv1.LabelServiceName
	if id.of.Kind == source.ServiceImport {
		label = multicluster
	}
	list := source.Find[*discoveryv1.EndpointSlice](c, b.slices, id.of.Name)
	spread := build.ParseSpread(id.spread)
	if spread.Address && p.address != "" {
		return build.Endpoints(id.Name(), []build.Endpoint{{Address: build.Address(p.address, id.port, p.protocol == corev1.ProtocolUDP)}})
	}
	where := place(c, id.spread != "", spread)
	out := build.Endpoints(id.Name(), fromSlices(list, label, id.of.Name.Name, p, within(c, id.subset), where))
	spread.On(out)
	return out
}

// fromSlices returns the endpoints of a Service's port: those that are ready or, if
// none is, those that still serve while they end, as kube-proxy does. Only those that
// are within a subset count; where tells more of them.
func fromSlices(list []*discoveryv1.EndpointSlice, label, service string, p port,
	within func(*discoveryv1.EndpointSlice, *discoveryv1.Endpoint) bool,
	where func(*discoveryv1.EndpointSlice, *discoveryv1.Endpoint, *build.Endpoint),
) []build.Endpoint {
	var ready, ending []build.Endpoint
	seen := map[netip.AddrPort]bool{}
	for _, s := range list {
		if s.Labels[label] != service || s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		number, ok := slicePort(s, p)
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) == 0 || !within(s, &e) {
				continue
			}
			ip, err := netip.ParseAddr(e.Addresses[0]) // The others are alike by definition.
			if at := netip.AddrPortFrom(ip, uint16(number)); err != nil || seen[at] {
				continue
			} else {
				seen[at] = true
			}
			out := build.Endpoint{Address: build.Address(ip.String(), number, p.protocol == corev1.ProtocolUDP), Zone: text(e.Zone)}
			out.ForZones, out.ForNodes = meantFor(&e, p.near)
			where(s, &e, &out)
			switch c := e.Conditions; {
			case c.Ready == nil || *c.Ready:
				ready = append(ready, out)
			case c.Serving != nil && *c.Serving:
				ending = append(ending, out)
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.SortFunc(ready, compareEndpoints)
	return ready
}

// meantFor returns the zones and nodes that an endpoint is meant for: its hints, from
// whomever they are, or, of a Service that asks to have its traffic stay near, what Kubernetes' own
// controller would make them.
func meantFor(e *discoveryv1.Endpoint, near string) (zones, nodes []string) {
	if h := e.Hints; h != nil {
		for _, z := range h.ForZones {
			zones = append(zones, z.Name)
		}
		for _, n := range h.ForNodes {
			nodes = append(nodes, n.Name)
		}
	}
	sameNode := near == corev1.ServiceTrafficDistributionPreferSameNode
	sameZone := sameNode || near == corev1.ServiceTrafficDistributionPreferSameZone || near == corev1.ServiceTrafficDistributionPreferClose
	if sameZone && len(zones) == 0 && text(e.Zone) != "" {
		zones = []string{*e.Zone}
	}
	if sameNode && len(nodes) == 0 && text(e.NodeName) != "" {
		nodes = []string{*e.NodeName}
	}
	return zones, nodes
}

func compareEndpoints(a, b build.Endpoint) int {
	if c := cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Region, b.Region), cmp.Compare(a.SubZone, b.SubZone)); c != 0 {
		return c
	}
	x, y := a.Address.GetSocketAddress(), b.Address.GetSocketAddress()
	if c := netip.MustParseAddr(x.GetAddress()).Compare(netip.MustParseAddr(y.GetAddress())); c != 0 {
		return c
	}
	return int(x.GetPortValue()) - int(y.GetPortValue())
}

// slicePort returns the number under which a slice has a Service's port.
func slicePort(s *discoveryv1.EndpointSlice, p port) (int32, bool) {
	for _, sp := range s.Ports {
		protocol := corev1.ProtocolTCP
		if sp.Protocol != nil {
			protocol = *sp.Protocol
		}
		if text(sp.Name) == p.name && protocol == p.protocol && sp.Port != nil {
			return *sp.Port, *sp.Port > 0 && *sp.Port <= 65535 // A cluster has no others, and files may.
		}
	}
	return 0, false
}
