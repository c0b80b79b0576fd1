// SPDX-License-Identifier: Apache-2.0

package dynamicforwardproxy

import (
	_ "embed"

	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream/dnscache"
	"weir.dev/weir/xds/ledger"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.dynamic_forward_proxy"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the filter, which loads names into the caches.
func Extension(caches *dnscache.Set) extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: Name, Config: &dfpv3.FilterConfig{}, Route: &dfpv3.PerRouteConfig{}, NewRoute: newRoute,
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			m := cfg.(*dfpv3.FilterConfig)
			warn := c.Warn("dynamic forward proxy", "filter", c.Name)
			if err := supported.Apply(m, "", warn); err != nil {
				return nil, err
			}
			k, err := dnscache.Compile(m.GetDnsCacheConfig(), "dns_cache_config", warn)
			if err != nil {
				return nil, err
			}
			cache, release, err := caches.Get(k)
			if err != nil {
				return nil, err
			}
			c.Own(release)
			cache.Show(c.Stats)
			return &Filter{name: c.Name, cache: cache, clusters: c.Clusters, timeout: k.QueryTimeout, fromState: m.GetAllowDynamicHostFromFilterState()}, nil
		},
	}
}

func newRoute(cfg proto.Message, _ *extension.Services) (any, error) {
	switch r := cfg.(*dfpv3.PerRouteConfig).GetHostRewriteSpecifier().(type) {
	case *dfpv3.PerRouteConfig_HostRewriteLiteral:
		return &rewrite{literal: r.HostRewriteLiteral}, nil
	case *dfpv3.PerRouteConfig_HostRewriteHeader:
		if r.HostRewriteHeader == "" {
			return &rewrite{}, nil
		}
		return &rewrite{header: header.NewName(r.HostRewriteHeader)}, nil
	}
	return &rewrite{}, nil // It only turns the filter on, where that is off.
}
