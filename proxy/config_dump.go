// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir.dev/weir/proxy/admin"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/xds"
)

// ConfigDump is the configuration in force, and what was refused of it.
func (i inspector) ConfigDump() []proto.Message {
	p := i.p
	p.mu.Lock()
	parts := []proto.Message{
		&adminv3.BootstrapConfigDump{Bootstrap: p.opts.Bootstrap, LastUpdated: timestamppb.New(p.started)},
		p.dumpClusters(), p.dumpExtensions(), p.dumpListeners(),
	}
	routes := p.dumpInlineRoutes()
	scopes := p.dumpInlineScopes()
	p.mu.Unlock()
	for _, r := range p.used(xds.KindRoutes) {
		routes.DynamicRouteConfigs = append(routes.DynamicRouteConfigs, &adminv3.RoutesConfigDump_DynamicRouteConfig{
			VersionInfo: r.Version, RouteConfig: pack(p.withHosts(r.Message)), LastUpdated: timeOf(r.Updated), ErrorState: errorOf(r.Refused),
		})
	}
	if p.dumpScopes(scopes); proto.Size(scopes.ScopedRoutesConfigDump) > 0 {
		parts = append(parts, scopes.ScopedRoutesConfigDump)
	}
	return append(parts, routes, p.dumpSecrets())
}

func (p *Proxy) dumpClusters() *adminv3.ClustersConfigDump {
	d := &p.fetching.dynamic
	out := &adminv3.ClustersConfigDump{VersionInfo: cmp.Or(d.versions[xds.KindCluster], p.served().Version())}
	for name, c := range p.served().Clusters().All() {
		if d.states[refusal{xds.KindCluster, name}] == nil {
			out.StaticClusters = append(out.StaticClusters, &adminv3.ClustersConfigDump_StaticCluster{Cluster: pack(c), LastUpdated: timestamppb.New(p.started)})
		}
	}
	for _, key := range d.of(xds.KindCluster) {
		f := d.states[key]
		active, err := f.now, errorOf(f.refused)
		if p.clusters.Warming(key.name) != nil {
			active = f.before
			out.DynamicWarmingClusters = append(out.DynamicWarmingClusters, dynamicCluster(f.now, err))
		}
		if active.message != nil || err != nil {
			out.DynamicActiveClusters = append(out.DynamicActiveClusters, dynamicCluster(active, err))
		}
	}
	return out
}

func dynamicCluster(e stamped, err *adminv3.UpdateFailureState) *adminv3.ClustersConfigDump_DynamicCluster {
	return &adminv3.ClustersConfigDump_DynamicCluster{VersionInfo: e.stamp.version, Cluster: pack(e.message), LastUpdated: timeOf(e.stamp.at), ErrorState: err}
}

func (p *Proxy) dumpListeners() *adminv3.ListenersConfigDump {
	d := &p.fetching.dynamic
	out := &adminv3.ListenersConfigDump{VersionInfo: cmp.Or(d.versions[xds.KindListener], p.served().Version())}
	dynamic := map[string]*adminv3.ListenersConfigDump_DynamicListener{}
	of := func(name string) *adminv3.ListenersConfigDump_DynamicListener {
		if dynamic[name] == nil {
			dynamic[name] = &adminv3.ListenersConfigDump_DynamicListener{Name: name}
		}
		return dynamic[name]
	}
	for name, l := range p.served().Listeners().All() {
		if d.states[refusal{xds.KindListener, name}] == nil {
			out.StaticListeners = append(out.StaticListeners, &adminv3.ListenersConfigDump_StaticListener{Listener: pack(l), LastUpdated: timestamppb.New(p.started)})
		}
	}
	for _, key := range d.of(xds.KindListener) {
		if r := p.listeners[key.name]; r != nil {
			of(key.name).ActiveState = listenerState(r.proto, r.stamp)
		}
		if n := p.pending[key.name]; n != nil {
			of(key.name).WarmingState = listenerState(n.proto, n.stamp)
		}
		if f := d.states[key]; f.refused != nil {
			of(key.name).ErrorState = errorOf(f.refused)
		}
	}
	for r := range p.retiring {
		if r.stamp != (stamp{}) {
			of(r.l.Name()).DrainingState = listenerState(r.proto, r.stamp)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dynamic)) {
		out.DynamicListeners = append(out.DynamicListeners, dynamic[name])
	}
	return out
}

func listenerState(l *listenerv3.Listener, s stamp) *adminv3.ListenersConfigDump_DynamicListenerState {
	return &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: s.version, Listener: pack(l), LastUpdated: timeOf(s.at)}
}

// dumpInlineRoutes are the route configurations that stand in connection managers.
func (p *Proxy) dumpInlineRoutes() *adminv3.RoutesConfigDump {
	out := &adminv3.RoutesConfigDump{}
	p.managers(func(m *hcmv3.HttpConnectionManager, since time.Time) {
		if rc := m.GetRouteConfig(); rc != nil {
			out.StaticRouteConfigs = append(out.StaticRouteConfigs, &adminv3.RoutesConfigDump_StaticRouteConfig{RouteConfig: pack(rc), LastUpdated: timestamppb.New(since)})
		}
	})
	return out
}

// managers calls f with the connection managers of all listeners, and since when they are.
func (p *Proxy) managers(f func(m *hcmv3.HttpConnectionManager, since time.Time)) {
	for _, name := range slices.Sorted(maps.Keys(p.listeners)) {
		r := p.listeners[name]
		since := p.started
		if !r.stamp.at.IsZero() {
			since = r.stamp.at
		}
		for _, c := range append(slices.Clone(r.proto.GetFilterChains()), r.proto.GetDefaultFilterChain()) {
			for _, n := range c.GetFilters() {
				if m, ok, err := extension.Decode(n.GetTypedConfig(), &hcmv3.HttpConnectionManager{}); ok && err == nil {
					f(m.(*hcmv3.HttpConnectionManager), since)
				}
			}
		}
	}
}

func (p *Proxy) dumpExtensions() *adminv3.EcdsConfigDump {
	out := &adminv3.EcdsConfigDump{}
	for _, r := range p.used(xds.KindExtension) {
		out.EcdsFilters = append(out.EcdsFilters, &adminv3.EcdsConfigDump_EcdsFilterConfig{
			VersionInfo: r.Version, EcdsFilter: pack(r.Message), LastUpdated: timeOf(r.Updated), ErrorState: errorOf(r.Refused),
		})
	}
	return out
}

func (p *Proxy) dumpSecrets() *adminv3.SecretsConfigDump {
	out := &adminv3.SecretsConfigDump{}
	p.mu.Lock()
	s := p.served()
	p.mu.Unlock()
	for name, m := range s.Secrets().All() {
		out.StaticSecrets = append(out.StaticSecrets, &adminv3.SecretsConfigDump_StaticSecret{Name: name, Secret: pack(m), LastUpdated: timestamppb.New(p.started)})
	}
	for _, r := range p.resources.List(xds.KindSecret) {
		d := &adminv3.SecretsConfigDump_DynamicSecret{
			Name: r.ID.Name, VersionInfo: r.Version, Secret: pack(r.Message), LastUpdated: timeOf(r.Updated), ErrorState: errorOf(r.Refused),
		}
		if r.Message == nil {
			out.DynamicWarmingSecrets = append(out.DynamicWarmingSecrets, d)
		} else {
			out.DynamicActiveSecrets = append(out.DynamicActiveSecrets, d)
		}
	}
	return out
}

// Endpoints are the endpoints of all clusters.
func (i inspector) Endpoints() *adminv3.EndpointsConfigDump {
	out := &adminv3.EndpointsConfigDump{}
	i.p.mu.Lock()
	s := i.p.served()
	i.p.mu.Unlock()
	for _, c := range s.Clusters().All() {
		if l := c.GetLoadAssignment(); l != nil {
			out.StaticEndpointConfigs = append(out.StaticEndpointConfigs, &adminv3.EndpointsConfigDump_StaticEndpointConfig{EndpointConfig: pack(l), LastUpdated: timestamppb.New(i.p.started)})
		}
	}
	for _, r := range i.p.used(xds.KindEndpoints) {
		out.DynamicEndpointConfigs = append(out.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{
			VersionInfo: r.Version, EndpointConfig: pack(r.Message), LastUpdated: timeOf(r.Updated), ErrorState: errorOf(r.Refused),
		})
	}
	return out
}

// served is the snapshot that is served, an empty one before the first; with mu held.
func (p *Proxy) served() *xds.Snapshot {
	if p.snapshot_ == nil {
		return (&xds.Builder{}).Build("")
	}
	return p.snapshot_
}

// used are the resources of a kind that something uses, as far as anything is known of
// them.
func (p *Proxy) used(kind xds.Kind) []resource.Resource {
	return slices.DeleteFunc(p.resources.List(kind), func(r resource.Resource) bool {
		return !r.Watched || r.Message == nil && r.Refused == nil
	})
}

// of are the resources of a kind that were fetched, in order.
func (d *dynamic) of(kind xds.Kind) []refusal {
	var out []refusal
	for key := range d.states {
		if key.kind == kind {
			out = append(out, key)
		}
	}
	slices.SortFunc(out, func(a, b refusal) int { return strings.Compare(a.name, b.name) })
	return out
}

func errorOf(r *resource.Refused) *adminv3.UpdateFailureState {
	if r == nil {
		return nil
	}
	return &adminv3.UpdateFailureState{FailedConfiguration: pack(r.Message), LastUpdateAttempt: timeOf(r.At), Details: r.Err.Error(), VersionInfo: r.Version}
}

func timeOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func pack(m proto.Message) *anypb.Any {
	if m == nil {
		return nil
	}
	a, err := anypb.New(m)
	if err != nil {
		return nil // It was decoded from one.
	}
	return a
}

// Unready are the listeners that wait for resources, and those.
func (i inspector) Unready() []admin.Unready {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	var out []admin.Unready
	for _, name := range slices.Sorted(maps.Keys(i.p.pending)) {
		u := admin.Unready{Name: name}
		for _, w := range i.p.pending[name].c.awaited {
			select {
			case <-w.Ready():
			default:
				u.Targets = append(u.Targets, string(w.ID().Kind)+" "+w.ID().Name)
			}
		}
		out = append(out, u)
	}
	return out
}
