// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"maps"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
)

// Some resources are used together and not one by one: all scoped routes of a config
// source, or of a collection there, and the virtual hosts that are delivered for one route configuration. Such a
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
// returned, by name, with the reason.
func (d *Directory) Merge(id ID, put []Member, gone []string, version string) map[string]error {
	d.mu.Lock()
	t := d.topic(id)
	d.mu.Unlock()
	t.merging.Lock()
	defer t.merging.Unlock()
	gone = t.there(slices.Compact(slices.Sorted(slices.Values(gone))))
	put = lastOfEach(put)
	if len(put) == 0 && len(gone) == len(t.members) && (!t.begun || len(gone) > 0) {
		defer t.empty()
	}
	if len(put)+len(gone) == 0 && t.begun {
		return nil // A request has asked for what there is not.
	}
	d.mu.Lock()
	t.held = true
	d.mu.Unlock()
	t.begun = true
	var refused map[string]error
	t.mergeSome(put, gone, version, &refused)
	if gone = t.there(gone); len(gone) > 0 && len(put) > 0 {
		t.mergeSome(nil, gone, version, &refused) // Nothing that was put can be used.
	}
	return refused
}

// there are those of some names that are members. It is called with merging.
func (t *topic) there(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return t.members[n].IsZero() })
}

func (t *topic) mergeSome(put []Member, gone []string, version string, refused *map[string]error) {
	err := t.merge(put, gone, version)
	switch {
	case err == nil, len(put) == 0: // What is left was good before.
	case len(put) > 1:
		half := len(put) / 2
		t.mergeSome(put[:half], gone, version, refused)
		t.mergeSome(put[half:], t.there(gone), version, refused)
	default:
		if *refused == nil {
			*refused = map[string]error{}
		}
		(*refused)[put[0].Name] = err
	}
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

// lastOfEach is members in the order of their names; of several of a name the last counts.
func lastOfEach(put []Member) []Member {
	put = slices.SortedStableFunc(slices.Values(put), byName)
	out := put[:0]
	for i, m := range put {
		if i+1 == len(put) || put[i+1].Name != m.Name {
			out = append(out, m)
		}
	}
	return out
}

// merge tells all who watch a group what changes in it. An error tells why one of them
// cannot use that: then none has it.
func (t *topic) merge(put []Member, gone []string, version string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	began := time.Now()
	next := merge{put: put, gone: gone, members: t.members}
	err := t.replace(began, version, func(w *Watch, before map[any]any) (any, error) {
		return t.value(w, func() (any, error) { return next.decode(w, t.id, before) })
	})
	if err != nil {
		t.refused = &Refused{container(t.id, put), version, began, err}
		return err
	}
	if t.members == nil {
		t.members = map[string]xds.Packed{}
	}
	for _, n := range gone {
		delete(t.members, n)
	}
	for _, m := range put {
		t.members[m.Name] = t.keep(m.Message)
	}
	t.version, t.updated, t.refused = version, began, nil
	return nil
}

// merge is a change of a group.
type merge struct {
	put     []Member
	gone    []string
	members map[string]xds.Packed // before
	whole   []Member              // after, in the order of their names; nil if nobody needs it
}

// decode makes the value of the group as it then is for a watch.
func (m *merge) decode(w *Watch, id ID, before map[any]any) (any, error) {
	old := before[w.o.Share]
	if w.o.Members != nil && old != nil {
		return w.o.Members(m.put, m.gone, old)
	}
	if m.whole == nil {
		m.whole = m.all()
	}
	return w.decodeGroup(id, m.whole, old)
}

func (m *merge) all() []Member {
	all := make(map[string]xds.Packed, len(m.members)+len(m.put))
	maps.Copy(all, m.members)
	for _, n := range m.gone {
		delete(all, n)
	}
	for _, p := range m.put {
		all[p.Name] = xds.Keep(p.Message)
	}
	return inOrder(all)
}

// decodeGroup makes of all members of a group what Changed is given.
func (w *Watch) decodeGroup(id ID, all []Member, before any) (any, error) {
	switch {
	case w.o.Members != nil:
		return w.o.Members(all, nil, nil)
	case w.o.Next != nil:
		return w.o.Next(container(id, all), before)
	}
	return w.o.Decode(container(id, all))
}

// inOrder is the members of a group in the order of their names.
func inOrder(members map[string]xds.Packed) []Member {
	out := make([]Member, 0, len(members))
	for n, m := range members {
		out = append(out, Member{n, m.Message()})
	}
	slices.SortFunc(out, byName)
	return out
}

func byName(a, b Member) int { return strings.Compare(a.Name, b.Name) }

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
