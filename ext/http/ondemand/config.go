// SPDX-License-Identifier: Apache-2.0

package ondemand

import (
	_ "embed"
	"errors"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.on_demand"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// defaultTimeout is how long a request waits where nothing else is configured.
const defaultTimeout = 5 * time.Second

// Extension describes the filter.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: Name, Config: &ondemandv3.OnDemand{}, Route: &ondemandv3.PerRouteConfig{}, NewRoute: newRoute,
		New: func(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
			m := cfg.(*ondemandv3.OnDemand)
			if err := supported.Apply(m, "", c.Warn("on demand", "filter", c.Name)); err != nil {
				return nil, err
			}
			d, err := newDiscovery(m.GetOdcds(), c.Services)
			if err != nil {
				return nil, err
			}
			return &Filter{name: c.Name, clusters: c.Clusters, discovery: d, log: c.Log("http")}, nil
		},
	}
}

func newRoute(cfg proto.Message, s *extension.Services) (any, error) {
	m := cfg.(*ondemandv3.PerRouteConfig)
	if err := supported.Apply(m, "", func(string, string) {}); err != nil {
		return nil, err
	}
	d, err := newDiscovery(m.GetOdcds(), s)
	if err != nil {
		return nil, err
	}
	return &routeConfig{d}, nil
}

// discovery asks for clusters (OnDemandCds).
type discovery struct {
	resources *resource.Directory
	source    *corev3.ConfigSource
	timeout   time.Duration
}

// newDiscovery compiles odcds; nil is none.
func newDiscovery(m *ondemandv3.OnDemandCds, s *extension.Services) (*discovery, error) {
	if m == nil {
		return nil, nil
	}
	if m.GetSource() == nil {
		return nil, errors.New("odcds.source: is missing: say where clusters are asked for")
	}
	key, err := s.Resources.Key(m.GetSource())
	if err != nil {
		return nil, fmt.Errorf("odcds.source: %w", err)
	}
	if key == resource.Snapshot {
		return nil, errors.New("odcds.source.ads: there is no dynamic_resources.ads_config: say there where the management server is")
	}
	d := &discovery{resources: s.Resources, source: m.GetSource(), timeout: defaultTimeout}
	if t := m.GetTimeout(); t != nil {
		d.timeout = t.AsDuration()
	}
	return d, nil
}

// ask asks for a cluster; the question is nil if too many are asked for.
func (d *discovery) ask(name string) (*resource.Question, error) {
	return d.resources.Ask(d.source, xds.KindCluster, name)
}
