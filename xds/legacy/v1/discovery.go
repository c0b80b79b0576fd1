// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.yaml.in/yaml/v4"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/legacy/tree"
	"weir.dev/weir/xds/typedstruct"
)

// What makes a source of REST ask by version 1 of the API: a validator of what it
// answers, which knows what resources of v1 leave to the bootstrap.
const (
	DiscoveryName = "weir.discovery.v1"
	DiscoveryType = "weir.dev.discovery.V1"
)

// A Context is what resources of v1 leave to the bootstrap: whom clusters of type sds and
// filters that limit rates ask.
type Context struct {
	SDSCluster       string        `field:"sds_cluster"`
	SDSRefreshDelay  time.Duration `field:"sds_refresh_delay"`
	RateLimitCluster string        `field:"rate_limit_cluster"`
}

// ContextOf returns the context of a source that asks by version 1 of the API, nil if it
// asks by another. The error tells a validator that nobody knows.
func ContextOf(a *corev3.ApiConfigSource) (*Context, error) {
	var out *Context
	for i, v := range a.GetConfigValidators() {
		s, err := typedstruct.From(v.GetTypedConfig())
		switch {
		case err != nil:
			return nil, fmt.Errorf("config_validators[%d]: %w", i, err)
		case s == nil || typedstruct.Name(s) != DiscoveryType:
			return nil, fmt.Errorf("config_validators[%d]: %q is no config validator: there is %s alone, by which version 1 of discovery is asked", i, v.GetName(), DiscoveryType)
		case a.GetApiType() != corev3.ApiConfigSource_REST || len(a.GetClusterNames()) != 1:
			return nil, fmt.Errorf("config_validators[%d]: version 1 of discovery is asked by REST, of one cluster: write api_type: REST and one of cluster_names", i)
		}
		out = &Context{}
		if err := typedstruct.Decode(s, out); err != nil {
			return nil, fmt.Errorf("config_validators[%d]: %w", i, err)
		}
	}
	return out, nil
}

// byVersion1 makes the source at a path in what an object becomes ask by version 1.
func byVersion1(path string) func(c *conversion, o object) {
	return func(c *conversion, o object) {
		source := o.out
		for part := range strings.SplitSeq(path, ".") {
			if part != "" {
				source = tree.Inner(source, o.in, part)
			}
		}
		api := tree.Inner(source, o.in, "api_config_source")
		if key, _ := tree.Get(api, "refresh_delay"); key == nil {
			c.note(o, o.in, "no refresh_delay_ms", "refresh_delay 30s", "it was v1's default")
			tree.Put(api, o.in, "refresh_delay", tree.Text(o.in, "30s"))
		}
		tree.Put(api, o.in, "api_type", tree.Text(o.in, "REST"))
		tree.Put(api, o.in, "transport_api_version", tree.Text(o.in, "V3"))
		tree.Put(source, o.in, "resource_api_version", tree.Text(o.in, "V3"))
		c.note(o, o.in, "discovery by version 1", "config_validators "+DiscoveryName, "version 1 of discovery is an extension")
		value := tree.Map(o.in)
		if c.sds != nil && c.sds.delay != nil {
			if delay := c.duration(c.sds.delay, "cluster_manager.sds.refresh_delay_ms", 1000); delay != nil {
				tree.Put(value, o.in, "sds_cluster", tree.Text(o.in, c.sds.cluster))
				tree.Put(value, o.in, "sds_refresh_delay", delay)
			}
		}
		if c.limiter != "" {
			tree.Put(value, o.in, "rate_limit_cluster", tree.Text(o.in, c.limiter))
		}
		tree.Put(api, o.in, "config_validators", Discovery(o.in, value))
	}
}

// Discovery is the list of config_validators that makes a source ask by version 1 of the
// API; value is its Context. Both stand at a place of the file.
func Discovery(at, value *yaml.Node) *yaml.Node {
	return tree.List(at, typed(at, DiscoveryName, "xds.type.v3.TypedStruct", tree.Map(at, "type_url", prefix+DiscoveryType, "value", value)))
}

// asked is the name of the cluster that a discovery asks.
func asked(to string) field {
	return required(made("cluster", to, "there may be several", func(_ *conversion, v *yaml.Node, _ string) *yaml.Node { return tree.List(v, v) }))
}

func listenerDiscovery() schema {
	const api = "api_config_source."
	return schema{name: "lds", message: core + "ConfigSource", fields: []field{
		asked(api + "cluster_names"), millis("refresh_delay_ms", api+"refresh_delay"),
	}, then: byVersion1("")}
}

func routeDiscovery() schema {
	const source, api = "config_source", "config_source.api_config_source."
	return schema{name: "rds", message: network + "http_connection_manager.v3.Rds", fields: []field{
		asked(api + "cluster_names"), required(moved("route_config_name", "route_config_name", "")), millis("refresh_delay_ms", api+"refresh_delay"),
	}, then: byVersion1(source)}
}

func clusterDiscovery() schema {
	const source, api = "dynamic_resources.cds_config", "dynamic_resources.cds_config.api_config_source."
	return schema{name: "cds", message: "envoy.config.bootstrap.v3.Bootstrap", fields: []field{
		{name: "cluster", to: "static_resources.clusters", why: clusterWhy, need: true, inner: clusterEntry, put: func(c *conversion, f field, o object, key, v *yaml.Node) {
			addCluster(c, o, key, v, o.at(f.name))
			if _, name := tree.Get(v, "name"); name != nil {
				place(o.out, key, api+"cluster_names", tree.List(key, name))
			}
		}},
		millis("refresh_delay_ms", api+"refresh_delay"),
	}, then: byVersion1(source)}
}

func clustersAnswer() schema {
	return schema{name: "answer of CDS", fields: []field{required(many("clusters", "clusters", "", clusterEntry))}}
}

func listenersAnswer() schema {
	return schema{name: "answer of LDS", fields: []field{required(many("listeners", "listeners", "", listener))}}
}

// Discovered returns the resources of an answer of version 1 of discovery, which must be
// free of aliases, as v3: clusters, listeners, or a route configuration.
func Discovered(kind xds.Kind, root *yaml.Node, with Context, report *tree.Report) []*yaml.Node {
	c := &conversion{Report: report, limiter: with.RateLimitCluster}
	if with.SDSCluster != "" {
		c.sds = &discovery{cluster: with.SDSCluster, delay: tree.Text(root, strconv.FormatInt(with.SDSRefreshDelay.Milliseconds(), 10))}
	}
	var answer *yaml.Node
	switch kind {
	case xds.KindRoutes:
		if m := c.object(root, "", routeConfig()); m != nil {
			return []*yaml.Node{m}
		}
		return nil
	case xds.KindCluster:
		_, answer = tree.Get(c.object(root, "", clustersAnswer()), "clusters")
	case xds.KindListener:
		_, answer = tree.Get(c.object(root, "", listenersAnswer()), "listeners")
	default:
		report.Refuse(root, "", "version 1 of discovery has no resources of the kind "+string(kind), "")
	}
	if answer == nil {
		return nil
	}
	return answer.Content
}
