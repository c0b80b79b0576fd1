// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	istiov1alpha2 "weir.dev/weir/control/api/istio/v1alpha2"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// statusOf returns what became of an object: in the words of Istio's own analysis, and
// as problems.
func (d *Dialect) statusOf(c *memo.Ctx, key source.Key) *status.Update {
	o, ok := source.Get[source.Object](c, key.Kind, key.Name)
	if !ok {
		return nil
	}
	bad, notes := d.judge(c, key, o)
	u := &status.Update{Key: key, Problems: slices.Concat(bad, notes)}
	if key.Group == istiov1alpha2.Group {
		return u // They had no status.
	}
	u.Status = analysis(bad, notes, o.GetGeneration())
	return u
}

// passed is the condition by which Istio tells of its analysis.
const passed = "PassedAnalysis"

// analysis is a status in Istio's form.
func analysis(bad, notes []graph.Problem, generation int64) *istiov1.Status {
	out := &istiov1.Status{ObservedGeneration: istiov1.Number(generation)}
	c := metav1.Condition{Type: passed, Status: metav1.ConditionTrue, Reason: "NoErrors"}
	if len(bad) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, "ErrorsFound", status.Message(bad)
	}
	out.Conditions = []metav1.Condition{c}
	for level, list := range map[string][]graph.Problem{"ERROR": bad, "WARNING": notes} {
		for _, p := range list {
			m := istiov1.Message{Level: level}
			m.Type.Name, m.Type.Code = codeOf(p.Reason)
			out.ValidationMessages = append(out.ValidationMessages, m)
		}
	}
	slices.SortFunc(out.ValidationMessages, func(a, b istiov1.Message) int {
		return strings.Compare(a.Level+a.Type.Code, b.Level+b.Type.Code)
	})
	out.ValidationMessages = slices.Compact(out.ValidationMessages)
	return out
}

// codeOf returns Istio's name and number for a kind of problem; those that Istio does not
// have have no number.
func codeOf(reason string) (name, code string) {
	switch reason {
	case reasonNotFound:
		return "ReferencedResourceNotFound", "IST0101"
	case reasonInvalid:
		return "SchemaValidationError", "IST0106"
	}
	return reason, ""
}

// judge tells why an object is not served, or a part of it, and what of it has no effect.
func (d *Dialect) judge(c *memo.Ctx, key source.Key, o source.Object) (bad, notes []graph.Problem) {
	switch o := o.(type) {
	case *istiov1.Gateway:
		return d.judgeGateway(c, key.Name)
	case *istiov1.VirtualService:
		return d.judgeVirtual(c, key.Name)
	case *istiov1.DestinationRule:
		return d.judgeRule(c, o)
	case *istiov1.ServiceEntry:
		return checkEntry(o)
	case *istiov1.WorkloadEntry:
		r := &rulecheck{}
		r.endpoint("spec", o.Spec, anyResolution)
		return r.problems, r.notes
	case *istiov1alpha2.RouteRule:
		return d.judgeRouteRule(c, key.Name)
	case *istiov1alpha2.DestinationPolicy:
		return checkPolicy(o)
	}
	return nil, []graph.Problem{graph.Problemf("kind", reasonUnsupported, "%s", foreign()[key.Kind])}
}

// foreign tells what objects of kinds that are not supported come to.
func foreign() map[source.Kind]string {
	const beside = "is not supported: there are no proxies beside workloads, of which it speaks"
	return map[source.Kind]string{
		source.IstioSidecar:               "a Sidecar " + beside,
		source.IstioWorkloadGroup:         "a WorkloadGroup " + beside,
		source.IstioProxyConfig:           "a ProxyConfig is not supported: use the flags of weir proxy",
		source.IstioEnvoyFilter:           "an EnvoyFilter is not supported: nothing of it is served",
		source.IstioPeerAuthentication:    "a PeerAuthentication " + beside,
		source.IstioRequestAuthentication: "a RequestAuthentication is not supported yet: no token is verified",
		source.IstioAuthorizationPolicy:   "an AuthorizationPolicy is not supported yet: nobody is refused by it, so do not rely on it at these gateways",
		source.IstioEgressRule:            "an EgressRule is not supported: make a ServiceEntry",
	}
}

func (d *Dialect) judgeGateway(c *memo.Ctx, name source.Name) (bad, notes []graph.Problem) {
	g := d.gateway.Get(c, name)
	if g == nil {
		return nil, nil
	}
	if len(g.servers) == 0 {
		bad = append(bad, graph.Problemf("spec.servers", reasonInvalid, "is missing: a Gateway without servers serves nothing"))
	}
	for _, s := range g.servers {
		bad, notes = append(bad, s.problems...), append(notes, s.notes...)
	}
	for _, f := range d.fleets.Get(c, struct{}{}) {
		if !selects(g.selector, f) {
			continue
		}
		l := d.layout.Get(c, f)
		for _, s := range g.servers {
			bad = append(bad, l.problems[s.id]...)
		}
		known, ok := source.Get[*source.Fleet](c, source.Fleets, gatewayOf(f))
		if !ok {
			continue
		}
		for _, s := range g.servers {
			if why := known.Ports[s.port]; why != "" {
				bad = append(bad, graph.Problemf(s.path("port"), reasonConflict, "%s", why))
			}
			if why := known.Wanted[s.port]; why != "" {
				notes = append(notes, graph.Problemf(s.path("port"), reasonConflict, "%s", why))
			}
		}
		if known.Problem != "" {
			bad = append(bad, graph.Problemf("spec", reasonInvalid, "%s", known.Problem))
		}
	}
	return bad, notes
}

func (d *Dialect) judgeVirtual(c *memo.Ctx, name source.Name) (bad, notes []graph.Problem) {
	v := d.virtual.Get(c, name)
	if v == nil {
		return nil, nil
	}
	notes = slices.Clone(v.notes)
	if len(v.problems) > 0 {
		return v.problems, notes
	}
	if v.delegated() {
		if len(d.users.Members(c, name)) == 0 {
			bad = append(bad, graph.Problemf("spec.hosts", reasonInvalid, "is missing, and no VirtualService delegates to this one: it serves nothing"))
		}
		return append(bad, d.judgeRoutes(c, v, []place{{from: name.Namespace}})...), notes
	}
	if v.mesh {
		p := graph.Problemf("spec.gateways", reasonUnsupported, "the rules are not served in the mesh, as there are no proxies beside workloads: name the Gateways that serve them")
		if len(v.gateways) == 0 {
			return []graph.Problem{p}, notes
		}
		notes = append(notes, p)
	}
	places := d.judgePlaces(c, v, &bad)
	bad = append(bad, d.judgeRoutes(c, v, places)...)
	return bad, append(notes, d.unreached(v, places)...)
}

// judgePlaces returns where a VirtualService is served, and tells of gateways at which it
// is not.
func (d *Dialect) judgePlaces(c *memo.Ctx, v *virtual, bad *[]graph.Problem) []place {
	var out []place
	for i, g := range v.spec.Gateways {
		n, ok := gatewayName(g, v.name.Namespace)
		if !ok || g == mesh {
			continue
		}
		at := fmt.Sprintf("spec.gateways[%d]", i)
		own := d.gateway.Get(c, n)
		switch {
		case own == nil:
			*bad = append(*bad, graph.Problemf(at, reasonNotFound, "there is no Gateway %s of %s", n, istiov1.Group))
			continue
		case !exported(v.spec.ExportTo, v.name.Namespace, n.Namespace):
			*bad = append(*bad, graph.Problemf(at, reasonInvalid, "exportTo does not have %s, the namespace of Gateway %s: it does not see the object", n.Namespace, n))
			continue
		}
		meets := false
		var names []string
		for _, s := range own.servers {
			if len(s.problems) > 0 {
				continue // It is told at the Gateway.
			}
			for _, h := range s.hosts {
				names = append(names, first(h.namespace, "*")+"/"+h.name)
				if h.admits(v.name.Namespace) && slices.ContainsFunc(v.hosts, func(host string) bool { _, ok := attach.Meet(h.name, host); return ok }) {
					meets = true
					out = append(out, place{listen: s.port, secure: s.secure, fleet: fleetOf(own.selector), gateways: []source.Name{n}, from: n.Namespace})
					break
				}
			}
		}
		if !meets {
			*bad = append(*bad, graph.Problemf(at, reasonInvalid, "Gateway %s has none of the hosts for namespace %s: its servers have %s", n, v.name.Namespace, strings.Join(names, ", ")))
		}
	}
	return out
}

// judgeRoutes tells of destinations that are not there.
func (d *Dialect) judgeRoutes(c *memo.Ctx, v *virtual, places []place) []graph.Problem {
	var out []graph.Problem
	key := source.Key{Kind: source.IstioVirtualService, Name: v.name}
	for _, p := range places {
		b := &builder{d: d, c: c, place: p, object: key}
		look := func(path string, to *istiov1.Destination, bytes bool) {
			if to == nil {
				return
			}
			id := b.target(key, to)
			id.bytes = bytes
			if wrong := d.target.Get(c, id).problem; wrong != nil {
				q := *wrong
				q.Path = path + "." + q.Path
				if !slices.Contains(out, q) {
					out = append(out, q)
				}
			}
		}
		for i, r := range v.spec.HTTP {
			at := fmt.Sprintf("spec.http[%d]", i)
			for j, s := range r.Route {
				look(fmt.Sprintf("%s.route[%d].destination", at, j), s.Destination, false)
			}
			look(at+".mirror", r.Mirror, false)
			for j, m := range r.Mirrors {
				look(fmt.Sprintf("%s.mirrors[%d].destination", at, j), m.Destination, false)
			}
			if r.Delegate != nil {
				if _, wrong := d.delegated(c, v, r.Delegate); wrong != "" {
					q := graph.Problemf(at+".delegate", reasonNotFound, "%s: its requests are answered 503", wrong)
					if !slices.Contains(out, q) {
						out = append(out, q)
					}
				}
			}
		}
		for i, r := range v.spec.TLS {
			for j, s := range r.Route {
				look(fmt.Sprintf("spec.tls[%d].route[%d].destination", i, j), s.Destination, true)
			}
		}
		for i, r := range v.spec.TCP {
			for j, s := range r.Route {
				look(fmt.Sprintf("spec.tcp[%d].route[%d].destination", i, j), s.Destination, true)
			}
		}
	}
	return out
}

// unreached tells of rules that no request comes to: those below one for all, and those
// that are for other proxies.
func (d *Dialect) unreached(v *virtual, places []place) []graph.Problem {
	var out []graph.Problem
	for i, r := range v.spec.HTTP {
		for j := range r.Match {
			m := &r.Match[j]
			if len(places) > 0 && !slices.ContainsFunc(places, func(p place) bool { return p.serves(m) }) {
				out = append(out, graph.Problemf(fmt.Sprintf("spec.http[%d].match[%d]", i, j), reasonUnsupported,
					"is for no gateway of the object: its port, gateways, sourceLabels or sourceNamespace are those of other proxies"))
			}
		}
		if len(r.Match) == 0 && i < len(v.spec.HTTP)-1 {
			return append(out, graph.Problemf(fmt.Sprintf("spec.http[%d]", i+1), reasonInvalid, "no request comes so far: the rule above is for all of them"))
		}
	}
	return out
}

func (d *Dialect) judgeRule(c *memo.Ctx, o *istiov1.DestinationRule) (bad, notes []graph.Problem) {
	bad, notes = checkRule(o)
	if len(bad) > 0 {
		return bad, notes
	}
	host := fullName(strings.ToLower(o.Spec.Host), o.Namespace)
	if strings.HasPrefix(host, "*") {
		return nil, notes
	}
	t := d.target.Get(c, targetID{namespace: o.Namespace, from: o.Namespace, host: host, listen: anyPort})
	if t.problem != nil && t.problem.Path == "host" && t.problem.Reason == reasonNotFound && strings.HasPrefix(t.problem.Message, "there is no") {
		notes = append(notes, graph.Problemf("spec.host", reasonNotFound, "there is no Service and no ServiceEntry %s: the rule speaks of nothing", host))
	}
	return nil, notes
}

// anyPort is a port that no Service has.
const anyPort = -1

func (d *Dialect) judgeRouteRule(c *memo.Ctx, name source.Name) (bad, notes []graph.Problem) {
	r := d.rule.Get(c, name)
	if r == nil || len(r.problems) > 0 {
		if r == nil {
			return nil, nil
		}
		return r.problems, r.notes
	}
	for i, s := range r.shares {
		t := d.target.Get(c, targetID{namespace: name.Namespace, from: name.Namespace, host: s.host, labels: s.labels, listen: anyPort})
		if t.problem != nil && t.problem.Path == "host" {
			path := fmt.Sprintf("spec.route[%d].destination.name", i)
			if s.host == r.shares[0].host {
				path = "spec.destination.name"
			}
			if q := graph.Problemf(path, t.problem.Reason, "%s", t.problem.Message); !slices.Contains(bad, q) {
				bad = append(bad, q)
			}
		}
	}
	return bad, r.notes
}
