// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/xds"
)

// Part returns of a snapshot what an object came to. It goes by the names that translation gives, so that it can be
// asked of what a running proxy has, too; there o is nil. Routes below HTTP have no name there: of them it tells where
// they lead, if o is given.
func Part(s *xds.Snapshot, key source.Key, o source.Object) *xds.Snapshot {
	p := &part{from: s, out: &xds.Builder{}}
	switch key.Kind {
	case source.Gateway:
		p.gateway(key.Name.String() + "/")
	case source.HTTPRoute, source.GRPCRoute:
		p.route(strings.ToLower(key.Kind.Kind) + "/" + key.Name.String() + "/")
	case source.Service, source.ServiceImport, source.Backend, source.EnvoyBackend, source.XBackend, source.Function:
		p.backend(strings.TrimSuffix(graph.ClusterID{Backend: key}.Name(), "/0")) // all ports
	}
	for _, ref := range backendsOf(o) {
		to := backend.Ref{Namespace: key.Namespace, To: ref.BackendObjectReference}.Key()
		id := graph.ClusterID{Backend: to}
		if ref.Port != nil && !slices.Contains(backend.Kinds(), to.Kind) && to.Kind != source.Function {
			id.Port = int32(*ref.Port)
		}
		p.backend(id.Name())
	}
	return p.out.Build(s.Version())
}

func backendsOf(o source.Object) []gwapiv1.BackendRef {
	var out []gwapiv1.BackendRef
	switch o := o.(type) {
	case *gwapiv1.TLSRoute:
		for _, r := range o.Spec.Rules {
			out = append(out, r.BackendRefs...)
		}
	case *gwapiv1.TCPRoute:
		for _, r := range o.Spec.Rules {
			out = append(out, r.BackendRefs...)
		}
	case *gwapiv1.UDPRoute:
		for _, r := range o.Spec.Rules {
			out = append(out, r.BackendRefs...)
		}
	}
	return out
}

// part copies resources.
type part struct {
	from *xds.Snapshot
	out  *xds.Builder
}

func (p *part) gateway(prefix string) {
	for name, l := range p.from.Listeners().All() {
		if strings.HasPrefix(name, prefix) {
			p.out.Listeners().Put(name, l, xds.Origin{})
		}
	}
	for name, rc := range p.from.Routes().All() {
		if strings.HasPrefix(name, prefix) {
			p.out.Routes().Put(name, rc, xds.Origin{})
		}
	}
}

// route copies the routes whose name begins with prefix, and where they lead.
func (p *part) route(prefix string) {
	for name, rc := range p.from.Routes().All() {
		own := &routev3.RouteConfiguration{Name: rc.GetName()}
		for _, vh := range rc.GetVirtualHosts() {
			host := &routev3.VirtualHost{Name: vh.GetName(), Domains: vh.GetDomains()}
			for _, r := range vh.GetRoutes() {
				if strings.HasPrefix(r.GetName(), prefix) {
					host.Routes = append(host.Routes, r)
					p.clusters(r.GetRoute())
				}
			}
			if len(host.Routes) > 0 {
				own.VirtualHosts = append(own.VirtualHosts, host)
			}
		}
		if len(own.VirtualHosts) > 0 {
			p.out.Routes().Put(name, own, xds.Origin{})
		}
	}
}

func (p *part) clusters(a *routev3.RouteAction) {
	names := []string{a.GetCluster()}
	for _, w := range a.GetWeightedClusters().GetClusters() {
		names = append(names, w.GetName())
	}
	for _, m := range a.GetRequestMirrorPolicies() {
		names = append(names, m.GetCluster())
	}
	for _, name := range names {
		if c, ok := p.from.Clusters().Get(name); ok {
			p.cluster(name, c)
		}
	}
}

// cluster copies a cluster and its endpoints.
func (p *part) cluster(name string, c *clusterv3.Cluster) {
	p.out.Clusters().Put(name, c, xds.Origin{})
	if service := c.GetEdsClusterConfig().GetServiceName(); service != "" {
		name = service
	}
	if la, ok := p.from.Endpoints().Get(name); ok {
		p.out.Endpoints().Put(name, la, xds.Origin{})
	}
}

// backend copies the clusters called name, or name and a port, or either and how they are spoken to.
func (p *part) backend(name string) {
	for other, c := range p.from.Clusters().All() {
		if other == name || strings.HasPrefix(other, name+"/") {
			p.cluster(other, c)
		}
	}
}

// Only returns of a snapshot the resources that one of the selectors chooses.
func Only(s *xds.Snapshot, selectors []Selector) *xds.Snapshot {
	out := &xds.Builder{}
	wanted := func(kind xds.Kind, name string) bool {
		return slices.ContainsFunc(selectors, func(s Selector) bool { return s.resource == kind && (s.name == "" || s.name == name) })
	}
	for name, m := range s.Listeners().All() {
		if wanted(xds.KindListener, name) {
			out.Listeners().Put(name, m, s.Listeners().Origin(name))
		}
	}
	for name, m := range s.Routes().All() {
		if wanted(xds.KindRoutes, name) {
			out.Routes().Put(name, m, s.Routes().Origin(name))
		}
	}
	for name, m := range s.Clusters().All() {
		if wanted(xds.KindCluster, name) {
			out.Clusters().Put(name, m, s.Clusters().Origin(name))
		}
	}
	for name, m := range s.Endpoints().All() {
		if wanted(xds.KindEndpoints, name) {
			out.Endpoints().Put(name, m, s.Endpoints().Origin(name))
		}
	}
	return out.Build(s.Version())
}
