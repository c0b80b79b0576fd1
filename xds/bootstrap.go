// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
)

// FromBootstrap returns a snapshot of what a bootstrap gives statically: its
// listeners, clusters, secrets and static runtime layers. at, which may be nil,
// tells the origin of a field path in the bootstrap.
//
// Envoy lets a static listener go without a name; here it is known by its path,
// "static_resources.listeners[0]". Of resources with the same name the first is
// taken: package check reports the others.
func FromBootstrap(b *bootstrapv3.Bootstrap, version string, at func(path string) Origin) *Snapshot {
	if at == nil {
		at = func(path string) Origin { return Origin{Field: path} }
	}
	out := &Builder{}
	static := b.GetStaticResources()
	for i, l := range static.GetListeners() {
		path := fmt.Sprintf("static_resources.listeners[%d]", i)
		name := l.GetName()
		if name == "" {
			name = path
		}
		if !out.Listeners().Has(name) {
			out.Listeners().Put(name, l, at(path))
		}
	}
	for i, c := range static.GetClusters() {
		if !out.Clusters().Has(c.GetName()) {
			out.Clusters().Put(c.GetName(), c, at(fmt.Sprintf("static_resources.clusters[%d]", i)))
		}
	}
	for i, s := range static.GetSecrets() {
		if !out.Secrets().Has(s.GetName()) {
			out.Secrets().Put(s.GetName(), s, at(fmt.Sprintf("static_resources.secrets[%d]", i)))
		}
	}
	for i, l := range b.GetLayeredRuntime().GetLayers() {
		if layer := l.GetStaticLayer(); layer != nil && !out.Runtime().Has(l.GetName()) {
			out.Runtime().Put(l.GetName(), layer, at(fmt.Sprintf("layered_runtime.layers[%d]", i)))
		}
	}
	return out.Build(version)
}
