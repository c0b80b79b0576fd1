// SPDX-License-Identifier: Apache-2.0

package route

import (
	"slices"
	"weak"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Virtual hosts that are delivered for a table (RouteConfiguration.vhds) come one by one
// and not all at once, and there may be any number of them: one that changes costs what it
// is.

// A Delivery is a virtual host that was delivered for a table, and the name of it as a
// resource.
type Delivery struct {
	Name string
	Host *routev3.VirtualHost
}

// delivered is what became of one.
type delivered struct {
	message weak.Pointer[routev3.VirtualHost] // to know it again; who delivers it keeps it, or does not
	domains []string
	sum     sum
	host    *VirtualHost
}

// With returns the table with further virtual hosts that were delivered for it, and
// without those of the names gone. One whose name is there already takes its place. What
// ctx.Before made of the same is taken from there. The table itself stays as it is; if
// anything is wrong there is no new one.
func (t *Table) With(put []Delivery, gone []string, ctx Context) (*Table, []Problem) {
	c := newCompiler(ctx)
	c.scratch, c.shared = t.common.scratch, t.from.shared
	c.bounds(t.from.rc)
	next, index, by := *t, *t.hosts, new(edit)
	next.hosts = &index
	if next.delivered.at == nil {
		next.delivered = newNames[*delivered]()
	}
	for _, name := range gone {
		next.takeOut(by, name)
	}
	// What is replaced goes first: a domain may pass from one to another.
	fresh := make([]*delivered, len(put))
	for i, p := range put {
		fresh[i] = c.deliver(&next, p)
		if old, ok := next.delivered.get(p.Name); !ok || old.host != fresh[i].host {
			next.takeOut(by, p.Name)
		}
	}
	validate := t.from.rc.GetValidateClusters().GetValue() && c.ctx.HasCluster != nil
	for i, p := range put {
		d := fresh[i]
		if _, ok := next.delivered.get(p.Name); !ok {
			at := c.at("virtual_hosts[%s]", p.Host.GetName())
			at.domains(next.hosts, by, p.Host, d.host)
			if validate {
				at.checkClusters(d.host)
			}
		}
		next.delivered.put(by, p.Name, d)
	}
	t.from.shared.compiled()
	if slices.ContainsFunc(*c.problems, func(p Problem) bool { return !p.Warning }) {
		return nil, *c.problems
	}
	return &next, *c.problems
}

// takeOut takes a virtual host out that was delivered, if there is one.
func (t *Table) takeOut(by *edit, name string) {
	d, ok := t.delivered.get(name)
	if !ok {
		return
	}
	t.delivered.drop(by, name)
	for _, domain := range d.domains {
		t.hosts.drop(by, domain)
	}
}

// deliver returns what a virtual host is compiled to: what it was, if it has not changed.
func (c *compiler) deliver(t *Table, p Delivery) *delivered {
	before := []*Table{t}
	if b := c.ctx.Before; b != nil && b.common == t.common {
		before = append(before, b)
	}
	d := &delivered{message: weak.Make(p.Host), domains: p.Host.GetDomains()}
	for _, t := range before {
		old, ok := t.delivered.get(p.Name)
		if ok && old.message == d.message {
			return old
		}
		if d.sum == (sum{}) {
			d.sum = c.sum(p.Host)
		}
		if ok && old.sum == d.sum && d.sum != (sum{}) {
			d.host = old.host
			return d
		}
	}
	at := c.at("virtual_hosts[%s]", p.Host.GetName())
	at.constraints(p.Host.ValidateAll())
	d.host = at.virtualHost(p.Host, t)
	return d
}
