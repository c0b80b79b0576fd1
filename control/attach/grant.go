// SPDX-License-Identifier: Apache-2.0

package attach

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Granted reports whether an object of kind from in a namespace may refer to to:
// it is in the same namespace, or a ReferenceGrant there says so.
func Granted(c *memo.Ctx, from source.Kind, namespace string, to source.Key) bool {
	if namespace == to.Namespace {
		return true
	}
	for _, g := range source.List[*gwapiv1.ReferenceGrant](c, source.ReferenceGrant, to.Namespace) {
		if grantsFrom(g, from, namespace) && grantsTo(g, to) {
			return true
		}
	}
	return false
}

func grantsFrom(g *gwapiv1.ReferenceGrant, from source.Kind, namespace string) bool {
	for _, f := range g.Spec.From {
		if string(f.Group) == from.Group && string(f.Kind) == from.Kind && string(f.Namespace) == namespace {
			return true
		}
	}
	return false
}

func grantsTo(g *gwapiv1.ReferenceGrant, to source.Key) bool {
	for _, t := range g.Spec.To {
		if string(t.Group) == to.Group && string(t.Kind) == to.Kind.Kind && (t.Name == nil || *t.Name == "" || string(*t.Name) == to.Name.Name) {
			return true
		}
	}
	return false
}
