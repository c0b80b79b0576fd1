// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"cmp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
)

// Some resources are used together and not one by one: all scoped routes of a config
// source, and the virtual hosts that are delivered for one route configuration. Such a
// group is watched like a resource; its message is one that holds all of them.

// All is the name of a group that is all there is of a kind.
const All = "*"

// grouped reports whether resources of a kind are used in groups.
func grouped(kind xds.Kind) bool { return kind == xds.KindScopedRoute || kind == xds.KindVirtualHost }

// A Member is one resource of a group.
type Member struct {
	Name    string
	Message proto.Message
}

// Merge puts members into a group and takes others out. If the group cannot be used as it
// then is, it is tried with fewer of those put: what can be used is, and the others are
// returned, by name, with the reason. The members put before stay in their place.
func (d *Directory) Merge(id ID, put []Member, gone []string, version string) map[string]error {
	d.mu.Lock()
	t := d.topic(id)
	d.mu.Unlock()
	t.merging.Lock()
	defer t.merging.Unlock()
	out := map[string]bool{}
	for _, n := range gone {
		if _, is := slices.BinarySearchFunc(t.members, Member{Name: n}, byName); is {
			out[n] = true
		}
	}
	put = slices.SortedStableFunc(slices.Values(put), byName)
	var refused map[string]error
	if len(put) == 0 && len(out) == len(t.members) && (!t.begun || len(out) > 0) {
		defer t.empty()
	}
	if len(put)+len(out) == 0 && t.begun {
		return nil // A request has asked for what there is not.
	}
	t.begun = true
	if len(put) > 0 && d.merge(id, t, put, out, version, &refused) || len(put) > 0 && len(out) == 0 {
		return refused
	}
	// None was put: what is left was good before.
	next := merged(t.members, nil, out)
	if err := d.Set(id, container(id, next), version); err == nil {
		t.members = next
	}
	return refused
}

// merge reports whether any could be put, and so those that are gone taken out.
func (d *Directory) merge(id ID, t *topic, put []Member, gone map[string]bool, version string, refused *map[string]error) bool {
	next := merged(t.members, put, gone)
	err := d.Set(id, container(id, next), version)
	switch {
	case err == nil:
		t.members = next
		return true
	case len(put) > 1:
		half := len(put) / 2
		first := d.merge(id, t, put[:half], gone, version, refused)
		return d.merge(id, t, put[half:], gone, version, refused) || first
	default:
		if *refused == nil {
			*refused = map[string]error{}
		}
		(*refused)[put[0].Name] = err
	}
	return false
}

// empty tells those who watch a group that it has no members.
func (t *topic) empty() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.each(func(w *Watch) {
		if w.o.Empty != nil {
			w.o.Empty()
		}
	})
}

func byName(a, b Member) int { return strings.Compare(a.Name, b.Name) }

// merged is a list of members, in the order of their names, with others put in and gone
// taken out. Put is in order, too; of two of a name the last counts.
func merged(list, put []Member, gone map[string]bool) []Member {
	out := make([]Member, 0, len(list)+len(put))
	for len(list) > 0 || len(put) > 0 {
		order := -1
		switch {
		case len(list) == 0:
			order = 1
		case len(put) > 0:
			order = cmp.Compare(list[0].Name, put[0].Name)
		}
		if order < 0 {
			if !gone[list[0].Name] {
				out = append(out, list[0])
			}
			list = list[1:]
			continue
		}
		if order == 0 {
			list = list[1:]
		}
		if len(put) == 1 || put[0].Name != put[1].Name {
			out = append(out, put[0])
		}
		put = put[1:]
	}
	return out
}

// container is the message of a group.
func container(id ID, members []Member) proto.Message {
	if id.Kind == xds.KindScopedRoute {
		l := &hcmv3.ScopedRouteConfigurationsList{ScopedRouteConfigurations: make([]*routev3.ScopedRouteConfiguration, 0, len(members))}
		for _, m := range members {
			if s, ok := m.Message.(*routev3.ScopedRouteConfiguration); ok {
				l.ScopedRouteConfigurations = append(l.ScopedRouteConfigurations, s)
			}
		}
		return l
	}
	rc := &routev3.RouteConfiguration{Name: id.Name, VirtualHosts: make([]*routev3.VirtualHost, 0, len(members))}
	for _, m := range members {
		if v, ok := m.Message.(*routev3.VirtualHost); ok {
			rc.VirtualHosts = append(rc.VirtualHosts, v)
		}
	}
	return rc
}
