// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/fetch"
)

// whole is how all resources of a kind are asked for: where, and under which name, be it
// that of all there are or of a collection.
type whole struct {
	key    string // of the source
	source *corev3.ConfigSource
	name   string
}

// findWholes finds where the bootstrap has all listeners and all clusters asked for.
func (p *Proxy) findWholes() error {
	d := p.opts.Bootstrap.GetDynamicResources()
	p.fetching.all = map[xds.Kind]whole{}
	for _, w := range []struct {
		kind           xds.Kind
		source         *corev3.ConfigSource
		locator, field string
	}{
		{xds.KindListener, d.GetLdsConfig(), d.GetLdsResourcesLocator(), "lds"},
		{xds.KindCluster, d.GetCdsConfig(), d.GetCdsResourcesLocator(), "cds"},
	} {
		source, name, field := w.source, fetch.Wildcard, "_config"
		if w.locator != "" {
			var err error
			field = "_resources_locator"
			if source, name, err = p.resources.Collection(w.source, w.kind, w.locator); err != nil {
				return fmt.Errorf("dynamic_resources.%s%s: %w", w.field, field, err)
			}
		}
		if source == nil {
			continue
		}
		key, err := p.resources.Key(source)
		if err != nil {
			return fmt.Errorf("dynamic_resources.%s%s: %w", w.field, field, err)
		}
		p.fetching.all[w.kind] = whole{key, source, name}
	}
	return nil
}

// nodeParams are the context parameters that say who asks for a collection
// (node_context_params).
func (p *Proxy) nodeParams() map[string]string {
	n := p.nodeMessage()
	version := n.GetUserAgentBuildVersion().GetVersion()
	plain := map[string]string{
		"id": n.GetId(), "cluster": n.GetCluster(), "user_agent_name": n.GetUserAgentName(), "user_agent_version": n.GetUserAgentVersion(),
		"locality.region": n.GetLocality().GetRegion(), "locality.zone": n.GetLocality().GetZone(), "locality.sub_zone": n.GetLocality().GetSubZone(),
		"user_agent_build_version.version": fmt.Sprintf("%d.%d.%d", version.GetMajorNumber(), version.GetMinorNumber(), version.GetPatch()),
	}
	structs := map[string]*structpb.Struct{"metadata": n.GetMetadata(), "user_agent_build_version.metadata": n.GetUserAgentBuildVersion().GetMetadata()}
	out := map[string]string{}
	for i, name := range p.opts.Bootstrap.GetNodeContextParams() {
		const prefix = "xds.node."
		value, is := plain[name]
		s, has := structs[name]
		switch {
		case is:
			out[prefix+name] = value
		case has:
			for key, v := range s.GetFields() {
				b, _ := protojson.Marshal(v) // What was read can be written.
				out[prefix+name+"."+key] = string(b)
			}
		default:
			p.log("config").Warn("a node has no such field to name collections by: it is left out", "field", fmt.Sprintf("node_context_params[%d]", i), "value", name,
				"known", append(slices.Sorted(maps.Keys(plain)), slices.Sorted(maps.Keys(structs))...))
		}
	}
	return out
}
