// SPDX-License-Identifier: Apache-2.0

package snidynamicforwardproxy

import (
	_ "embed"

	snidfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/upstream/dnscache"
	"weir.dev/weir/xds/ledger"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.sni_dynamic_forward_proxy"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the filter, which loads names into the caches.
func Extension(caches *dnscache.Set) extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: Name, Config: &snidfpv3.FilterConfig{},
		New: func(cfg proto.Message, c *extension.Network) (conn.Filter, error) {
			m := cfg.(*snidfpv3.FilterConfig)
			warn := c.Warn("SNI dynamic forward proxy", "listener", c.Listener)
			if err := supported.Apply(m, "", warn); err != nil {
				return nil, err
			}
			if err := m.ValidateAll(); err != nil {
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
			f := &Filter{cache: cache, port: 443, timeout: k.QueryTimeout}
			if p := m.GetPortValue(); p != 0 {
				f.port = uint16(p)
			}
			return f, nil
		},
	}
}
