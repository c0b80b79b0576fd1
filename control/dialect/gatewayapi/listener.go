// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// listenerID names a listener of a Gateway or ListenerSet.
type listenerID struct {
	parent source.Key
	name   string
}

// target is what policies call it.
func (id listenerID) target() attach.Target { return attach.Target{Key: id.parent, Section: id.name} }

// listener is one, after all that can be said of it without its routes.
type listener struct {
	id       listenerID
	gateway  source.Name
	fleet    source.Name
	path     string
	port     int32
	protocol gwapiv1.ProtocolType
	host     string
	tls      *graph.TLS // nil if TLS is not terminated
	kinds    []gwapiv1.RouteGroupKind
	// refused are reasons not to accept it, conflict that another has its place, wanted who
	// of other Gateways wants its place in vain, refs what it refers to in vain.
	refused  []graph.Problem
	conflict *graph.Problem
	wanted   []string
	refs     []graph.Problem
}

func (l *listener) refuse(field string, reason gwapiv1.ListenerConditionReason, format string, args ...any) {
	l.refused = append(l.refused, graph.Problem{Path: l.path + field, Reason: string(reason), Message: fmt.Sprintf(format, args...)})
}

// accepted reports whether the listener as such is good.
func (l *listener) accepted() bool { return len(l.refused) == 0 && l.conflict == nil }

// serves reports whether it can take connections.
func (l *listener) serves() bool {
	return l.accepted() && (l.tls == nil || len(l.tls.Certificates) > 0)
}

func (l *listener) socket() graph.SocketID {
	return graph.SocketID{Gateway: l.fleet, Port: l.port, UDP: l.protocol == gwapiv1.UDPProtocolType}
}

// listeners are all of a Gateway: its own, then those of its ListenerSets.
type listeners struct {
	list []*listener
	// spans are where in list those of each parent begin and end.
	spans map[source.Key][2]int
	// sets are the ListenerSets that the Gateway allows, and refused those that it does not.
	sets, refused []source.Name
}

// of returns the listeners of a Gateway or ListenerSet.
func (ls *listeners) of(parent source.Key) []*listener {
	s := ls.spans[parent]
	return ls.list[s[0]:s[1]:s[1]]
}

// add adds the listeners of a Gateway or ListenerSet.
func (ls *listeners) add(parent source.Key, list []*listener) {
	ls.spans[parent] = [2]int{len(ls.list), len(ls.list) + len(list)}
	ls.list = append(ls.list, list...)
}

func parentOfSet(o source.Object) []source.Name {
	return []source.Name{gatewayOfSet(o.(*gwapiv1.ListenerSet))}
}

// gatewayOfSet returns the Gateway that a ListenerSet belongs to.
func gatewayOfSet(o *gwapiv1.ListenerSet) source.Name {
	ref := o.Spec.ParentRef
	n := source.Name{Namespace: o.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		n.Namespace = string(*ref.Namespace)
	}
	return n
}

// readListeners returns the listeners of a Gateway that is ours.
func (d *Dialect) readListeners(c *memo.Ctx, name source.Name) *listeners {
	out := d.offer(c, name)
	g := d.gateway.Get(c, name)
	if g == nil || g.fleet == name {
		findConflicts(out.list)
		return out
	}
	contests := d.contests.Get(c, g.fleet)
	for _, l := range out.list {
		l.conflict, l.wanted = contests[l.id].conflict, contests[l.id].wanted
	}
	return out
}

// offer returns the listeners of a Gateway as they are by themselves.
func (d *Dialect) offer(c *memo.Ctx, name source.Name) *listeners {
	g := d.gateway.Get(c, name)
	out := &listeners{spans: map[source.Key][2]int{}}
	if g == nil {
		return out
	}
	key := source.Key{Kind: source.Gateway, Name: name}
	var own []*listener
	for i, l := range g.spec.Listeners {
		own = append(own, d.readListener(c, g, key, fmt.Sprintf("spec.listeners[%d]", i), l))
	}
	out.add(key, own)
	sets := source.Find[*gwapiv1.ListenerSet](c, d.setsOf, name)
	slices.SortFunc(sets, func(a, b *gwapiv1.ListenerSet) int { return attach.Older(a, b) })
	for _, o := range sets {
		set := source.Key{Kind: source.ListenerSet, Name: source.NameOf(o)}
		if !allowsSet(c, g, o) {
			out.refused = append(out.refused, set.Name)
			continue
		}
		out.sets = append(out.sets, set.Name)
		own = nil
		for i, l := range o.Spec.Listeners {
			own = append(own, d.readListener(c, g, set, fmt.Sprintf("spec.listeners[%d]", i), gwapiv1.Listener(l)))
		}
		out.add(set, own)
	}
	return out
}

func allowsSet(c *memo.Ctx, g *gateway, o *gwapiv1.ListenerSet) bool {
	allowed := g.spec.AllowedListeners
	if allowed == nil || allowed.Namespaces == nil || allowed.Namespaces.From == nil {
		return false
	}
	return fromNamespace(c, *allowed.Namespaces.From, allowed.Namespaces.Selector, g.name.Namespace, o.Namespace)
}

// readListener reads one listener.
func (d *Dialect) readListener(c *memo.Ctx, g *gateway, parent source.Key, path string, spec gwapiv1.Listener) *listener {
	l := &listener{
		id: listenerID{parent, string(spec.Name)}, gateway: g.name, fleet: g.fleet, path: path,
		port: int32(spec.Port), protocol: spec.Protocol, host: attach.AnyHost,
	}
	if spec.Hostname != nil && *spec.Hostname != "" {
		l.host = strings.ToLower(string(*spec.Hostname))
	}
	if l.port < 1 || l.port > 65535 {
		l.refuse(".port", gwapiv1.ListenerReasonPortUnavailable, "%d is not a port: give one from 1 to 65535", l.port)
	}
	switch spec.Protocol {
	case gwapiv1.HTTPProtocolType, gwapiv1.TCPProtocolType, gwapiv1.UDPProtocolType:
	case gwapiv1.HTTPSProtocolType:
		d.terminate(c, g, l, spec.TLS)
	case gwapiv1.TLSProtocolType:
		if spec.TLS == nil || spec.TLS.Mode == nil || *spec.TLS.Mode == gwapiv1.TLSModeTerminate {
			d.terminate(c, g, l, spec.TLS)
		}
	default:
		l.refuse(".protocol", gwapiv1.ListenerReasonUnsupportedProtocol, "protocol %s is not supported: there are HTTP, HTTPS, TLS, TCP and UDP", spec.Protocol)
	}
	l.allowKinds(spec.AllowedRoutes)
	return l
}

// possible returns the kinds of routes that a listener can have.
func (l *listener) possible() []source.Kind {
	switch l.protocol {
	case gwapiv1.HTTPProtocolType, gwapiv1.HTTPSProtocolType:
		return []source.Kind{source.HTTPRoute, source.GRPCRoute}
	case gwapiv1.TLSProtocolType:
		if l.tls != nil {
			return []source.Kind{source.TLSRoute, source.TCPRoute}
		}
		return []source.Kind{source.TLSRoute}
	case gwapiv1.TCPProtocolType:
		return []source.Kind{source.TCPRoute}
	case gwapiv1.UDPProtocolType:
		return []source.Kind{source.UDPRoute}
	}
	return nil
}

// allowKinds sets the kinds of routes that the listener takes.
func (l *listener) allowKinds(allowed *gwapiv1.AllowedRoutes) {
	possible := l.possible()
	if allowed == nil || len(allowed.Kinds) == 0 {
		for _, k := range possible {
			l.kinds = append(l.kinds, groupKind(k))
		}
		return
	}
	for i, k := range allowed.Kinds {
		kind := source.Kind{Group: gwapiv1.GroupName, Kind: string(k.Kind)}
		if k.Group != nil {
			kind.Group = string(*k.Group)
		}
		if slices.Contains(possible, kind) {
			l.kinds = append(l.kinds, groupKind(kind))
			continue
		}
		var names []string
		for _, p := range possible {
			names = append(names, p.Kind)
		}
		l.refs = append(l.refs, graph.Problem{
			Path: fmt.Sprintf("%s.allowedRoutes.kinds[%d]", l.path, i), Reason: string(gwapiv1.ListenerReasonInvalidRouteKinds),
			Message: fmt.Sprintf("a listener of protocol %s cannot have %s: it can have %s", l.protocol, source.A(kind.String()), strings.Join(names, ", ")),
		})
	}
}

func groupKind(k source.Kind) gwapiv1.RouteGroupKind {
	group := gwapiv1.Group(k.Group)
	return gwapiv1.RouteGroupKind{Group: &group, Kind: gwapiv1.Kind(k.Kind)}
}

// findConflicts finds listeners that cannot share a port. The one that comes first
// has it.
func findConflicts(list []*listener) {
	type place struct {
		port int32
		udp  bool
	}
	first := map[place]*listener{}
	type spot struct {
		place
		host string
	}
	taken := map[spot]*listener{}
	for _, l := range list {
		if len(l.refused) > 0 {
			continue
		}
		at := place{l.port, l.protocol == gwapiv1.UDPProtocolType}
		head := first[at]
		if head == nil {
			first[at], taken[spot{at, l.host}] = l, l
			continue
		}
		if family(head.protocol) != family(l.protocol) {
			l.conflictWith(head, gwapiv1.ListenerReasonProtocolConflict, fmt.Sprintf("speaks %s", head.protocol))
			continue
		}
		other := taken[spot{at, l.host}]
		switch {
		case other == nil:
			taken[spot{at, l.host}] = l
		case other.protocol != l.protocol:
			l.conflictWith(other, gwapiv1.ListenerReasonProtocolConflict, fmt.Sprintf("speaks %s for the same host name", other.protocol))
		default:
			l.conflictWith(other, gwapiv1.ListenerReasonHostnameConflict, "has the same host name")
		}
	}
}

// family tells the protocols that can share a port.
func family(p gwapiv1.ProtocolType) gwapiv1.ProtocolType {
	if p == gwapiv1.TLSProtocolType {
		return gwapiv1.HTTPSProtocolType
	}
	return p
}

func (l *listener) conflictWith(other *listener, reason gwapiv1.ListenerConditionReason, why string) {
	l.conflict = &graph.Problem{
		Path: l.path, Reason: string(reason),
		Message: fmt.Sprintf("port %d is taken by listener %s of %s, which %s", l.port, other.id.name, other.id.parent, why),
	}
	if l.gateway != other.gateway {
		other.wanted = append(other.wanted, fmt.Sprintf("listener %s of %s", l.id.name, l.id.parent))
	}
}
