// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// parent is a Gateway or ListenerSet as routes see it.
type parent struct {
	gateway   source.Name
	fleet     source.Name
	listeners []shape
	// refused is why nothing can attach to it.
	refused string
}

// shape is what attaching to a listener depends on.
type shape struct {
	id       listenerID
	port     int32
	protocol gwapiv1.ProtocolType
	host     string
	kinds    []gwapiv1.RouteGroupKind
	from     gwapiv1.FromNamespaces
	selector *metav1.LabelSelector
	serves   bool
	// terminates tells that TLS ends there.
	terminates bool
}

// readParent returns what routes can attach to, or nil if it is not there or not ours.
func (d *Dialect) readParent(c *memo.Ctx, key source.Key) *parent {
	out := &parent{gateway: key.Name}
	var specs []gwapiv1.Listener
	switch key.Kind {
	case source.Gateway:
		if g := d.gateway.Get(c, key.Name); g != nil {
			specs = g.spec.Listeners
		}
	case source.ListenerSet:
		o, ok := source.Get[*gwapiv1.ListenerSet](c, source.ListenerSet, key.Name)
		if !ok {
			return nil
		}
		out.gateway = gatewayOfSet(o)
		for _, l := range o.Spec.Listeners {
			specs = append(specs, gwapiv1.Listener(l))
		}
	}
	g := d.gateway.Get(c, out.gateway)
	if g == nil {
		return nil
	}
	out.fleet = g.fleet
	all := d.listeners.Get(c, out.gateway)
	if slices.Contains(all.refused, key.Name) && key.Kind == source.ListenerSet {
		out.refused = fmt.Sprintf("Gateway %s does not allow %s", out.gateway, key)
		return out
	}
	for i, l := range all.of(key) {
		s := shape{id: l.id, port: l.port, protocol: l.protocol, host: l.host, kinds: l.kinds, from: gwapiv1.NamespacesFromSame, serves: l.serves(), terminates: l.tls != nil}
		if a := specs[i].AllowedRoutes; a != nil && a.Namespaces != nil && a.Namespaces.From != nil {
			s.from, s.selector = *a.Namespaces.From, a.Namespaces.Selector
		}
		out.listeners = append(out.listeners, s)
	}
	return out
}

// fromNamespace reports whether a namespace is among those allowed.
func fromNamespace(c *memo.Ctx, from gwapiv1.FromNamespaces, selector *metav1.LabelSelector, own, namespace string) bool {
	switch from {
	case gwapiv1.NamespacesFromAll:
		return true
	case gwapiv1.NamespacesFromSame:
		return own == namespace
	case gwapiv1.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(selector)
		ns, ok := source.Get[*corev1.Namespace](c, source.Namespace, source.Name{Name: namespace})
		if err != nil || selector == nil || !ok {
			return false
		}
		return s.Matches(labels.Set(ns.Labels))
	}
	return false
}

// attachment is where a route is attached.
type attachment struct {
	parents []attachedParent
}

// attachedParent is one parentRef that is ours.
type attachedParent struct {
	ref     gwapiv1.ParentReference
	path    string
	key     source.Key // of the parent
	gateway source.Name
	// places it got; empty if refused.
	places  []place
	refused []graph.Problem
}

// place is a listener that a route is attached to, and the host names it has there.
type place struct {
	listener listenerID
	gateway  source.Name
	fleet    source.Name
	port     int32
	protocol gwapiv1.ProtocolType
	// host is the listener's, and hosts are the route's there.
	host   string
	serves bool
	hosts  []string
	// terminates tells that TLS ends there.
	terminates bool
}

// attach finds where a route attaches.
func (d *Dialect) attach(c *memo.Ctx, key source.Key) *attachment {
	r := readRoute(c, key)
	out := &attachment{}
	if r == nil {
		return out
	}
	for i, ref := range r.parents {
		kind := source.Kind{Group: gwapiv1.GroupName, Kind: "Gateway"}
		if ref.Group != nil {
			kind.Group = string(*ref.Group)
		}
		if ref.Kind != nil {
			kind.Kind = string(*ref.Kind)
		}
		if kind != source.Gateway && kind != source.ListenerSet {
			continue
		}
		name := source.Name{Namespace: key.Namespace, Name: string(ref.Name)}
		if ref.Namespace != nil {
			name.Namespace = string(*ref.Namespace)
		}
		p := d.parent.Get(c, source.Key{Kind: kind, Name: name})
		if p == nil {
			continue
		}
		a := attachedParent{ref: ref, path: fmt.Sprintf("spec.parentRefs[%d]", i), key: source.Key{Kind: kind, Name: name}, gateway: p.gateway}
		a.find(c, r, p, source.Key{Kind: kind, Name: name})
		out.parents = append(out.parents, a)
	}
	return out
}

// find finds the listeners of a parent that the reference means and that allow it.
func (a *attachedParent) find(c *memo.Ctx, r *route, p *parent, key source.Key) {
	refuse := func(reason gwapiv1.RouteConditionReason, format string, args ...any) {
		a.refused = []graph.Problem{{Path: a.path, Reason: string(reason), Message: fmt.Sprintf(format, args...)}}
	}
	if p.refused != "" {
		refuse(gwapiv1.RouteReasonNoMatchingParent, "%s", p.refused)
		return
	}
	meant := slices.DeleteFunc(slices.Clone(p.listeners), func(s shape) bool {
		return a.ref.SectionName != nil && string(*a.ref.SectionName) != s.id.name || a.ref.Port != nil && int32(*a.ref.Port) != s.port
	})
	if len(meant) == 0 {
		refuse(gwapiv1.RouteReasonNoMatchingParent, "%s has no listener%s: it has %s", key, wanted(a.ref), names(p.listeners))
		return
	}
	allowed := slices.DeleteFunc(slices.Clone(meant), func(s shape) bool { return !s.allows(c, r) })
	if len(allowed) == 0 {
		refuse(gwapiv1.RouteReasonNotAllowedByListeners, "no listener of %s that is meant (%s) allows %s of namespace %s: see their allowedRoutes", key, names(meant), source.A(r.key.Kind.Kind), r.key.Namespace)
		return
	}
	for _, s := range allowed {
		if hosts := r.hostsAt(s.host); len(hosts) > 0 {
			a.places = append(a.places, place{s.id, p.gateway, p.fleet, s.port, s.protocol, s.host, s.serves, hosts, s.terminates})
		}
	}
	if len(a.places) == 0 {
		refuse(gwapiv1.RouteReasonNoMatchingListenerHostname, "none of the route's hostnames (%s) is one of the listeners' (%s)", strings.Join(r.hosts, ", "), hostnames(allowed))
	}
}

func wanted(ref gwapiv1.ParentReference) string {
	out := ""
	if ref.SectionName != nil {
		out += " called " + string(*ref.SectionName)
	}
	if ref.Port != nil {
		out += fmt.Sprintf(" on port %d", *ref.Port)
	}
	return out
}

func names(list []shape) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%s on port %d", s.id.name, s.port)
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

func hostnames(list []shape) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.host
	}
	return strings.Join(out, ", ")
}

// allows reports whether a listener takes routes of the kind and from the namespace.
func (s *shape) allows(c *memo.Ctx, r *route) bool {
	kind := slices.ContainsFunc(s.kinds, func(k gwapiv1.RouteGroupKind) bool {
		return string(k.Kind) == r.key.Kind.Kind && string(*k.Group) == r.key.Group
	})
	return kind && fromNamespace(c, s.from, s.selector, s.id.parent.Namespace, r.key.Namespace)
}

// hostsAt returns the host names that a route has at a listener, each once.
func (r *route) hostsAt(listener string) []string {
	if len(r.hosts) == 0 {
		return []string{listener}
	}
	var out []string
	for _, h := range r.hosts {
		if meet, ok := attach.Meet(listener, h); ok && !slices.Contains(out, meet) {
			out = append(out, meet)
		}
	}
	return out
}

// What the indexes are made of.

// hostID is a host name that routes have at a listener.
type hostID struct {
	listener listenerID
	host     string
}

func (d *Dialect) places(c *memo.Ctx, key source.Key) []place {
	var out []place
	for _, p := range d.attachment.Get(c, key).parents {
		for _, at := range p.places {
			if !slices.ContainsFunc(out, func(o place) bool { return o.listener == at.listener }) {
				out = append(out, at)
			}
		}
	}
	return out
}

func (d *Dialect) listenersOf(c *memo.Ctx, key source.Key) []memo.Pair[listenerID, source.Key] {
	var out []memo.Pair[listenerID, source.Key]
	for _, p := range d.places(c, key) {
		out = append(out, memo.Pair[listenerID, source.Key]{Bucket: p.listener, Member: key})
	}
	return out
}

func (d *Dialect) domainsOf(c *memo.Ctx, key source.Key) []memo.Pair[listenerID, string] {
	var out []memo.Pair[listenerID, string]
	for _, p := range d.places(c, key) {
		for _, h := range p.hosts {
			out = append(out, memo.Pair[listenerID, string]{Bucket: p.listener, Member: h})
		}
	}
	return out
}

func (d *Dialect) hostsOf(c *memo.Ctx, key source.Key) []memo.Pair[hostID, source.Key] {
	var out []memo.Pair[hostID, source.Key]
	for _, p := range d.places(c, key) {
		for _, h := range p.hosts {
			out = append(out, memo.Pair[hostID, source.Key]{Bucket: hostID{p.listener, h}, Member: key})
		}
	}
	return out
}
