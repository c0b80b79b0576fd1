// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// placedID is a Mapping in an install.
type placedID struct {
	install string
	mapping id
}

// placed is where a Mapping leads in an install. A problem drops it there.
type placed struct {
	cluster         graph.ClusterID
	problems, notes []graph.Problem
}

// place finds the service of a Mapping, and how it is spoken to.
func (d *Dialect) place(c *memo.Ctx, i placedID) *placed {
	out := &placed{}
	m, in := d.mapping.Get(c, i.mapping), d.install.Get(c, i.install)
	if m == nil || len(m.problems) > 0 || is(m.spec.HostRedirect) && !is(m.spec.Shadow) {
		return out
	}
	s := m.spec
	refuse := func(p graph.Problem) *placed {
		out.problems = append(out.problems, p)
		return out
	}
	endpoints, wrong := in.resolves(s.Resolver)
	if wrong != "" {
		return refuse(graph.Problemf("spec.resolver", reasonNotFound, "%s", wrong))
	}
	if s.LoadBalancer != nil && !endpoints {
		return refuse(graph.Problemf("spec.load_balancer", reasonInvalid, "the resolver finds no endpoints to balance over: name a KubernetesEndpointResolver in resolver, or in the Module's"))
	}
	set := d.settingsOf(in, m, endpoints)
	if len(m.checks()) > 0 && !endpoints {
		out.notes = append(out.notes, graph.Problemf("spec.health_checks", reasonInvalid, "has no effect: the resolver finds no endpoints to check; name a KubernetesEndpointResolver"))
	}
	secure := s.TLS.Value != "" || is(s.TLS.Bool)
	service, err := parseService(s.Service, secure)
	if err != nil {
		return refuse(graph.Problemf("spec.service", reasonInvalid, "%v", err))
	}
	mode := graph.HTTP
	if set.GRPC {
		mode = graph.GRPC
	}
	at, bad := d.find(c, source.EmissaryMapping, service, d.namespaceOf(c, in, i.mapping), endpoints, mode)
	if bad != nil {
		bad.Path = "spec.service"
		return refuse(*bad)
	}
	if service.scheme == "https" || secure && service.scheme == "" {
		if set.TLS, bad = d.originate(c, i.install, s.TLS.Value, service.host); bad != nil {
			return refuse(*bad)
		}
	}
	return out.lead(at, set, refuse)
}

// lead makes the cluster of a service.
func (p *placed) lead(at target, set *settings, refuse func(graph.Problem) *placed) *placed {
	p.cluster = at.cluster
	set.Named = at.named
	if !at.named {
		set.Logical, set.FixedTTL, set.Family = false, false, ""
	}
	if set.TLS != nil {
		p.cluster.Certificate = set.TLS.Certificate
	}
	v, err := variantOf(set)
	if err != nil {
		return refuse(graph.Problemf("spec", reasonInvalid, "%v", err))
	}
	p.cluster.Variant = v
	return p
}

// namespaceOf is where a service without a namespace is.
func (d *Dialect) namespaceOf(c *memo.Ctx, in *install, i id) string {
	if is(in.config.UseAmbassadorNamespace) {
		for _, l := range d.listeners.Get(c, in.name) {
			return l.id.Namespace // Where the install's own objects are.
		}
	}
	return i.Namespace
}

// connectTimeout is how long a connection may take where nothing says.
const connectTimeout = 3000

// settingsOf says how the service of a Mapping is spoken to, but for TLS.
func (d *Dialect) settingsOf(in *install, m *mapping, endpoints bool) *settings {
	s, c := m.spec, &in.config
	out := &settings{
		Tag: s.ClusterTag, StatsName: cmp.Or(s.StatsName, s.V3StatsName), GRPC: is(s.GRPC), Connect: connectTimeout,
		Idle: first(s.ClusterIdleTimeout, c.ClusterIdleTimeout), MaxAge: first(s.ClusterMaxConnectionAge, c.ClusterMaxConnectionAge),
		Breakers: s.CircuitBreakers, KeepAlive: cmp.Or(s.KeepAlive, c.KeepAlive),
		Logical: s.DNSType == "logical_dns", FixedTTL: !is(s.RespectDNSTTL),
		Family: family(first(s.EnableIPv4, c.EnableIPv4), first(s.EnableIPv6, c.EnableIPv6)),
	}
	if len(out.Breakers) == 0 {
		out.Breakers = c.CircuitBreakers
	}
	if s.ConnectTimeout != nil {
		out.Connect = *s.ConnectTimeout
	}
	if endpoints {
		out.Checks = m.checks()
		if b := cmp.Or(s.LoadBalancer, c.LoadBalancer); b != nil {
			out.Policy = b.Policy
		}
	}
	return out
}

// family says which addresses a name is looked up for. IPv4 is, unless it is said
// otherwise; IPv6 is not.
func family(four, six *bool) string {
	out := ""
	if four == nil || *four {
		out = "4"
	}
	if is(six) {
		out += "6"
	}
	return out
}

// groupID names the Mappings of an install that match the same requests.
type groupID struct{ install, key string }

// keyOf tells a group from others.
func (d *Dialect) keyOf(c *memo.Ctx, install string, m *mapping) string {
	o := m.order()
	parts := []string{
		o.method, m.spec.Prefix, fmt.Sprint(is(m.spec.PrefixExact), is(m.spec.PrefixRegex), o.precedence), o.keys,
	}
	if m.host == "" {
		for _, h := range d.hosts.Get(c, install) {
			if h.selector == nil || !h.has("", m.labels) {
				continue
			}
			for k := range h.selector.MatchLabels {
				parts = append(parts, k+"="+m.labels[k])
			}
		}
		slices.Sort(parts[4:])
	}
	return strings.Join(parts, "\x00")
}

// mappingsIn returns the Mappings of an object: itself, or those in its annotation.
func (d *Dialect) mappingsIn(c *memo.Ctx, key source.Key) []id {
	if key.Kind == source.EmissaryMapping {
		return []id{{Key: key}}
	}
	var out []id
	for i, o := range d.annotation.Get(c, key).objects {
		if o.key.Kind == source.EmissaryMapping {
			out = append(out, id{o.key, key, i})
		}
	}
	return out
}

// each yields the good Mappings of an object in each install that they are for.
func (d *Dialect) each(c *memo.Ctx, key source.Key, yield func(install string, m *mapping)) {
	for _, i := range d.mappingsIn(c, key) {
		m := d.mapping.Get(c, i)
		if m == nil || len(m.problems) > 0 {
			continue
		}
		for _, name := range d.installs.Get(c, struct{}{}) {
			if isFor(m.ids, name) && len(d.placed.Get(c, placedID{name, i}).problems) == 0 {
				yield(name, m)
			}
		}
	}
}

func (d *Dialect) groupsOf(c *memo.Ctx, key source.Key) []memo.Pair[groupID, id] {
	var out []memo.Pair[groupID, id]
	d.each(c, key, func(install string, m *mapping) {
		out = append(out, memo.Pair[groupID, id]{Bucket: groupID{install, d.keyOf(c, install, m)}, Member: m.id})
	})
	return out
}

// glob is the host names of a Mapping; one that names none is for all of its Hosts.
func (m *mapping) glob() string { return cmp.Or(m.host, attach.AnyHost) }

// domainsOf says which host names of their own a Mapping has within Hosts.
func (d *Dialect) domainsOf(c *memo.Ctx, key source.Key) []memo.Pair[hostID, string] {
	var out []memo.Pair[hostID, string]
	d.within(c, key, func(h hostID, hostname string, m *mapping) {
		if g := m.glob(); g != hostname && covers(hostname, g) {
			out = append(out, memo.Pair[hostID, string]{Bucket: h, Member: g})
		}
	})
	return out
}

// wildOf says which host names with a star Mappings have.
func (d *Dialect) wildOf(c *memo.Ctx, key source.Key) []memo.Pair[hostID, string] {
	var out []memo.Pair[hostID, string]
	d.within(c, key, func(h hostID, _ string, m *mapping) {
		if g := m.glob(); !exact(g) {
			out = append(out, memo.Pair[hostID, string]{Bucket: h, Member: g})
		}
	})
	return out
}

// membersID is a host name that Mappings have within a Host.
type membersID struct {
	host hostID
	glob string
}

func (d *Dialect) membersOf(c *memo.Ctx, key source.Key) []memo.Pair[membersID, string] {
	var out []memo.Pair[membersID, string]
	d.within(c, key, func(h hostID, _ string, m *mapping) {
		out = append(out, memo.Pair[membersID, string]{Bucket: membersID{h, m.glob()}, Member: d.keyOf(c, h.install, m)})
	})
	return out
}

// within yields the Hosts that the Mappings of an object belong to.
func (d *Dialect) within(c *memo.Ctx, key source.Key, yield func(h hostID, hostname string, m *mapping)) {
	d.each(c, key, func(install string, m *mapping) {
		for _, h := range d.hosts.Get(c, install) {
			if len(h.problems) == 0 && h.has(m.host, m.labels) {
				yield(hostID{install, h.id}, h.hostname, m)
			}
		}
	})
}

// group is the Mappings that match the same requests.
type group struct {
	order  order
	routes []*base
	// untils are the percents up to which each Mapping takes requests, and total how many
	// of them are taken.
	untils []int
	total  int
	// acme tells that the path is that of ACME's challenges.
	acme bool
	// problems are of Mappings that are left out.
	problems map[id][]graph.Problem
}

// base is a Mapping's route, for any Host.
type base struct {
	id       id
	message  *routev3.Route
	clusters []graph.ClusterID
}

// acmePath begins the paths by which a certificate's owner is proven; they are never
// redirected.
const acmePath = "/.well-known/acme-challenge/"

// readGroup makes the routes of a group.
func (d *Dialect) readGroup(c *memo.Ctx, i groupID) *group {
	in := d.install.Get(c, i.install)
	out := &group{problems: map[id][]graph.Problem{}, total: percent}
	var forward []*mapping
	var redirect, shadow *mapping
	var lead *mapping
	drop := func(m *mapping, path, format string, args ...any) {
		out.problems[m.id] = append(out.problems[m.id], graph.Problemf(path, reasonConflict, format, args...))
	}
	for _, member := range d.groupOf.Members(c, i) {
		m := d.mapping.Get(c, member)
		if lead == nil {
			lead = m
			out.order, out.acme = m.order(), strings.HasPrefix(m.spec.Prefix, acmePath)
		} else if field := differs(lead, m); field != "" {
			drop(m, "spec."+field, "%s matches the same requests and has another %s: those that share requests must be alike in it", lead.id, field)
			continue
		}
		switch {
		case is(m.spec.Shadow) && shadow != nil:
			drop(m, "spec.shadow", "%s is the shadow of these requests already: there can be one", shadow.id)
		case is(m.spec.Shadow):
			shadow = m
		case is(m.spec.HostRedirect) && (redirect != nil || len(forward) > 0):
			drop(m, "spec.host_redirect", "other Mappings match the same requests, of which some are not redirected or redirected elsewhere")
		case is(m.spec.HostRedirect):
			redirect = m
		case redirect != nil:
			drop(m, "spec.host_redirect", "%s redirects the same requests", redirect.id)
		default:
			forward = append(forward, m)
		}
	}
	if redirect != nil {
		r := &routev3.Route{Name: routeName(redirect.id), Match: matchOf(redirect), Action: redirectOf(redirect.spec)}
		edit(in, redirect.spec, "", r)
		services := d.services.Get(c, in.name)
		with(r, build.ExtAuthz, services.authorized(redirect))
		if services.closed && !is(redirect.spec.BypassAuth) {
			r.Action = build.Answer(unavailable)
		}
		out.routes = []*base{{id: redirect.id, message: r}}
		return out
	}
	out.share(forward, drop)
	for n, m := range forward {
		if len(out.problems[m.id]) == 0 {
			d.addRoute(c, in, out, m, shadow, n)
		}
	}
	return out
}

const percent = 100

// share gives Mappings their percents, as those up to which each takes requests: there
// is one draw for all. Those without a weight come last and share what is left. Alone, a
// Mapping takes all.
func (g *group) share(list []*mapping, drop func(m *mapping, path, format string, args ...any)) {
	if len(list) == 1 {
		g.untils = []int{percent}
		return
	}
	slices.SortStableFunc(list, func(a, b *mapping) int { return cmp.Compare(open(a), open(b)) })
	sum, left := 0, 0
	for _, m := range list {
		if left += open(m); open(m) == 0 {
			sum += *m.spec.Weight
		}
	}
	if sum > percent {
		for _, m := range list {
			drop(m, "spec.weight", "the weights of the Mappings that match the same requests sum to %d, which is more than 100: none of them is served", sum)
		}
		return
	}
	at, rest := 0, percent-sum
	for _, m := range list {
		if open(m) == 0 {
			at += *m.spec.Weight
		} else {
			at += rest / left
			rest, left = rest-rest/left, left-1
		}
		g.untils = append(g.untils, at)
	}
	g.total = at
}

// open is 1 for a Mapping without a weight.
func open(m *mapping) int {
	if m.spec.Weight == nil {
		return 1
	}
	return 0
}

// differs returns a field in which Mappings that match the same requests must be alike,
// and these are not.
func differs(a, b *mapping) string {
	x, y := a.spec, b.spec
	for _, f := range []struct {
		name string
		a, b any
	}{
		{"bypass_auth", is(x.BypassAuth), is(y.BypassAuth)},
		{"circuit_breakers", x.CircuitBreakers, y.CircuitBreakers},
		{"connect_timeout_ms", x.ConnectTimeout, y.ConnectTimeout},
		{"cluster_idle_timeout_ms", x.ClusterIdleTimeout, y.ClusterIdleTimeout},
		{"cluster_max_connection_lifetime_ms", x.ClusterMaxConnectionAge, y.ClusterMaxConnectionAge},
		{"keepalive", x.KeepAlive, y.KeepAlive},
		{"labels", x.Labels, y.Labels},
		{"load_balancer", x.LoadBalancer, y.LoadBalancer},
	} {
		if !reflect.DeepEqual(f.a, f.b) {
			return f.name
		}
	}
	return ""
}

func routeName(i id) string { return "mapping/" + i.Name.String() }

// addRoute adds the route of one Mapping, the nth of those that share requests.
func (d *Dialect) addRoute(c *memo.Ctx, in *install, g *group, m, shadow *mapping, n int) {
	p := d.placed.Get(c, placedID{in.name, m.id})
	b := &base{id: m.id, message: &routev3.Route{Name: routeName(m.id), Match: matchOf(m)}}
	if until := g.untils[n]; until < percent {
		b.message.Match.RuntimeFraction = build.Fraction(uint64(until), percent)
	}
	g.routes = append(g.routes, b)
	with(b.message, build.ResponseMap, in.overridesOf(m))
	services := d.services.Get(c, in.name)
	if in.refuses(services, m) {
		b.message.Action = build.Answer(unavailable)
		return
	}
	a := forwardOf(in, m, p.cluster.Name())
	b.clusters = append(b.clusters, p.cluster)
	if shadow != nil {
		to := d.placed.Get(c, placedID{in.name, shadow.id}).cluster
		mirror := build.Mirror(to.Name(), nil)
		mirror.DisableShadowHostSuffixAppend = false
		if w := shadow.spec.Weight; w != nil {
			mirror.RuntimeFraction = build.Fraction(uint64(*w), percent)
		}
		a.RequestMirrorPolicies = append(a.RequestMirrorPolicies, mirror)
		b.clusters = append(b.clusters, to)
	}
	a.RateLimits = services.counted(in, m)
	b.message.Action = &routev3.Route_Route{Route: a}
	service, err := parseService(m.spec.Service, false)
	if err == nil {
		edit(in, m.spec, fmt.Sprintf("%s:%d", service.host, service.port), b.message)
	}
	if cors := cmp.Or(m.spec.CORS, in.config.CORS); cors != nil {
		with(b.message, build.CORS, corsOf(cors))
	}
	with(b.message, build.ExtAuthz, services.authorized(m))
}

// unavailable answers requests that something is to let in which is not there.
const unavailable = 500
