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

// part returns what an object came to. It goes by the names that translation gives, so that it can be asked of what a
// running proxy has, too; there o is nil. Routes below HTTP have no name there: of them it tells where they lead, if o
// is given.
func (w *whole) part(key source.Key, o source.Object) *xds.Snapshot {
	p := &part{whole: w, out: &xds.Builder{}}
	switch key.Kind {
	case source.Gateway:
		p.gateway(key.Name.String() + "/")
	case source.HTTPRoute, source.GRPCRoute:
		p.route(strings.ToLower(key.Kind.Kind) + "/" + key.Name.String())
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
	return p.out.Build(w.Version())
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
	*whole
	out *xds.Builder
}

func (p *part) gateway(prefix string) {
	for _, name := range beginning(p.listeners(), prefix) {
		l, _ := p.Listeners().Get(name)
		p.out.Listeners().Put(name, l, xds.Origin{})
	}
	for _, name := range beginning(p.tables(), prefix) {
		rc, _ := p.Routes().Get(name)
		p.out.Routes().Put(name, rc, xds.Origin{})
	}
}

// route copies the routes of an object, and where they lead.
func (p *part) route(owner string) {
	list := p.routes()[owner]
	for len(list) > 0 {
		of := list[0]
		own := &routev3.RouteConfiguration{Name: of.table.GetName()}
		var in *routev3.VirtualHost // that the last of own's is a part of
		for ; len(list) > 0 && list[0].table == of.table; list = list[1:] {
			at := list[0]
			if in != at.host {
				in = at.host
				own.VirtualHosts = append(own.VirtualHosts, &routev3.VirtualHost{Name: in.GetName(), Domains: in.GetDomains()})
			}
			host := own.VirtualHosts[len(own.VirtualHosts)-1]
			host.Routes = append(host.Routes, at.route)
			p.leads(at.route.GetRoute())
		}
		p.out.Routes().Put(of.name, own, xds.Origin{})
	}
}

// leads copies the clusters of an action.
func (p *part) leads(a *routev3.RouteAction) {
	names := []string{a.GetCluster()}
	for _, w := range a.GetWeightedClusters().GetClusters() {
		names = append(names, w.GetName())
	}
	for _, m := range a.GetRequestMirrorPolicies() {
		names = append(names, m.GetCluster())
	}
	for _, name := range names {
		if c, ok := p.Clusters().Get(name); ok {
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
	if la, ok := p.Endpoints().Get(name); ok {
		p.out.Endpoints().Put(name, la, xds.Origin{})
	}
}

// backend copies the clusters called name, or name and a port, or either and how they are spoken to.
func (p *part) backend(name string) {
	if c, ok := p.Clusters().Get(name); ok {
		p.cluster(name, c)
	}
	for _, other := range beginning(p.names(), name+"/") {
		c, _ := p.Clusters().Get(other)
		p.cluster(other, c)
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
