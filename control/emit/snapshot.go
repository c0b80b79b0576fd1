// SPDX-License-Identifier: Apache-2.0

package emit

import (
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
)

// Snapshot returns base with the resources of Gateways that share a fleet, and
// nothing else. What did not change is shared with base, which may be nil; if
// nothing did, it is base.
func Snapshot(base *xds.Snapshot, version string, of []*Resources) *xds.Snapshot {
	if base == nil {
		base = (&xds.Builder{}).Build("")
	}
	b := base.Edit()
	changed := false
	for _, r := range of {
		changed = put(base.Listeners(), b.Listeners(), r.Listeners) || changed
		changed = put(base.Routes(), b.Routes(), r.Routes) || changed
		changed = put(base.Clusters(), b.Clusters(), r.Clusters) || changed
		changed = put(base.Endpoints(), b.Endpoints(), r.Endpoints) || changed
		changed = put(base.Secrets(), b.Secrets(), r.Secrets) || changed
	}
	changed = drop(base.Listeners(), b.Listeners(), of, func(r *Resources) []string { return namesOf(r.Listeners) }) || changed
	changed = drop(base.Routes(), b.Routes(), of, func(r *Resources) []string { return namesOf(r.Routes) }) || changed
	changed = drop(base.Clusters(), b.Clusters(), of, func(r *Resources) []string { return namesOf(r.Clusters) }) || changed
	changed = drop(base.Endpoints(), b.Endpoints(), of, func(r *Resources) []string { return namesOf(r.Endpoints) }) || changed
	changed = drop(base.Secrets(), b.Secrets(), of, func(r *Resources) []string { return namesOf(r.Secrets) }) || changed
	if !changed {
		return base
	}
	return b.Build(version)
}

func namesOf[M proto.Message](list []Named[M]) []string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = n.Name
	}
	return out
}

// put enters what is new or another message.
func put[M proto.Message](base xds.Set[M], b xds.Draft[M], list []Named[M]) bool {
	changed := false
	for _, n := range list {
		if old, ok := base.Get(n.Name); ok && any(old) == any(n.Message) {
			continue
		}
		b.Put(n.Name, n.Message, n.Origin)
		changed = true
	}
	return changed
}

// drop removes what none of the resources has.
func drop[M proto.Message](base xds.Set[M], b xds.Draft[M], of []*Resources, names func(*Resources) []string) bool {
	keep := map[string]bool{}
	for _, r := range of {
		for _, n := range names(r) {
			keep[n] = true
		}
	}
	changed := false
	for _, n := range base.Names() {
		if !keep[n] {
			b.Delete(n)
			changed = true
		}
	}
	return changed
}
