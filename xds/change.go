// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/internal/treap"
)

// A Change is one resource that came, changed or went.
type Change struct {
	Kind Kind
	Name string
	// Message is what the resource is now; nil if it is gone.
	Message proto.Message
	// Old is what it was; nil if there was none.
	Old    proto.Message
	Origin Origin
}

// Changes returns in what next differs from old, in the order of the kinds and then of
// the names. Either may be nil, which is empty. What it costs depends on how much
// differs between snapshots of which one was edited from the other, not on their size.
func Changes(old, next *Snapshot) []Change {
	if old == nil {
		old = &Snapshot{}
	}
	if next == nil {
		next = &Snapshot{}
	}
	var out []Change
	out = appendChanges(out, KindListener, old.listeners, next.listeners)
	out = appendChanges(out, KindRoutes, old.routes, next.routes)
	out = appendChanges(out, KindScopedRoute, old.scopedRoutes, next.scopedRoutes)
	out = appendChanges(out, KindVirtualHost, old.virtualHosts, next.virtualHosts)
	out = appendChanges(out, KindCluster, old.clusters, next.clusters)
	out = appendChanges(out, KindEndpoints, old.endpoints, next.endpoints)
	out = appendChanges(out, KindSecret, old.secrets, next.secrets)
	out = appendChanges(out, KindRuntime, old.runtime, next.runtime)
	return appendChanges(out, KindExtension, old.extensions, next.extensions)
}

func appendChanges[M proto.Message](out []Change, kind Kind, old, next Set[M]) []Change {
	same := func(a, b *item[M]) bool { return Equal(a.message, b.message) }
	for d := range treap.Changes(old.m, next.m, same) {
		c := Change{Kind: kind, Name: d.Key}
		if d.Old != nil {
			c.Old = d.Old.message
		}
		if d.New != nil {
			c.Message = d.New.message
			if d.New.origin != nil {
				c.Origin = *d.New.origin
			}
		}
		out = append(out, c)
	}
	return out
}
