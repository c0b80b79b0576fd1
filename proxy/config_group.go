// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"cmp"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/fetch"
	"weir.dev/weir/xds/wire"
)

// group returns the group that a resource is used in, and whether it is used in one: all
// scoped routes of a source or, if its name says so, of a collection there; the virtual
// hosts of one route configuration.
func group(source string, kind xds.Kind, name string) (resource.ID, bool) {
	switch kind {
	case xds.KindScopedRoute:
		return resource.ID{Source: source, Kind: kind, Name: cmp.Or(wire.GlobOf(name), resource.All)}, true
	case xds.KindVirtualHost:
		// A name of no route configuration is that of one: it has no virtual hosts.
		return resource.ID{Source: source, Kind: kind, Name: cmp.Or(xds.RoutesOf(name), name)}, true
	default:
		return resource.ID{}, false
	}
}

// merge is what changes in one group.
type merge struct {
	put  []resource.Member
	gone []string
}

// mergeFetched takes members of groups, and tells who has asked for them.
func (p *Proxy) mergeFetched(u *fetch.Update) []fetch.Refusal {
	groups := map[resource.ID]*merge{}
	of := func(name string) *merge {
		id, _ := group(u.Source, u.Kind, name)
		if groups[id] == nil {
			groups[id] = &merge{}
		}
		return groups[id]
	}
	for _, r := range u.Put {
		g := of(r.Name)
		g.put = append(g.put, resource.Member{Name: r.Name, Message: r.Message})
	}
	for _, name := range u.Gone {
		g := of(name)
		g.gone = append(g.gone, name)
	}
	if u.Kind == xds.KindScopedRoute && len(groups) == 0 {
		// That there are none is an answer, too.
		for _, id := range p.resources.Watched() {
			if id.Source == u.Source && id.Kind == u.Kind {
				groups[id] = &merge{}
			}
		}
	}
	var out []fetch.Refusal
	for id, g := range groups {
		for name, err := range p.resources.Merge(id, g.put, g.gone, u.Version) {
			out = append(out, fetch.Refusal{Name: name, Err: err})
		}
	}
	p.answerFetched(u)
	return out
}

// answerFetched answers those who have asked for members of groups on demand.
func (p *Proxy) answerFetched(u *fetch.Update) {
	answer := func(name string, found bool) {
		p.resources.Answer(resource.ID{Source: u.Source, Kind: u.Kind, Name: name}, found)
	}
	for _, r := range u.Put {
		answer(r.Name, true)
		for _, alias := range r.Aliases {
			answer(alias, true)
		}
	}
	for _, name := range slices.Concat(u.Gone, u.Unknown) {
		answer(name, false)
	}
}

// changeGroups gives those who watch groups what of a snapshot's changes came and changed
// or, if gone, takes away what went.
func (p *Proxy) changeGroups(changes []*xds.Change, version string, gone bool) {
	groups := map[resource.ID]*merge{}
	by := map[string]*xds.Change{}
	for _, c := range changes {
		if gone != (c.Message == nil) {
			continue
		}
		id, _ := group(resource.Snapshot, c.Kind, c.Name)
		if groups[id] == nil {
			groups[id] = &merge{}
		}
		p.refuse(c)
		if gone {
			groups[id].gone = append(groups[id].gone, c.Name)
			continue
		}
		by[c.Name] = c
		groups[id].put = append(groups[id].put, resource.Member{Name: c.Name, Message: c.Message})
	}
	for id, g := range groups {
		for name, err := range p.resources.Merge(id, g.put, g.gone, version) {
			p.refuse(by[name], p.located(id.Kind, name, by[name].Origin.Field, err))
		}
	}
}

// answerClusters answers those who have asked for clusters on demand, when these are
// ready to be routed to.
func (p *Proxy) answerClusters(u *fetch.Update, refused []fetch.Refusal) {
	id := func(name string) resource.ID {
		return resource.ID{Source: u.Source, Kind: xds.KindCluster, Name: name}
	}
	wrong := map[string]bool{}
	for _, r := range refused {
		wrong[r.Name] = true
	}
	var asked []string
	for _, r := range u.Put {
		_, is := r.Message.(*clusterv3.Cluster)
		switch {
		case !is || !p.resources.Asked(id(r.Name)):
		case wrong[r.Name] && !p.known.has(r.Name):
			p.resources.Answer(id(r.Name), false)
		default:
			asked = append(asked, r.Name)
		}
	}
	for _, name := range u.Gone {
		p.resources.Answer(id(name), false)
	}
	if len(asked) == 0 {
		return
	}
	answer := func() {
		for _, name := range asked {
			p.resources.Answer(id(name), true)
		}
	}
	warm := fetchTarget{p}.Warm()
	if warm == nil {
		answer()
		return
	}
	p.wg.Go(func() {
		select {
		case <-warm:
			answer()
		case <-p.flushStop:
		}
	})
}
