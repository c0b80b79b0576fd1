// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Which requests of a Listener are secure.
const (
	modelForwarded = "XFP" // those whose x-forwarded-proto is https
	modelSecure    = "SECURE"
	modelInsecure  = "INSECURE"
)

// listener is a Listener of an install.
type listener struct {
	id               id
	port             int32
	proxy, tls, http bool
	model            string
	statsPrefix      string
	depth            int32
	streams          *uint32
	from             string
	selector         *metav1.LabelSelector
	problems, notes  []graph.Problem
}

// stacks are the protocols that have a short word.
func stacks() map[string][]string {
	return map[string][]string{
		"HTTP": {"HTTP", "TCP"}, "HTTPS": {"TLS", "HTTP", "TCP"},
		"HTTPPROXY": {"PROXY", "HTTP", "TCP"}, "HTTPSPROXY": {"TLS", "PROXY", "HTTP", "TCP"},
		"TCP": {"TCP"}, "TLS": {"TLS", "TCP"},
	}
}

// readListeners reads the Listeners of an install, the older first. Of two with the
// same port the older has it.
func (d *Dialect) readListeners(c *memo.Ctx, install string) []*listener {
	type found struct {
		id id
		o  *emissaryv3.Listener
	}
	var all []found
	for _, i := range d.list(c, source.EmissaryListener) {
		if o, ok := get[*emissaryv3.Listener](d, c, i); ok && isFor(idsOf(o.Spec.AmbassadorID), install) {
			all = append(all, found{i, o})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return attach.Older(a.o, b.o) })
	taken := map[int32]id{}
	var out []*listener
	for _, f := range all {
		l := readListener(f.id, &f.o.Spec)
		if other, ok := taken[l.port]; ok && len(l.problems) == 0 {
			l.bad("spec.port", reasonConflict, "port %d is that of %s of the same install, which is older", l.port, other)
		} else if !ok && len(l.problems) == 0 {
			taken[l.port] = f.id
		}
		out = append(out, l)
	}
	return out
}

func (l *listener) bad(path, reason, format string, args ...any) {
	l.problems = append(l.problems, graph.Problemf(path, reason, format, args...))
}

func readListener(i id, s *emissaryv3.ListenerSpec) *listener {
	l := &listener{
		id: i, port: s.Port, model: s.SecurityModel, statsPrefix: s.StatsPrefix, depth: s.L7Depth,
		streams: s.HTTP2MaxConcurrentStreams, from: s.HostBinding.Namespace.From, selector: s.HostBinding.Selector,
	}
	if s.Port < 1 || s.Port > 65535 {
		l.bad("spec.port", reasonInvalid, "%d is not a port: give one from 1 to 65535", s.Port)
	}
	if !slices.Contains([]string{modelForwarded, modelSecure, modelInsecure}, s.SecurityModel) {
		l.bad("spec.securityModel", reasonInvalid, "%q is not a security model: there are XFP, SECURE and INSECURE", s.SecurityModel)
	}
	if l.from == "" {
		l.from = "SELF"
	}
	if l.from != "SELF" && l.from != "ALL" {
		l.bad("spec.hostBinding.namespace.from", reasonInvalid, "%q is not one of SELF and ALL", l.from)
	}
	if s.L7Depth < 0 {
		l.bad("spec.l7Depth", reasonInvalid, "%d proxies in front are fewer than none", s.L7Depth)
	}
	stack := s.ProtocolStack
	switch {
	case len(stack) > 0:
	case s.Protocol == "":
		l.bad("spec.protocol", reasonInvalid, "is missing: there are HTTP, HTTPS, HTTPPROXY, HTTPSPROXY, TCP and TLS")
	default:
		known, ok := stacks()[s.Protocol]
		if !ok {
			l.bad("spec.protocol", reasonInvalid, "%q is not a protocol: there are HTTP, HTTPS, HTTPPROXY, HTTPSPROXY, TCP and TLS", s.Protocol)
		}
		stack = known
	}
	for _, p := range stack {
		switch p {
		case "TLS":
			l.tls = true
		case "PROXY":
			l.proxy = true
		case "HTTP":
			l.http = true
		case "TCP":
		case "UDP":
			l.bad("spec.protocolStack", reasonUnsupported, "UDP, which is HTTP/3 here, is not served yet: use HTTPS")
		default:
			l.bad("spec.protocolStack", reasonInvalid, "%q is not a protocol: there are TLS, HTTP, PROXY, TCP and UDP", p)
		}
	}
	return l
}

// binds reports whether a Listener serves a Host.
func (l *listener) binds(h *host) bool {
	if h.id == (id{}) {
		return true
	}
	if l.from == "SELF" && h.id.Namespace != l.id.Namespace {
		return false
	}
	if l.selector == nil {
		return true
	}
	s, err := metav1.LabelSelectorAsSelector(l.selector)
	return err == nil && s.Matches(labels.Set(h.labels))
}

// bound returns the Hosts that a Listener serves, each host name once.
func (d *Dialect) bound(c *memo.Ctx, install string, l *listener) []*host {
	var out []*host
	for _, h := range d.hosts.Get(c, install) {
		same := func(o *host) bool { return o.hostname == h.hostname }
		if len(h.problems) == 0 && l.binds(h) && !slices.ContainsFunc(out, same) {
			out = append(out, h)
		}
	}
	return out
}

// listenerAt returns the Listener of a port that is served, or nil.
func (d *Dialect) listenerAt(c *memo.Ctx, install string, port int32) *listener {
	for _, l := range d.listeners.Get(c, install) {
		if l.port == port && len(l.problems) == 0 {
			return l
		}
	}
	return nil
}

// readGraph returns what an install serves, or nil if there is none.
func (d *Dialect) readGraph(c *memo.Ctx, name source.Name) *graph.Gateway {
	install := installOf(name)
	if !slices.Contains(d.installs.Get(c, struct{}{}), install) {
		return nil
	}
	out := &graph.Gateway{ID: name}
	out.Origin.Object = "Emissary-ingress install " + install
	in, services := d.install.Get(c, install), d.services.Get(c, install)
	for _, l := range d.listeners.Get(c, install) {
		if len(l.problems) > 0 || unguarded(in, l) != nil {
			continue
		}
		s := &graph.Socket{ID: graph.SocketID{Gateway: name, Port: l.port}}
		s.Filters, s.Overlay = socketOf(in, services, l)
		origin := source.Input(c).Place(originOf(l.id)).Origin(originOf(l.id), "")
		d.tcpChains(c, s, install)
		d.httpChains(c, s, l, install)
		for _, ch := range s.Chains {
			ch.Origin = origin
			ch.Network = allowed(in)
			if ch.Table != nil {
				ch.Manager, ch.Filters = managerOf(in, l)
				services.serve(ch)
				d.override(c, in, ch)
			}
		}
		if len(s.Chains) > 0 {
			out.Sockets = append(out.Sockets, s)
		}
	}
	d.tcpSockets(c, out, install)
	slices.SortFunc(out.Sockets, func(a, b *graph.Socket) int { return cmp.Compare(a.ID.Port, b.ID.Port) })
	publish(out.Sockets)
	return out
}

// httpChains adds a chain for the TLS of each Host, and one for all cleartext, which a
// Listener of HTTPS takes, too.
func (d *Dialect) httpChains(c *memo.Ctx, s *graph.Socket, l *listener, install string) {
	if !l.http {
		return
	}
	for _, h := range d.bound(c, install, l) {
		if !l.tls || h.tls == nil {
			continue
		}
		if strings.HasSuffix(h.hostname, "*") && h.hostname != attach.AnyHost || strings.HasPrefix(h.hostname, "*") && !strings.HasPrefix(h.hostname, "*.") && h.hostname != attach.AnyHost {
			continue // No server name of TLS can be compared with it; statusOf tells.
		}
		if slices.ContainsFunc(s.Chains, func(ch *graph.Chain) bool { return ch.Hostname == h.hostname && ch.Inspect }) {
			continue // A TCPMapping has it.
		}
		s.Chains = append(s.Chains, &graph.Chain{
			Name: h.hostname, Hostname: h.hostname, Inspect: true, TLS: h.tls, Table: &graph.TableID{Socket: s.ID, Host: h.hostname},
		})
	}
	if !slices.ContainsFunc(s.Chains, func(ch *graph.Chain) bool { return !ch.Inspect }) {
		s.Chains = append(s.Chains, &graph.Chain{Name: "http", Hostname: attach.AnyHost, Table: &graph.TableID{Socket: s.ID}})
	}
}

// hostOf names a virtual host of a table: a domain, and the Host that has it.
type hostOf struct {
	table  graph.TableID
	host   hostID
	domain string
}

// readTable returns the domains of a table. A domain belongs to the most specific Host
// that covers it.
func (d *Dialect) readTable(c *memo.Ctx, id graph.TableID) []hostOf {
	install := installOf(id.Socket.Gateway)
	l := d.listenerAt(c, install, id.Socket.Port)
	if l == nil {
		return nil
	}
	hosts := d.bound(c, install, l)
	if id.Host != "" {
		hosts = slices.DeleteFunc(hosts, func(h *host) bool { return h.hostname != id.Host })
	}
	slices.SortFunc(hosts, func(a, b *host) int { return wilder(a.hostname, b.hostname) })
	owned := map[string]hostID{}
	for _, h := range hosts {
		own := hostID{install, h.id}
		for _, domain := range append([]string{h.hostname}, d.domains.Members(c, own)...) {
			if _, taken := owned[domain]; taken {
				continue
			}
			if i := slices.IndexFunc(hosts, func(o *host) bool { return covers(o.hostname, domain) }); i >= 0 {
				owned[domain] = hostID{install, hosts[i].id}
			}
		}
	}
	out := make([]hostOf, 0, len(owned))
	for domain, h := range owned {
		out = append(out, hostOf{id, h, domain})
	}
	return out
}

// publish has a Service in front of the proxies lead from the ports of HTTP and HTTPS to
// 8080 and 8443, as that of Emissary's chart does, where no Listener has them.
func publish(sockets []*graph.Socket) {
	for own, at := range map[int32]int32{8080: 80, 8443: 443} {
		has := func(port int32) int {
			return slices.IndexFunc(sockets, func(s *graph.Socket) bool { return s.ID.Port == port })
		}
		if i := has(own); i >= 0 && has(at) < 0 {
			sockets[i].Published = at
		}
	}
}
