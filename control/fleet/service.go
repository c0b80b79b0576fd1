// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
)

// lead is a Service that leads to a Gateway's proxies, and where it is reached.
type lead struct {
	gateway source.Name
	reached []string
}

// service notes where proxies are reached. It is called with mu.
func (r *Runner) service(c source.Change) {
	was, known := r.services[c.Key.Name]
	name := was.gateway
	if o, ok := c.Object.(*corev1.Service); ok {
		owner, ok := infra.GatewayOf(o)
		if ok {
			name = owner
			r.services[c.Key.Name] = lead{name, infra.Addresses(o)}
		} else if !known {
			return // Most are not ours.
		} else {
			delete(r.services, c.Key.Name)
		}
	} else if !known {
		return
	} else {
		delete(r.services, c.Key.Name)
		if r.o.Lost != nil {
			r.o.Lost(name)
		}
	}
	g := r.gateway(name)
	g.reached = r.reached(name)
	r.changed[name] = true
	r.forget(name, g)
}

// reached returns where a Gateway's Service is reached. One that has just become of another
// class has that of the one before, too, until it has gone. It is called with mu.
func (r *Runner) reached(gateway source.Name) []string {
	var out []string
	place := r.o.Namespaces.Place(gateway, r.classes[gateway])
	for _, at := range slices.SortedFunc(maps.Keys(r.services), source.Compare) {
		s := r.services[at]
		if s.gateway != gateway || at.Namespace != place.Namespace {
			continue // Who may not make Services there leads nobody.
		}
		if at == place {
			return s.reached
		}
		out = s.reached
	}
	return out
}
