// SPDX-License-Identifier: Apache-2.0

package emit

import (
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
)

// Snapshot returns a snapshot of the resources of Gateways that share a fleet, for those
// who have virtual hosts delivered; others take xds.Whole of it. What
// did not change is shared with base, which may be nil; if nothing did, it is base.
func Snapshot(base *xds.Snapshot, version string, of []*Resources) *xds.Snapshot {
	var b *xds.Builder
	for _, r := range of {
		if b == nil {
			b = r.rest.Edit()
			continue
		}
		add(b.Routes(), r.rest.Routes())
		add(b.VirtualHosts(), r.rest.VirtualHosts())
		add(b.Clusters(), r.rest.Clusters())
		add(b.Endpoints(), r.rest.Endpoints())
		add(b.Secrets(), r.rest.Secrets())
	}
	if b == nil {
		b = &xds.Builder{}
	}
	for _, r := range of {
		for _, l := range r.Listeners {
			b.Listeners().Put(l.Name, l.Message, l.Origin)
		}
	}
	next := b.Build(version)
	if base != nil && len(xds.Changes(base, next)) == 0 {
		return base
	}
	return next
}

// add puts what is not there yet.
func add[M proto.Message](b xds.Draft[M], from xds.Set[M]) {
	for name, m := range from.All() {
		if !b.Has(name) {
			b.Put(name, m, from.Origin(name))
		}
	}
}
