// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// readHost makes a virtual host: the routes of all groups whose host names cover its
// domain, in their order.
func (d *Dialect) readHost(c *memo.Ctx, i hostOf) *graph.Host {
	out := &graph.Host{Domain: i.domain}
	l := d.listenerAt(c, i.host.install, i.table.Socket.Port)
	at := slices.IndexFunc(d.hosts.Get(c, i.host.install), func(h *host) bool { return h.id == i.host.host })
	if l == nil || at < 0 {
		return out
	}
	h := d.hosts.Get(c, i.host.install)[at]
	type part struct {
		group *group
		rules ruleID
	}
	var parts []part
	seen := map[string]bool{}
	add := func(glob, authority string) {
		for _, key := range d.members.Members(c, membersID{i.host, glob}) {
			if seen[key] {
				continue
			}
			seen[key] = true
			id := groupID{i.host.install, key}
			parts = append(parts, part{d.group.Get(c, id), ruleID{id, l.model, h.action, authority}})
		}
	}
	add(i.domain, "")
	for _, g := range d.wild.Members(c, i.host) {
		switch {
		case covers(g, i.domain):
			add(g, "")
		case meet(g, i.domain) && !covers(i.domain, g):
			add(g, patternOf(g)) // Not all of the domain's hosts are its.
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return a.group.order.compare(b.group.order) })
	for _, p := range parts {
		out.Routes = append(out.Routes, d.rules.Get(c, p.rules)...)
	}
	if h.id != (id{}) {
		key := originOf(h.id)
		out.Origin = source.Input(c).Place(key).Origin(key, "")
	}
	return out
}

// ruleID is a group as one kind of Host and Listener has it. Requests for other hosts
// than those that the regular expression authority matches pass it by, if there is one.
type ruleID struct {
	group                    groupID
	model, action, authority string
}

// readRules makes the routes of a group: those of secure requests, and those of others.
func (d *Dialect) readRules(c *memo.Ctx, i ruleID) []*graph.Route {
	g := d.group.Get(c, i.group)
	action := i.action
	if g.acme {
		action = actionRoute
	}
	var out []*graph.Route
	add := func(b *base, m *routev3.Route) {
		if i.authority != "" {
			m.Match.Headers = append(m.Match.Headers, build.Header(":authority", i.authority, true))
		}
		key := originOf(b.id)
		out = append(out, &graph.Route{
			Name: m.Name, Message: m, Clusters: b.clusters, Origin: source.Input(c).Place(key).Origin(key, ""),
		})
	}
	insecureOnly := i.model == modelInsecure
	if !insecureOnly || action == actionRoute {
		for _, b := range g.routes {
			m := proto.CloneOf(b.message)
			if i.model == modelForwarded && action != actionRoute {
				m.Match.Headers = append(m.Match.Headers, build.Header("x-forwarded-proto", "https", false))
			}
			add(b, m)
		}
	}
	if i.model == modelSecure || action != actionRedirect || len(g.routes) == 0 {
		return out
	}
	b := g.routes[len(g.routes)-1]
	m := &routev3.Route{
		Name: b.message.GetName() + "/redirect", Match: proto.CloneOf(b.message.GetMatch()),
		Action: &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{
			SchemeRewriteSpecifier: &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true},
		}},
	}
	if d.services.Get(c, i.group.install).auth != nil {
		with(m, build.ExtAuthz, unasked()) // Whoever is sent to https is asked there.
	}
	add(&base{id: b.id}, m)
	return out
}
