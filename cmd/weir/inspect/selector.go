// SPDX-License-Identifier: Apache-2.0

// Package inspect gathers what `weir get` tells: objects, what became of them, and the part of Envoy's configuration
// that they came to; from files, from a cluster, or from a proxy that runs.
package inspect

import (
	"fmt"
	"slices"
	"strings"

	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/suggest"
	"weir.dev/weir/xds"
)

// A Selector chooses objects by kind and, if they are not empty, by name and namespace. One with a resource chooses
// Envoy's resources instead.
type Selector struct {
	kinds           []source.Kind
	namespace, name string
	resource        xds.Kind
}

// resources are Envoy's kinds, by what they are called on the command line.
var resources = map[string]xds.Kind{
	"listener": xds.KindListener, "listeners": xds.KindListener,
	"route": xds.KindRoutes, "routes": xds.KindRoutes,
	"cluster": xds.KindCluster, "clusters": xds.KindCluster,
	"endpoint": xds.KindEndpoints, "endpoints": xds.KindEndpoints,
}

// short are names that kubectl has, too.
var short = map[string]string{"gc": "gatewayclass", "gtw": "gateway", "gw": "gateway", "svc": "service", "cm": "configmap", "ns": "namespace"}

// ParseSelector reads KIND, KIND/NAME or KIND/NAMESPACE/NAME. A kind is written as kubectl takes it: in singular or
// plural, with or without its group; or it is one of Envoy's: listener, route, cluster, endpoints, whose names may
// have slashes.
func ParseSelector(text string) (Selector, error) {
	kind, name, _ := strings.Cut(text, "/")
	kind = strings.ToLower(kind)
	if r, ok := resources[kind]; ok {
		return Selector{resource: r, name: name}, nil
	}
	if long, ok := short[kind]; ok {
		kind = long
	}
	var s Selector
	var known []string
	for _, t := range source.Types() {
		single := strings.ToLower(t.Kind.Kind)
		known = append(known, single)
		for _, called := range []string{single, t.Resource} {
			if kind == called || kind == called+"."+t.Group {
				s.kinds = append(s.kinds, t.Kind)
				break
			}
		}
	}
	if len(s.kinds) == 0 {
		for r := range resources {
			known = append(known, r)
		}
		hint := ""
		if near, ok := suggest.Nearest(kind, slices.Values(known)); ok {
			hint = ": did you mean " + near + "?"
		}
		return s, fmt.Errorf("%q is neither a file nor a kind%s", text, hint)
	}
	s.name = name
	if namespace, rest, ok := strings.Cut(name, "/"); ok {
		s.namespace, s.name = namespace, rest
	}
	return s, nil
}

// object reports whether s chooses an object.
func (s Selector) object(k source.Key) bool {
	return slices.Contains(s.kinds, k.Kind) && (s.name == "" || s.name == k.Name.Name) && (s.namespace == "" || s.namespace == k.Namespace)
}

// Kinds returns what selectors may begin with, for a shell to complete.
func Kinds() []string {
	out := []string{"listener", "route", "cluster", "endpoints"}
	for _, t := range source.Types() {
		out = append(out, strings.ToLower(t.Kind.Kind))
	}
	return out
}
