// SPDX-License-Identifier: Apache-2.0

package route

import (
	"crypto/sha256"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A route configuration is told whole, and mostly one of its virtual hosts has changed.
// What is as it was is taken from the table before.

// origin is what a table was compiled from, and what those after it take over.
type origin struct {
	rc      *routev3.RouteConfiguration // nil unless virtual hosts are delivered for it
	base    sum                         // of all but its virtual hosts
	hosts   []*routev3.VirtualHost      // those of VirtualHosts, in that order
	sums    []sum                       // theirs
	levels  []*level                    // the table's own, if it says anything
	mirrors []Mirror
	shared  *sharing
}

// HostSource is where virtual hosts are delivered from that belong to the table
// (RouteConfiguration.vhds); nil if none are.
func (t *Table) HostSource() *corev3.ConfigSource {
	return t.from.rc.GetVhds().GetConfigSource()
}

// IgnoresPort tells that the port of a request's host does not count.
func (t *Table) IgnoresPort() bool { return t.ignorePort }

// begun returns a table with all but the virtual hosts of rc: a copy of the one before
// if that much has not changed.
func (c *compiler) begun(rc *routev3.RouteConfiguration) *Table {
	base := withoutHosts(rc)
	c.bounds(rc)
	var t *Table
	if b := c.ctx.Before; b != nil && b.from.base == c.sum(base) {
		again := *b
		t = &again
	} else {
		c.scratch = newScratch()
		t = c.base(base)
		t.from.base = c.sum(base)
	}
	c.scratch, c.shared = t.common.scratch, t.from.shared
	return t
}

// bounds reads how large a direct response may be.
func (c *compiler) bounds(rc *routev3.RouteConfiguration) {
	c.maxBody = defaultMaxBody
	if m := rc.GetMaxDirectResponseBodySizeBytes(); m != nil {
		c.maxBody = uint64(m.Value)
	}
}

// withoutHosts is a route configuration without its virtual hosts. It has the rest in
// common with rc.
func withoutHosts(rc *routev3.RouteConfiguration) *routev3.RouteConfiguration {
	out := &routev3.RouteConfiguration{}
	to := out.ProtoReflect()
	rc.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Name() != "virtual_hosts" {
			to.Set(f, v)
		}
		return true
	})
	return out
}

// sum tells messages apart: two that have the same are alike. It is cheaper than to
// compare them field by field.
type sum [sha256.Size]byte

// sum encodes a message and sums that up.
func (c *compiler) sum(m proto.Message) sum {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(c.encoded[:0], m)
	if err != nil {
		return sum{} // It was decoded; the checks of its fields tell what is wrong.
	}
	c.encoded = b
	return sha256.Sum256(b)
}

// lookup finds virtual hosts of an older table by their messages.
type lookup struct {
	hosts  []*VirtualHost
	from   []*routev3.VirtualHost
	sums   []sum
	byName map[string]int
}

func lookupOf(t *Table) *lookup {
	return &lookup{hosts: t.VirtualHosts, from: t.from.hosts, sums: t.from.sums}
}

// find returns what v was compiled to and its sum, or nil if it is new or has changed. It
// is looked for first where it stood; i is where it stands now.
func (l *lookup) find(c *compiler, i int, v *routev3.VirtualHost) (*VirtualHost, sum) {
	if i < len(l.from) && l.from[i] == v {
		return l.hosts[i], l.sums[i]
	}
	s := c.sum(v)
	if j, ok := l.place(i, v.GetName()); ok && l.sums[j] == s && s != (sum{}) {
		return l.hosts[j], s
	}
	return nil, s
}

// place is where a virtual host of a name stood.
func (l *lookup) place(i int, name string) (int, bool) {
	if i < len(l.from) && l.from[i].GetName() == name {
		return i, true
	}
	if l.byName == nil {
		l.byName = make(map[string]int, len(l.from))
		for j, h := range l.from {
			l.byName[h.GetName()] = j
		}
	}
	j, ok := l.byName[name]
	return j, ok
}
