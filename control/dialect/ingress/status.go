// SPDX-License-Identifier: Apache-2.0

package ingress

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// statusOf returns what became of an object, or nil if it is not ours. Of an Ingress, the
// status tells at which addresses it is served.
func (d *Dialect) statusOf(c *memo.Ctx, key source.Key) *status.Update {
	if key.Kind == source.IngressClass {
		problems, ok := d.judgeClass(c, key.Name)
		if !ok {
			return nil
		}
		return &status.Update{Key: key, Problems: problems}
	}
	i := d.ingress.Get(c, key.Name)
	if i == nil {
		return nil
	}
	out := &networkingv1.IngressStatus{}
	u := &status.Update{Key: key, Status: out, Problems: slices.Concat(i.problems, i.notes, d.judge(c, i))}
	f, ok := source.Get[*source.Fleet](c, source.Fleets, gatewayOf(i.class))
	if !ok {
		return u
	}
	for _, a := range f.Addresses {
		at := networkingv1.IngressLoadBalancerIngress{IP: a}
		if _, err := netip.ParseAddr(a); err != nil {
			at = networkingv1.IngressLoadBalancerIngress{Hostname: a}
		}
		out.LoadBalancer.Ingress = append(out.LoadBalancer.Ingress, at)
	}
	of := d.class.Get(c, i.class)
	ports := []int32{of.plain}
	if len(i.tls) > 0 {
		ports = append(ports, of.secure)
	}
	for _, p := range ports {
		for _, why := range []string{f.Ports[p], f.Wanted[p]} {
			if why != "" {
				u.Problems = append(u.Problems, graph.Problemf("spec", reasonConflict, "%s", why))
			}
		}
	}
	if f.Problem != "" {
		u.Problems = append(u.Problems, graph.Problemf("spec", reasonInvalid, "%s", f.Problem))
	}
	return u
}

// judge tells of what others have, and of backends that are not there.
func (d *Dialect) judge(c *memo.Ctx, i *ingress) []graph.Problem {
	var out []graph.Problem
	aims := []aim{}
	for n, r := range i.rules {
		if first := slices.IndexFunc(i.rules, func(o rule) bool { return o.host == r.host && o.place == r.place }); first != n && i.rules[first].aim != r.aim {
			out = append(out, graph.Problemf(r.aim.path, reasonConflict, "has no effect: the same path of %s stands before, at %s", r.host, i.rules[first].aim.path))
		}
		if owner := d.claims.Get(c, domainOf{i.class, r.host})[r.place]; owner != i.name {
			out = append(out, graph.Problemf(r.aim.path, reasonConflict, "has no effect: Ingress %s, which is older, has the same path of %s", owner, r.host))
			continue
		}
		aims = append(aims, r.aim)
	}
	if i.rest != nil {
		aims = append(aims, *i.rest)
	}
	for _, a := range aims {
		if a.problem != "" {
			continue // It is told already.
		}
		wrong := (*graph.Problem)(nil)
		if i.istio && a.ref == nil && d.istio != nil {
			_, wrong = d.istio(c, To{Service: a.service, Port: a.port, Listen: plainPort, From: source.Key{Kind: source.Ingress, Name: i.name}, Field: a.path})
		} else {
			_, wrong = d.resolve(c, i, a)
		}
		if wrong != nil {
			out = append(out, graph.Problemf(a.path, wrong.Reason, "%s", wrong.Message))
		}
	}
	for _, t := range i.tls {
		for _, h := range t.hosts {
			at := slices.IndexFunc(d.certs.Get(c, i.class), func(o certificate) bool { return o.host == h })
			if own := d.certs.Get(c, i.class)[at]; own.secret != t.secret {
				out = append(out, graph.Problemf("spec.tls", reasonConflict, "TLS for %s is terminated with Secret %s of Ingress %s, which is older", h, own.secret, own.of))
			}
		}
	}
	return out
}
