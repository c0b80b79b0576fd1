// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/control/source"
	"weir.dev/weir/xds"
)

// What an admin may answer with, and for how long it may take.
const (
	largestDump  = 1 << 30
	answerWithin = 30 * time.Second
)

// Running returns what the proxy serves whose admin is at an address: Envoy's resources, and what was refused of them.
// It works with Envoy's admin, too.
func Running(ctx context.Context, admin string) (*Picture, error) {
	if _, _, err := net.SplitHostPort(admin); err != nil {
		return nil, fmt.Errorf("--admin %q: want host:port: %w", admin, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/config_dump?include_eds", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("--admin %q: %w", admin, err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("no proxy answers at --admin %s: %w", admin, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, largestDump))
	if err != nil {
		return nil, fmt.Errorf("read /config_dump of %s: %w", admin, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/config_dump of %s answers %s: is it the address of a proxy's admin?", admin, answer.Status)
	}
	return ReadDump(body)
}

// ReadDump reads the JSON of /config_dump.
func ReadDump(body []byte) (*Picture, error) {
	dump := &adminv3.ConfigDump{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, dump); err != nil {
		return nil, fmt.Errorf("read /config_dump: %w", err)
	}
	d := &dumped{out: &Picture{}, b: &xds.Builder{}}
	for _, part := range dump.GetConfigs() {
		m, err := part.UnmarshalNew()
		if err != nil {
			continue // A part that only another proxy has.
		}
		switch m := m.(type) {
		case *adminv3.ListenersConfigDump:
			d.listeners(m)
		case *adminv3.ClustersConfigDump:
			d.clusters(m)
		case *adminv3.RoutesConfigDump:
			d.routes(m)
		case *adminv3.EndpointsConfigDump:
			d.endpoints(m)
		}
	}
	d.out.Resources = d.b.Build("")
	d.objects()
	return d.out, nil
}

// dumped gathers the resources of a dump.
type dumped struct {
	out *Picture
	b   *xds.Builder
}

// read unpacks a resource; false if there is none.
func read[M proto.Message](a *anypb.Any, m M) (M, bool) {
	return m, a != nil && a.UnmarshalTo(m) == nil
}

// refused tells of an update that the proxy did not take.
func (d *dumped) refused(kind xds.Kind, name string, s *adminv3.UpdateFailureState) {
	if s != nil {
		d.out.Loose = append(d.out.Loose, xds.Problem{Kind: kind, Name: name, Reason: "the proxy refused an update: " + s.GetDetails()})
	}
}

func (d *dumped) listeners(m *adminv3.ListenersConfigDump) {
	put := func(a *anypb.Any) {
		if l, ok := read(a, &listenerv3.Listener{}); ok {
			d.b.Listeners().Put(l.GetName(), l, xds.Origin{})
		}
	}
	for _, s := range m.GetStaticListeners() {
		put(s.GetListener())
	}
	for _, s := range m.GetDynamicListeners() {
		put(s.GetActiveState().GetListener())
		d.refused(xds.KindListener, s.GetName(), s.GetErrorState())
	}
}

func (d *dumped) clusters(m *adminv3.ClustersConfigDump) {
	put := func(a *anypb.Any, s *adminv3.UpdateFailureState) {
		c, ok := read(a, &clusterv3.Cluster{})
		if ok {
			d.b.Clusters().Put(c.GetName(), c, xds.Origin{})
		}
		d.refused(xds.KindCluster, c.GetName(), s)
	}
	for _, s := range m.GetStaticClusters() {
		put(s.GetCluster(), nil)
	}
	for _, s := range m.GetDynamicActiveClusters() {
		put(s.GetCluster(), s.GetErrorState())
	}
}

func (d *dumped) routes(m *adminv3.RoutesConfigDump) {
	put := func(a *anypb.Any, s *adminv3.UpdateFailureState) {
		rc, ok := read(a, &routev3.RouteConfiguration{})
		if ok {
			d.b.Routes().Put(rc.GetName(), rc, xds.Origin{})
		}
		d.refused(xds.KindRoutes, rc.GetName(), s)
	}
	for _, s := range m.GetStaticRouteConfigs() {
		put(s.GetRouteConfig(), nil)
	}
	for _, s := range m.GetDynamicRouteConfigs() {
		put(s.GetRouteConfig(), s.GetErrorState())
	}
}

func (d *dumped) endpoints(m *adminv3.EndpointsConfigDump) {
	put := func(a *anypb.Any, s *adminv3.UpdateFailureState) {
		la, ok := read(a, &endpointv3.ClusterLoadAssignment{})
		if ok {
			d.b.Endpoints().Put(la.GetClusterName(), la, xds.Origin{})
		}
		d.refused(xds.KindEndpoints, la.GetClusterName(), s)
	}
	for _, s := range m.GetStaticEndpointConfigs() {
		put(s.GetEndpointConfig(), nil)
	}
	for _, s := range m.GetDynamicEndpointConfigs() {
		put(s.GetEndpointConfig(), s.GetErrorState())
	}
}

// objects finds the objects that resources were made from, by the names that translation gives: a Gateway's listeners
// are namespace/name/port, a route's routes kind/namespace/name/rule/...
func (d *dumped) objects() {
	seen, all := map[source.Key]bool{}, newWhole(d.out.Resources)
	add := func(kind source.Kind, parts []string) {
		key := source.Key{Kind: kind, Name: source.Name{Namespace: parts[0], Name: parts[1]}}
		if !seen[key] {
			seen[key] = true
			d.out.Items = append(d.out.Items, Item{Key: key, from: all})
		}
	}
	const namespaceNameMore = 3
	for name := range d.out.Resources.Listeners().All() {
		if parts := strings.SplitN(name, "/", namespaceNameMore); len(parts) == namespaceNameMore {
			add(source.Gateway, parts)
		}
	}
	routes := map[string]source.Kind{"httproute": source.HTTPRoute, "grpcroute": source.GRPCRoute}
	for _, rc := range d.out.Resources.Routes().All() {
		for _, vh := range rc.GetVirtualHosts() {
			for _, r := range vh.GetRoutes() {
				kind, rest, _ := strings.Cut(r.GetName(), "/")
				if parts := strings.SplitN(rest, "/", namespaceNameMore); routes[kind].Kind != "" && len(parts) == namespaceNameMore {
					add(routes[kind], parts)
				}
			}
		}
	}
	for name := range d.out.Resources.Clusters().All() {
		kind, parts := source.Service, strings.Split(name, "/")
		switch parts[0] {
		case "backend":
			kind, parts = source.Backend, parts[1:]
		case "function":
			kind, parts = source.Function, parts[1:]
		case "envoybackend":
			kind, parts = source.EnvoyBackend, parts[1:]
		case "xbackend":
			kind, parts = source.XBackend, parts[1:]
		case "failover":
			continue // It is several of the others.
		case "serviceimport":
			kind, parts = source.ServiceImport, parts[1:]
		}
		if len(parts) >= namespaceNameMore {
			add(kind, parts)
		}
	}
}
