// SPDX-License-Identifier: Apache-2.0

package ingress

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// domainOf is a host name that Ingresses of a class have.
type domainOf struct{ class, host string }

// hostOf names a virtual host of a table.
type hostOf struct {
	table graph.TableID
	domainOf
}

// hosts returns the host names of an Ingress. One with a default backend is for all.
func (i *ingress) hosts() []string {
	var out []string
	if i.rest != nil {
		out = append(out, attach.AnyHost)
	}
	for _, r := range i.rules {
		if !slices.Contains(out, r.host) {
			out = append(out, r.host)
		}
	}
	return out
}

func (d *Dialect) domainsOf(c *memo.Ctx, key source.Key) []memo.Pair[string, string] {
	var out []memo.Pair[string, string]
	if i := d.ingress.Get(c, key.Name); i != nil {
		for _, h := range i.hosts() {
			out = append(out, memo.Pair[string, string]{Bucket: i.class, Member: h})
		}
	}
	return out
}

func (d *Dialect) membersOf(c *memo.Ctx, key source.Key) []memo.Pair[domainOf, source.Name] {
	var out []memo.Pair[domainOf, source.Name]
	if i := d.ingress.Get(c, key.Name); i != nil {
		for _, h := range i.hosts() {
			out = append(out, memo.Pair[domainOf, source.Name]{Bucket: domainOf{i.class, h}, Member: key.Name})
		}
	}
	return out
}

// ingresses returns Ingresses, the older first.
func (d *Dialect) ingresses(c *memo.Ctx, names []source.Name) []*ingress {
	var out []*ingress
	for _, n := range names {
		if i := d.ingress.Get(c, n); i != nil {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b *ingress) int { return cmp.Or(cmp.Compare(a.born, b.born), source.Compare(a.name, b.name)) })
	return out
}

// readClaims returns whose each place of a host is: the oldest Ingress that has it.
func (d *Dialect) readClaims(c *memo.Ctx, id domainOf) map[place]source.Name {
	out := map[place]source.Name{}
	for _, i := range d.ingresses(c, d.members.Members(c, id)) {
		for _, r := range i.rules {
			if _, taken := out[r.place]; r.host == id.host && !taken {
				out[r.place] = i.name
			}
		}
	}
	return out
}

// certificate is what TLS for a host is terminated with.
type certificate struct {
	host   string
	secret source.Name
	of     source.Name
}

// readCertificates returns the certificates of a class, the more specific host first. Of
// two for one host the older Ingress' counts.
func (d *Dialect) readCertificates(c *memo.Ctx, class string) []certificate {
	var out []certificate
	for _, i := range d.ingresses(c, d.of.Members(c, class)) {
		for _, t := range i.tls {
			for _, h := range t.hosts {
				if !slices.ContainsFunc(out, func(o certificate) bool { return o.host == h }) {
					out = append(out, certificate{h, t.secret, i.name})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b certificate) int { return attach.CompareHosts(a.host, b.host) })
	return out
}

// readGraph returns what a class serves, or nil if it has no Ingress.
func (d *Dialect) readGraph(c *memo.Ctx, name source.Name) *graph.Gateway {
	class := classIn(name)
	all := d.ingresses(c, d.of.Members(c, class))
	if class == "" || len(all) == 0 {
		return nil
	}
	out := &graph.Gateway{ID: name}
	out.Origin.Object = "Ingresses of class " + class
	idle := map[string]proto.Message{}
	if all[0].istio {
		idle[build.Fault] = &faultv3.HTTPFault{}
	}
	origin := func(n source.Name) source.Key { return source.Key{Kind: source.Ingress, Name: n} }
	ports := d.class.Get(c, class)
	plain := &graph.Socket{ID: graph.SocketID{Gateway: name, Port: ports.plain}}
	key := origin(all[0].name)
	plain.Chains = []*graph.Chain{{
		Name: "http", Hostname: attach.AnyHost, Table: &graph.TableID{Socket: plain.ID}, Idle: idle, Origin: source.Input(c).Place(key).Origin(key, ""),
	}}
	out.Sockets = append(out.Sockets, plain)
	certs := d.certs.Get(c, class)
	if len(certs) == 0 || ports.plain == ports.secure {
		return out
	}
	secure := &graph.Socket{ID: graph.SocketID{Gateway: name, Port: ports.secure}}
	for _, t := range certs {
		key := origin(t.of)
		secure.Chains = append(secure.Chains, &graph.Chain{
			Name: t.host, Hostname: t.host, Inspect: true, TLS: &graph.TLS{Certificates: []string{t.secret.String()}, Protocols: []string{"h2", "http/1.1"}},
			Table: &graph.TableID{Socket: secure.ID, Host: t.host}, Idle: idle, Origin: source.Input(c).Place(key).Origin(key, "spec.tls"),
		})
	}
	out.Sockets = append(out.Sockets, secure)
	return out
}

// readTable returns the host names of a table: of one in TLS, those that its server name
// covers.
func (d *Dialect) readTable(c *memo.Ctx, id graph.TableID) []hostOf {
	class := classIn(id.Socket.Gateway)
	var out []hostOf
	seen := map[string]bool{}
	for _, h := range d.domains.Members(c, class) {
		if id.Host != "" {
			both, ok := attach.Meet(id.Host, h)
			if !ok {
				continue
			}
			h = both
		}
		if !seen[h] {
			seen[h] = true
			out = append(out, hostOf{id, domainOf{class, h}})
		}
	}
	return out
}

// readHost makes a virtual host. A wildcard stands for one label: what has more of them
// is for wider names.
func (d *Dialect) readHost(c *memo.Ctx, id hostOf) *graph.Host {
	out := &graph.Host{Domain: id.host}
	h := &hosting{d: d, c: c, table: id.table, out: out}
	names := append([]string{id.host}, attach.Wider(id.host)...)
	for n, name := range names {
		all := d.ingresses(c, d.members.Members(c, domainOf{id.class, name}))
		if n > 0 && (len(all) == 0 || len(out.Routes) > 0 && !strings.HasPrefix(id.host, "*.")) {
			continue
		}
		guard := ""
		if rest, wild := strings.CutPrefix(name, "*"); wild && rest != "" {
			guard = `[^.]+` + regexp.QuoteMeta(rest) + `(:[0-9]+)?`
		}
		h.rules(domainOf{id.class, name}, all, guard)
		h.rest(all, guard)
	}
	if !h.rested {
		h.rest(d.ingresses(c, d.of.Members(c, id.class)), "")
	}
	return out
}

// hosting gathers the routes of a virtual host.
type hosting struct {
	d     *Dialect
	c     *memo.Ctx
	table graph.TableID
	out   *graph.Host
	// rested tells that a default backend takes what is left.
	rested bool
}

// rules adds the rules of Ingresses for a host name, in their order: exact paths, then
// longer prefixes.
func (h *hosting) rules(id domainOf, all []*ingress, guard string) {
	type entry struct {
		of   *ingress
		rule rule
	}
	var list []entry
	claims := h.d.claims.Get(h.c, id)
	for _, i := range all {
		for n, r := range i.rules {
			first := slices.IndexFunc(i.rules, func(o rule) bool { return o.host == r.host && o.place == r.place }) == n
			if r.host == id.host && claims[r.place] == i.name && first {
				list = append(list, entry{i, r})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int {
		return cmp.Or(
			cmp.Compare(len(b.rule.exact), len(a.rule.exact)),
			cmp.Compare(len(strings.TrimRight(b.rule.prefix, "/")), len(strings.TrimRight(a.rule.prefix, "/"))),
			cmp.Compare(number(a.rule.whole), number(b.rule.whole)),
		)
	})
	for _, e := range list {
		h.add(e.of, e.rule.place, e.rule.aim, guard)
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rest adds the oldest default backend.
func (h *hosting) rest(all []*ingress, guard string) {
	if n := len(h.out.Routes); n > 0 {
		if m := h.out.Routes[n-1].Message.GetMatch(); m.GetPrefix() == "/" && len(m.GetHeaders()) == 0 {
			h.rested = true // Nothing is left.
			return
		}
	}
	for _, i := range all {
		if i.rest != nil && !h.rested {
			h.add(i, place{}, *i.rest, guard)
			h.rested = guard == ""
			return
		}
	}
}

// absent answers requests for a Service that is not there.
const absent = 503

// add adds the routes of one path.
func (h *hosting) add(i *ingress, where place, a aim, guard string) {
	key := source.Key{Kind: source.Ingress, Name: i.name}
	to := To{
		Service: a.service, Port: a.port, Listen: h.table.Socket.Port, Secure: h.table.Host != "",
		Exact: where.exact, Prefix: where.prefix, Whole: where.whole,
		From: key, Field: a.path, Name: "ingress/" + i.name.String() + "/" + strings.TrimPrefix(a.path, "spec."),
	}
	origin := source.Input(h.c).Place(key).Origin(key, a.path)
	if h.out.Origin.Object == "" {
		h.out.Origin = origin
	}
	var routes []*graph.Route
	if i.istio && a.problem == "" && a.ref == nil && h.d.istio != nil {
		routes, _ = h.d.istio(h.c, to)
	} else {
		r := &graph.Route{Name: to.Name, Message: &routev3.Route{Match: matchOf(where)}, Origin: origin}
		id, wrong := graph.ClusterID{}, (*graph.Problem)(nil)
		if a.problem == "" {
			id, wrong = h.d.resolve(h.c, i, a)
		}
		if a.problem != "" || wrong != nil {
			r.Message.Action = build.Answer(absent)
		} else {
			action := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: id.Name()}}
			build.Timeout(action, 0)
			r.Message.Action = &routev3.Route_Route{Route: action}
			r.Clusters = []graph.ClusterID{id}
		}
		routes = []*graph.Route{r}
	}
	for _, r := range routes {
		if guard != "" {
			r.Message = proto.CloneOf(r.Message)
			r.Message.Match.Headers = append(r.Message.Match.Headers, build.Header(":authority", guard, true))
		}
		h.out.Routes = append(h.out.Routes, r)
	}
}

func matchOf(p place) *routev3.RouteMatch {
	m := &routev3.RouteMatch{}
	switch {
	case p.exact != "":
		build.PathExact(m, p.exact)
	case p.whole || p.prefix == "":
		build.PathPrefix(m, p.prefix)
	default:
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: p.prefix}
	}
	return m
}
