// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"slices"
	"strings"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// mesh stands for the proxies beside workloads.
const mesh = "mesh"

// virtual is a VirtualService.
type virtual struct {
	name   source.Name
	object *istiov1.VirtualService
	spec   *istiov1.VirtualServiceSpec
	hosts  []string
	// gateways it is for.
	gateways []source.Name
	// mesh tells that it is for proxies beside workloads, too.
	mesh bool
	// problems drop the object, notes do not.
	problems, notes []graph.Problem
}

func (v *virtual) bad(path, reason, format string, args ...any) {
	v.problems = append(v.problems, graph.Problemf(path, reason, format, args...))
}

func (v *virtual) note(path, reason, format string, args ...any) {
	v.notes = append(v.notes, graph.Problemf(path, reason, format, args...))
}

// delegated reports whether the object has rules for others, and no hosts of its own.
func (v *virtual) delegated() bool { return len(v.spec.Hosts) == 0 }

// readVirtual reads a VirtualService; nil if there is none.
func (d *Dialect) readVirtual(c *memo.Ctx, name source.Name) *virtual {
	o, ok := source.Get[*istiov1.VirtualService](c, source.IstioVirtualService, name)
	if !ok {
		return nil
	}
	v := &virtual{name: name, object: o, spec: &o.Spec}
	v.readHosts()
	v.readGateways()
	for i := range o.Spec.HTTP {
		v.checkHTTP(fmt.Sprintf("spec.http[%d]", i), &o.Spec.HTTP[i])
	}
	for i := range o.Spec.TLS {
		v.checkTLS(fmt.Sprintf("spec.tls[%d]", i), &o.Spec.TLS[i])
	}
	for i := range o.Spec.TCP {
		v.checkTCP(fmt.Sprintf("spec.tcp[%d]", i), &o.Spec.TCP[i])
	}
	if len(o.Spec.HTTP)+len(o.Spec.TLS)+len(o.Spec.TCP) == 0 {
		v.bad("spec", reasonInvalid, "has no routes: give http, tls or tcp")
	}
	for i, e := range o.Spec.ExportTo {
		if len(o.Spec.ExportTo) > 1 && (e == "*" || e == "." || e == "~") {
			v.bad(fmt.Sprintf("spec.exportTo[%d]", i), reasonInvalid, "%q stands alone, or not at all", e)
		}
	}
	byPath(v.problems)
	return v
}

// readHosts reads the host names. Of a short name the whole is meant, as of a Service.
func (v *virtual) readHosts() {
	for i, h := range v.spec.Hosts {
		path := fmt.Sprintf("spec.hosts[%d]", i)
		if !validHost(h) {
			v.bad(path, reasonInvalid, "%q is not a host name: a star may be its first label", h)
			continue
		}
		h = fullName(strings.ToLower(h), v.name.Namespace)
		if slices.Contains(v.hosts, h) {
			v.bad(path, reasonInvalid, "%q stands twice", h)
			continue
		}
		v.hosts = append(v.hosts, h)
	}
}

// domain ends the names of a cluster's Services.
const domain = "svc.cluster.local"

// fullName makes a short name that of a Service of a namespace.
func fullName(host, namespace string) string {
	if strings.Contains(host, ".") || host == "*" || host == "" {
		return host
	}
	return host + "." + namespace + "." + domain
}

// readGateways reads for which proxies an object is.
func (v *virtual) readGateways() {
	if v.delegated() {
		if len(v.spec.Gateways) > 0 {
			v.bad("spec.gateways", reasonInvalid, "an object without hosts has rules that others delegate to it: their gateways count")
		}
		if len(v.spec.TLS)+len(v.spec.TCP) > 0 {
			v.bad("spec.tls", reasonInvalid, "an object without hosts has rules of http only, which others delegate to it")
		}
		return
	}
	v.mesh = len(v.spec.Gateways) == 0
	for i, g := range v.spec.Gateways {
		if g == mesh {
			v.mesh = true
			continue
		}
		n, ok := gatewayName(g, v.name.Namespace)
		if !ok {
			v.bad(fmt.Sprintf("spec.gateways[%d]", i), reasonInvalid, "%q is not the name of a Gateway: write name or namespace/name", g)
			continue
		}
		if !slices.Contains(v.gateways, n) {
			v.gateways = append(v.gateways, n)
		}
	}
}

// gatewayName reads "name", "namespace/name" or, as it was written at first, the name of
// a host.
func gatewayName(text, namespace string) (source.Name, bool) {
	if ns, name, ok := strings.Cut(text, "/"); ok {
		if ns == "." {
			ns = namespace
		}
		return source.Name{Namespace: ns, Name: name}, ns != "" && name != "" && !strings.Contains(name, "/")
	}
	labels := strings.Split(text, ".")
	if len(labels) > 1 && strings.Join(labels[2:], ".") == domain {
		return source.Name{Namespace: labels[1], Name: labels[0]}, true
	}
	return source.Name{Namespace: namespace, Name: text}, text != ""
}

// exported reports whether objects with exportTo in a namespace are seen from another.
func exported(to []string, own, from string) bool {
	if len(to) == 0 {
		return true
	}
	return slices.ContainsFunc(to, func(t string) bool {
		return t == "*" || t == "." && own == from || t == from
	})
}

// A binding is a Gateway that a VirtualService is for, and its proxies.
type binding struct {
	gateway *gateway
	fleet   string
}

// bindings returns where a VirtualService is served. The Gateway must be there, and must
// see the object.
func (d *Dialect) bindings(c *memo.Ctx, v *virtual) []binding {
	var out []binding
	for _, n := range v.gateways {
		g := d.gateway.Get(c, n)
		if g == nil || !exported(v.spec.ExportTo, v.name.Namespace, n.Namespace) {
			continue
		}
		for _, f := range d.fleets.Get(c, struct{}{}) {
			if selects(g.selector, f) {
				out = append(out, binding{g, f})
			}
		}
	}
	return out
}

// selects reports whether a selector chooses the proxies of a fleet.
func selects(selector map[string]string, fleet string) bool {
	own := labelsOf(fleet)
	for k, v := range selector {
		if got, ok := own[k]; !ok || got != v {
			return false
		}
	}
	return true
}
