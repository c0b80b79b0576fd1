// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"errors"
	"fmt"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"weir.dev/weir/proxy/resource"
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
		if err := b.scopedRoutes(r.ScopedRoutes); err != nil {
			return fmt.Errorf("scoped_routes.%w", err)
		}
		return nil
	}
	return errors.New("one of route_config, rds and scoped_routes is required: add route_config")
}

func (b *builder) rds(r *hcmv3.Rds) error {
	f, err := b.feeder().open(r.GetConfigSource(), r.GetRouteConfigName(), b.Manager.table.Store)
	if err != nil {
		return fmt.Errorf("rds.config_source: %w", err)
	}
	b.in.Own(f.close)
	b.await(f.watch)
	return nil
}

func (b *builder) feeder() feeder { return feeder{services: b.in.Services, log: b.log, scope: b.scope} }

func (b *builder) await(w *resource.Watch) {
	if b.in.Await != nil {
		b.in.Await(w)
	}
}
