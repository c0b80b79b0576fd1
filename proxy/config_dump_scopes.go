// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"slices"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/xds"
)

// scopeDump is what is told of scoped routes, and the scopes that are fetched, which are
// told once the lock of the proxy is free.
type scopeDump struct {
	*adminv3.ScopedRoutesConfigDump
	fetched []fetchedScopes
}

// fetchedScopes are those of one connection manager.
type fetchedScopes struct{ name, source string }

// dumpInlineScopes are the scopes that stand in connection managers.
func (p *Proxy) dumpInlineScopes() *scopeDump {
	out := &scopeDump{ScopedRoutesConfigDump: &adminv3.ScopedRoutesConfigDump{}}
	p.managers(func(m *hcmv3.HttpConnectionManager, since time.Time) {
		s := m.GetScopedRoutes()
		if rds := s.GetScopedRds(); rds != nil {
			if key, err := p.resources.Key(rds.GetScopedRdsConfigSource()); err == nil {
				out.fetched = append(out.fetched, fetchedScopes{s.GetName(), key})
			}
		}
		if l := s.GetScopedRouteConfigurationsList(); l != nil {
			out.InlineScopedRouteConfigs = append(out.InlineScopedRouteConfigs, &adminv3.ScopedRoutesConfigDump_InlineScopedRouteConfigs{
				Name: s.GetName(), ScopedRouteConfigs: packScopes(l), LastUpdated: timestamppb.New(since),
			})
		}
	})
	return out
}

// dumpScopes adds the scopes that were fetched.
func (p *Proxy) dumpScopes(out *scopeDump) {
	for _, r := range p.used(xds.KindScopedRoute) {
		l, ok := r.Message.(*hcmv3.ScopedRouteConfigurationsList)
		if !ok {
			continue
		}
		var told []string
		for _, f := range out.fetched {
			if f.source != r.ID.Source || slices.Contains(told, f.name) {
				continue
			}
			told = append(told, f.name)
			out.DynamicScopedRouteConfigs = append(out.DynamicScopedRouteConfigs, &adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs{
				Name: f.name, VersionInfo: r.Version, ScopedRouteConfigs: packScopes(l), LastUpdated: timeOf(r.Updated), ErrorState: errorOf(r.Refused),
			})
		}
	}
}

func packScopes(l *hcmv3.ScopedRouteConfigurationsList) (out []*anypb.Any) {
	for _, s := range l.GetScopedRouteConfigurations() {
		out = append(out, pack(s))
	}
	return out
}

// withHosts is a route configuration with the virtual hosts that were delivered for it.
func (p *Proxy) withHosts(m proto.Message) proto.Message {
	rc, ok := m.(*routev3.RouteConfiguration)
	if !ok || rc.GetVhds() == nil {
		return m
	}
	key, err := p.resources.Key(rc.GetVhds().GetConfigSource())
	if err != nil {
		return m
	}
	for _, r := range p.used(xds.KindVirtualHost) {
		if hosts, ok := r.Message.(*routev3.RouteConfiguration); ok && r.ID == (resource.ID{Source: key, Kind: xds.KindVirtualHost, Name: rc.GetName()}) {
			all := proto.CloneOf(rc)
			all.VirtualHosts = append(all.VirtualHosts, hosts.GetVirtualHosts()...)
			return all
		}
	}
	return m
}
