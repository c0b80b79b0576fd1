// SPDX-License-Identifier: Apache-2.0

package ingress

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// The reasons of problems.
const (
	reasonInvalid     = "Invalid"
	reasonUnsupported = "Unsupported"
	reasonNotFound    = "NotFound"
	reasonConflict    = "Conflict"
)

// ingress is an Ingress of a class of ours.
type ingress struct {
	name  source.Name
	born  int64
	class string
	istio bool
	rules []rule
	// rest is where requests go that no rule is for; nil is nowhere.
	rest *aim
	tls  []tls
	// problems are of parts that are left out, notes of what has no effect.
	problems, notes []graph.Problem
}

// rule is a path of a host.
type rule struct {
	host string
	place
	aim aim
}

// place is paths.
type place struct {
	exact, prefix string
	whole         bool
}

// aim is a backend as an Ingress names it.
type aim struct {
	path string
	// service and port, or ref; with neither, problem says why.
	service source.Name
	port    int32
	ref     *gwapiv1.BackendObjectReference
	problem string
}

// tls is a certificate with its hosts; none is all.
type tls struct {
	hosts  []string
	secret source.Name
}

// readIngress reads an Ingress; nil if there is none, or it is of another's class.
func (d *Dialect) readIngress(c *memo.Ctx, name source.Name) *ingress {
	o, ok := source.Get[*networkingv1.Ingress](c, source.Ingress, name)
	if !ok {
		return nil
	}
	own := d.classOf(c, o)
	whose := d.class.Get(c, own)
	if own == "" || !whose.ours {
		return nil
	}
	i := &ingress{name: name, born: o.CreationTimestamp.Unix(), class: own, istio: whose.istio}
	if b := o.Spec.DefaultBackend; b != nil {
		a := i.aim(c, "spec.defaultBackend", b)
		i.rest = &a
	}
	for n := range o.Spec.Rules {
		i.addRule(c, n, &o.Spec.Rules[n])
	}
	for n, t := range o.Spec.TLS {
		i.addTLS(c, n, t)
	}
	if len(o.Spec.Rules) == 0 && i.rest == nil {
		i.bad("spec.rules", reasonInvalid, "is missing, and so is defaultBackend: no request leads anywhere")
	}
	for k := range o.Annotations {
		if strings.Contains(k, ".ingress.kubernetes.io/") || strings.HasPrefix(k, "ingress.kubernetes.io/") {
			i.note("metadata.annotations["+k+"]", reasonUnsupported, "has no effect: it is of another controller")
		}
	}
	if _, ok := o.Annotations[annotation]; ok && o.Spec.IngressClassName != nil {
		i.note("spec.ingressClassName", reasonConflict, "the annotation %s is there, too, and counts", annotation)
	}
	slices.SortStableFunc(i.notes, func(a, b graph.Problem) int { return strings.Compare(a.Path, b.Path) })
	return i
}

func (i *ingress) bad(path, reason, format string, args ...any) {
	i.problems = append(i.problems, graph.Problemf(path, reason, format, args...))
}

func (i *ingress) note(path, reason, format string, args ...any) {
	i.notes = append(i.notes, graph.Problemf(path, reason, format, args...))
}

// addRule reads the paths of a host.
func (i *ingress) addRule(c *memo.Ctx, n int, r *networkingv1.IngressRule) {
	at := fmt.Sprintf("spec.rules[%d]", n)
	host := strings.ToLower(r.Host)
	switch {
	case host == "":
		host = attach.AnyHost
	case host == attach.AnyHost || strings.Contains(strings.TrimPrefix(host, "*."), "*") || strings.ContainsAny(host, " /:") || build.BadText(host) != "":
		i.bad(at+".host", reasonInvalid, "%q is not a host name: a star may be its first label; leave it out for all hosts", r.Host)
		return
	}
	if r.HTTP == nil {
		if i.rest == nil {
			i.bad(at+".http", reasonInvalid, "is missing, and there is no defaultBackend: requests for %s lead nowhere", host)
			return
		}
		i.rules = append(i.rules, rule{host: host, aim: *i.rest})
		return
	}
	for m := range r.HTTP.Paths {
		p := &r.HTTP.Paths[m]
		path := fmt.Sprintf("%s.http.paths[%d]", at, m)
		where, ok := i.readPath(path, p)
		if ok {
			i.rules = append(i.rules, rule{host: host, place: where, aim: i.aim(c, path+".backend", &p.Backend)})
		}
	}
}

// readPath reads which paths are meant.
func (i *ingress) readPath(at string, p *networkingv1.HTTPIngressPath) (place, bool) {
	kind := networkingv1.PathTypeImplementationSpecific
	if p.PathType != nil {
		kind = *p.PathType
	}
	if p.Path != "" && p.Path[0] != '/' && kind != networkingv1.PathTypeImplementationSpecific {
		i.bad(at+".path", reasonInvalid, "%q does not begin with /", p.Path)
		return place{}, false
	}
	if strings.ContainsAny(p.Path, "?#") {
		i.bad(at+".path", reasonInvalid, "%q has ? or #, which no path has: a query is not matched", p.Path)
		return place{}, false
	}
	switch kind {
	case networkingv1.PathTypeExact:
		if p.Path == "" {
			i.bad(at+".path", reasonInvalid, "is missing: pathType is Exact")
			return place{}, false
		}
		return place{exact: p.Path}, true
	case networkingv1.PathTypePrefix:
		return place{prefix: p.Path, whole: true}, true
	case networkingv1.PathTypeImplementationSpecific:
		return i.ownPath(at, p.Path)
	}
	i.bad(at+".pathType", reasonInvalid, "%q is not one of Exact, Prefix and ImplementationSpecific", kind)
	return place{}, false
}

// ownPath reads a path without a type: as Istio does for its class, whose paths were
// regular expressions that end in .*, and otherwise as a prefix.
func (i *ingress) ownPath(at, path string) (place, bool) {
	rest, open := path, false
	for _, end := range []string{".*", "*"} {
		if before, ok := strings.CutSuffix(rest, end); ok {
			rest, open = before, true
			break
		}
	}
	switch {
	case rest == "" || rest == "/" && open:
		return place{}, true
	case rest[0] != '/' || strings.ContainsAny(rest, `*()[]{}|^$\`):
		i.bad(at+".path", reasonUnsupported, "%q is a pattern that is not supported: of regular expressions only an end .* is", path)
		return place{}, false
	case open:
		return place{prefix: rest}, true
	case i.istio:
		return place{exact: rest}, true
	}
	return place{prefix: rest, whole: true}, true
}

// aim finds a backend.
func (i *ingress) aim(c *memo.Ctx, at string, b *networkingv1.IngressBackend) aim {
	out := aim{path: at}
	bad := func(field, reason, format string, args ...any) aim {
		out.problem = fmt.Sprintf(format, args...)
		i.bad(at+field, reason, "%s: its requests are answered 503", out.problem)
		return out
	}
	if r := b.Resource; r != nil {
		if r.APIGroup == nil || *r.APIGroup != v1alpha1.Group || r.Kind != source.Backend.Kind {
			return bad(".resource", reasonUnsupported, "%s cannot be a backend: name a service, or a %s", source.A(r.Kind), source.Backend)
		}
		group, kind := gwapiv1.Group(v1alpha1.Group), gwapiv1.Kind(r.Kind)
		out.ref = &gwapiv1.BackendObjectReference{Group: &group, Kind: &kind, Name: gwapiv1.ObjectName(r.Name)}
		return out
	}
	if b.Service == nil || b.Service.Name == "" {
		return bad(".service", reasonInvalid, "is missing")
	}
	name := source.Name{Namespace: i.name.Namespace, Name: b.Service.Name}
	s, ok := source.Get[*corev1.Service](c, source.Service, name)
	if !ok {
		return bad(".service.name", reasonNotFound, "there is no Service %s", name)
	}
	out.service = name
	port := b.Service.Port
	at2 := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
		return port.Name != "" && p.Name == port.Name || port.Name == "" && p.Port == port.Number
	})
	switch {
	case port.Name != "" && port.Number != 0:
		return bad(".service.port", reasonInvalid, "has both name and number: only one of them can be")
	case at2 < 0 && port.Name != "":
		return bad(".service.port.name", reasonNotFound, "Service %s has no port called %s", name, port.Name)
	case at2 < 0 && s.Spec.Type != corev1.ServiceTypeExternalName:
		return bad(".service.port.number", reasonNotFound, "Service %s has no port %d", name, port.Number)
	case at2 < 0:
		out.port = port.Number
	default:
		out.port = s.Spec.Ports[at2].Port
	}
	return out
}

// addTLS reads a certificate.
func (i *ingress) addTLS(c *memo.Ctx, n int, t networkingv1.IngressTLS) {
	at := fmt.Sprintf("spec.tls[%d].secretName", n)
	if t.SecretName == "" {
		i.note(at, reasonUnsupported, "is missing: there is no certificate for %s but those that others name", strings.Join(t.Hosts, ", "))
		return
	}
	secret := source.Name{Namespace: i.name.Namespace, Name: t.SecretName}
	if wrong := attach.Certificate(c, secret); wrong != "" {
		if i.istio {
			// Istio's gateways looked for it where they run.
			root := source.Name{Namespace: "istio-system", Name: t.SecretName}
			if attach.Certificate(c, root) == "" {
				i.tls = append(i.tls, tls{hostsOf(t), root})
				return
			}
		}
		i.bad(at, reasonNotFound, "%s; until it is there, TLS for its hosts is refused", wrong)
		return
	}
	i.tls = append(i.tls, tls{hostsOf(t), secret})
}

func hostsOf(t networkingv1.IngressTLS) []string {
	var out []string
	for _, h := range t.Hosts {
		out = append(out, strings.ToLower(h))
	}
	if len(out) == 0 {
		return []string{attach.AnyHost}
	}
	return out
}

// resolve returns the cluster of an aim that is not a Service's of Istio's class.
func (d *Dialect) resolve(c *memo.Ctx, i *ingress, a aim) (graph.ClusterID, *graph.Problem) {
	ref := backend.Ref{From: source.Ingress, Namespace: i.name.Namespace}
	if a.ref != nil {
		ref.To = *a.ref
	} else {
		port := gwapiv1.PortNumber(a.port)
		ref.To = gwapiv1.BackendObjectReference{Name: gwapiv1.ObjectName(a.service.Name), Port: &port}
	}
	return d.backends.Resolve(c, ref)
}
