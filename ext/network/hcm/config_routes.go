// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds"
)

// routes finds the route table, or has it found.
func (b *builder) routes() error {
	switch r := b.proto.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		t, err := compileRoutes(r.RouteConfig, nil, b.in.Services, b.log, true)
		if err != nil {
			return fmt.Errorf("route_config.%w", err)
		}
		b.Manager.table.Store(t)
		return nil
	case *hcmv3.HttpConnectionManager_Rds:
		return b.rds(r.Rds)
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		return errors.New("scoped_routes: not supported yet: put the routes in route_config")
	}
	return errors.New("one of route_config, rds and scoped_routes is required: add route_config")
}

func (b *builder) rds(r *hcmv3.Rds) error {
	w, err := b.watchRoutes(r.GetConfigSource(), r.GetRouteConfigName(), b.Manager.table.Store)
	if err != nil {
		return fmt.Errorf("rds.config_source: %w", err)
	}
	b.in.Own(w.Close)
	b.await(w)
	return nil
}

func (b *builder) await(w *resource.Watch) {
	if b.in.Await != nil {
		b.in.Await(w)
	}
}

// sharedTables marks the route tables of resources, which all connection managers that
// name one have in common.
type sharedTables struct{}

// watchRoutes has changed told of each new table of a route configuration.
func (b *builder) watchRoutes(source *corev3.ConfigSource, name string, changed func(*route.Table)) (*resource.Watch, error) {
	if name == "" {
		return nil, errors.New("route_config_name: is missing")
	}
	sv, log := b.in.Services, b.log
	counts := resource.NewStats(b.scope.Scope("rds." + stats.Sanitize(name)))
	b.in.Own(counts.Close)
	return b.in.Resources.Watch(source, xds.KindRoutes, name, resource.Options{
		Next: func(m proto.Message, before any) (any, error) {
			rc, ok := m.(*routev3.RouteConfiguration)
			if !ok {
				return nil, fmt.Errorf("is a %s and not a RouteConfiguration", m.ProtoReflect().Descriptor().FullName())
			}
			old, _ := before.(*route.Table)
			return compileRoutes(rc, old, sv, log, false)
		},
		Share:   sharedTables{},
		Changed: func(v any) { changed(v.(*route.Table)) },
		Stats:   counts,
	})
}
