// SPDX-License-Identifier: Apache-2.0

package router

import (
	_ "embed"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the filter.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: Name, Config: &routerv3.Router{}, Terminal: true,
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			return New(cfg.(*routerv3.Router), c)
		},
	}
}

// New compiles a router.
func New(p *routerv3.Router, c *extension.HTTP) (*Filter, error) {
	if err := supported.Apply(p, "", c.Warn("router", "filter", c.Name)); err != nil {
		return nil, err
	}
	f := &Filter{
		slot: c.Slot, clusters: c.Clusters, runtime: c.Runtime, shed: c.Overload.Point(overload.FilterCheck),
		suppress: p.GetSuppressEnvoyHeaders(), respectTimeout: p.GetRespectExpectedRqTimeout(), spawns: p.GetStartChildSpan(),
		stats: stats.Register[Stats](c.Scope, len(c.Loops)),
	}
	if c.Own != nil {
		c.Own(f.stats.Close)
	}
	if list := p.GetUpstreamHttpFilters(); len(list) > 0 {
		f.filters = new(stream.Chain)
		in := extension.HTTP{Services: c.Services, Scope: c.Scope, Own: c.Own, Await: c.Await}
		if err := extension.AddFilters(f.filters, extension.Upstream, list, "upstream_http_filters", in); err != nil {
			return nil, err
		}
	}
	f.workers = make([]worker, len(c.Loops))
	for i := range f.workers {
		f.workers[i] = worker{f: f, stats: f.stats.At(i)}
	}
	return f, nil
}
