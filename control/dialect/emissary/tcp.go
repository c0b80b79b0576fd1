// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// tcpMapping is a TCPMapping of an install.
type tcpMapping struct {
	id      id
	port    int32
	host    string // a server name, or attach.AnyHost
	cluster graph.ClusterID
	weight  *int
	idle    *int64
	// tls is how TLS is terminated for host; nil passes the bytes on as they are.
	tls      *graph.TLS
	problems []graph.Problem
}

func (t *tcpMapping) bad(path, reason, format string, args ...any) {
	t.problems = append(t.problems, graph.Problemf("spec."+path, reason, format, args...))
}

// readTCP reads the TCPMappings of an install, the older first.
func (d *Dialect) readTCP(c *memo.Ctx, install string) []*tcpMapping {
	type found struct {
		id id
		o  *emissaryv3.TCPMapping
	}
	var all []found
	for _, i := range d.list(c, source.EmissaryTCPMapping) {
		if o, ok := get[*emissaryv3.TCPMapping](d, c, i); ok && isFor(idsOf(o.Spec.AmbassadorID), install) {
			all = append(all, found{i, o})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return attach.Older(a.o, b.o) })
	out := make([]*tcpMapping, len(all))
	for i, f := range all {
		out[i] = d.readOneTCP(c, install, f.id, &f.o.Spec)
	}
	sumWeights(out)
	return out
}

func (d *Dialect) readOneTCP(c *memo.Ctx, install string, i id, s *emissaryv3.TCPMappingSpec) *tcpMapping {
	t := &tcpMapping{id: i, port: s.Port, host: cmp.Or(globOf(s.Host), attach.AnyHost), weight: s.Weight}
	if s.Port < 1 || s.Port > 65535 {
		t.bad("port", reasonInvalid, "%d is not a port: give one from 1 to 65535", s.Port)
	}
	if t.host != attach.AnyHost && !exact(t.host) && !strings.HasPrefix(t.host, "*.") {
		t.bad("host", reasonInvalid, "%q is not a server name of TLS", s.Host)
	}
	if s.Address != "" {
		if a, err := netip.ParseAddr(s.Address); err != nil || !a.IsUnspecified() {
			t.bad("address", reasonUnsupported, "%q: a TCPMapping is served at all addresses of its install; leave address out", s.Address)
		}
	}
	if w := s.Weight; w != nil && (*w < 0 || *w > percent) {
		t.bad("weight", reasonInvalid, "is %d: weights are percents, from 0 to 100", *w)
	}
	if s.IdleTimeoutMs.Set() {
		n, err := strconv.ParseInt(s.IdleTimeoutMs.Value, 10, 64)
		if err != nil || n < 0 || n > longest {
			t.bad("idle_timeout_ms", reasonInvalid, "%q is not a number of milliseconds", s.IdleTimeoutMs.Value)
		}
		t.idle = &n
	}
	checkBreakers("circuit_breakers", s.CircuitBreakers, t.bad)
	d.tcpService(c, install, t, s)
	if t.host != attach.AnyHost {
		d.tcpTLS(c, install, t)
	}
	return t
}

// tcpService finds where a TCPMapping leads.
func (d *Dialect) tcpService(c *memo.Ctx, install string, t *tcpMapping, s *emissaryv3.TCPMappingSpec) {
	in := d.install.Get(c, install)
	endpoints, wrong := in.resolves(s.Resolver)
	if wrong != "" {
		t.bad("resolver", reasonNotFound, "%s", wrong)
		return
	}
	secure := s.TLS.Value != "" || is(s.TLS.Bool)
	service, err := parseService(s.Service, secure)
	if err != nil {
		t.bad("service", reasonInvalid, "%v", err)
		return
	}
	at, bad := d.find(c, source.EmissaryTCPMapping, service, d.namespaceOf(c, in, t.id), endpoints, graph.HTTP)
	if bad != nil {
		bad.Path = "spec.service"
		t.problems = append(t.problems, *bad)
		return
	}
	set := &settings{
		Tag: s.ClusterTag, StatsName: cmp.Or(s.StatsName, s.V3StatsName), Connect: connectTimeout, Bytes: true, FixedTTL: true,
		Breakers: s.CircuitBreakers, Family: family(first(s.EnableIPv4, in.config.EnableIPv4), first(s.EnableIPv6, in.config.EnableIPv6)),
	}
	if service.scheme == "https" || secure && service.scheme == "" {
		if set.TLS, bad = d.originate(c, install, s.TLS.Value, service.host); bad != nil {
			t.problems = append(t.problems, *bad)
			return
		}
	}
	p := (&placed{}).lead(at, set, func(p graph.Problem) *placed {
		t.problems = append(t.problems, p)
		return nil
	})
	if p != nil {
		t.cluster = p.cluster
	}
}

// tcpTLS finds who has a certificate for a TCPMapping's host: a Host of that name, or a
// TLSContext that lists it. Without one the bytes are passed on as they are; but not past
// one that is wrong, which may be there to keep somebody out.
func (d *Dialect) tcpTLS(c *memo.Ctx, install string, t *tcpMapping) {
	var wrong []id
	for _, h := range d.hosts.Get(c, install) {
		switch {
		case h.hostname != t.host:
		case len(h.problems) > 0 && h.ends:
			wrong = append(wrong, h.id)
		case len(h.problems) == 0 && h.tls != nil:
			t.tls = h.tls
			return
		}
	}
	for _, ctx := range d.contexts.Get(c, install) {
		switch {
		case ctx.secret == (source.Name{}) || !slices.Contains(ctx.hosts, t.host):
		case len(ctx.problems) > 0:
			wrong = append(wrong, ctx.id)
		default:
			t.tls = terminated(c, ctx.secret, &ctx.spec, ctx.id.Namespace)
			return
		}
	}
	if len(wrong) > 0 {
		t.bad("host", reasonNotFound, "%s says how its TLS is terminated, and cannot be used: see its own problems", wrong[0])
	}
}

// sumWeights finds TCPMappings that share connections and whose weights sum to too much.
func sumWeights(all []*tcpMapping) {
	type place struct {
		port int32
		host string
	}
	sums := map[place]int{}
	for _, t := range all {
		if t.weight != nil && len(t.problems) == 0 {
			sums[place{t.port, t.host}] += *t.weight
		}
	}
	for _, t := range all {
		if sum := sums[place{t.port, t.host}]; sum > percent && len(t.problems) == 0 {
			t.bad("weight", reasonConflict, "the weights of the TCPMappings of port %d and the same host sum to %d, which is more than 100: none of them is served", t.port, sum)
		}
	}
}

// tcpChains adds the chains of the TCPMappings of a Listener's port, which come before
// its Hosts.
func (d *Dialect) tcpChains(c *memo.Ctx, s *graph.Socket, install string) {
	var hosts []string
	shares := map[string][]*tcpMapping{}
	for _, t := range d.tcp.Get(c, install) {
		if t.port != s.ID.Port || len(t.problems) > 0 {
			continue
		}
		if shares[t.host] == nil {
			hosts = append(hosts, t.host)
		}
		shares[t.host] = append(shares[t.host], t)
	}
	slices.SortFunc(hosts, wilder)
	for _, host := range hosts {
		list := shares[host]
		ch := &graph.Chain{Name: fmt.Sprintf("tcp/%s", host), Hostname: host, Inspect: host != attach.AnyHost, TLS: list[0].tls, Backends: weigh(list)}
		if ch.TLS != nil {
			own := *ch.TLS
			own.Protocols = nil // What is carried is not HTTP.
			ch.TLS = &own
		}
		if idle := list[0].idle; idle != nil {
			ch.Manager.Message = &tcpproxyv3.TcpProxy{IdleTimeout: ms(*idle)}
		}
		s.Chains = append(s.Chains, ch)
	}
}

// weigh gives TCPMappings their shares.
func weigh(list []*tcpMapping) []graph.Backend {
	sum, left := 0, 0
	for _, t := range list {
		if t.weight != nil {
			sum += *t.weight
		} else {
			left++
		}
	}
	var out []graph.Backend
	rest := percent - sum
	for _, t := range list {
		w := 0
		switch {
		case len(list) == 1:
			w = percent
		case t.weight != nil:
			w = *t.weight
		default:
			w = rest / left
			rest, left = rest-w, left-1
		}
		out = append(out, graph.Backend{Cluster: t.cluster, Valid: true, Weight: uint32(w)})
	}
	return out
}

// tcpSockets adds the ports that TCPMappings have and no Listener has.
func (d *Dialect) tcpSockets(c *memo.Ctx, g *graph.Gateway, install string) {
	for _, t := range d.tcp.Get(c, install) {
		has := slices.ContainsFunc(d.listeners.Get(c, install), func(l *listener) bool { return l.port == t.port }) ||
			slices.ContainsFunc(g.Sockets, func(s *graph.Socket) bool { return s.ID.Port == t.port })
		if has || len(t.problems) > 0 {
			continue
		}
		s := &graph.Socket{ID: graph.SocketID{Gateway: g.ID, Port: t.port}}
		d.tcpChains(c, s, install)
		key := originOf(t.id)
		for _, ch := range s.Chains {
			ch.Origin = source.Input(c).Place(key).Origin(key, "")
			ch.Network = allowed(d.install.Get(c, install))
		}
		g.Sockets = append(g.Sockets, s)
	}
}
