// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"time"

	"weir.dev/weir/control"
	"weir.dev/weir/control/source"
)

// What a handover takes: settle is how long load balancers have to find that proxies are ready, and linger how long
// clients have to find another address. Statuses wait for proxies that take over for overdue, and their
// predecessors for abandoned.
const (
	settle    = 10 * time.Second
	linger    = 30 * time.Second
	overdue   = time.Minute
	abandoned = 10 * time.Minute
)

// leaving is what is known of proxies whose Gateways others are to serve, or do since not long: a class has
// begun to have its Gateways share proxies, or ended. They serve what they did last.
type leaving struct {
	members []source.Name // the Gateways
	since   time.Time
	ready   time.Time // since when those that take over are; zero if they are not
	timer   *time.Timer
}

// serves notes which Gateways are served by which proxies, and whose proxies are back. It is called with mu.
func (r *Runner) serves(t *control.Translator, gateways, there []source.Name) {
	for _, name := range gateways {
		if !slices.Contains(there, name) {
			continue
		}
		g := r.gateway(name)
		r.stay(name, g)
		if served := t.Gateway(name); served != nil {
			r.setMembers(g, served.Members)
		}
	}
}

// setMembers notes which Gateways proxies serve. It is called with mu.
func (r *Runner) setMembers(g *gateway, members []source.Name) {
	for _, m := range g.members {
		if r.serving[m] == g {
			delete(r.serving, m)
		}
	}
	g.members = members
	for _, m := range members {
		r.serving[m] = g
	}
}

// leave has the proxies of a gateway that is gone serve on, if others take over. It is called with mu.
func (r *Runner) leave(name source.Name, g *gateway) bool {
	members := g.members
	r.setMembers(g, nil)
	if g.leaving == nil && len(g.clients)+len(g.reached) > 0 && len(r.heirs(members)) > 0 {
		g.leaving = &leaving{members: members, since: time.Now(), timer: time.AfterFunc(overdue, r.late)}
		r.leavers[name] = g
	}
	return g.leaving != nil
}

// stay is the end of leaving. It is called with mu.
func (r *Runner) stay(name source.Name, g *gateway) {
	if g.leaving != nil {
		g.leaving.timer.Stop()
		g.leaving = nil
		delete(r.leavers, name)
	}
}

// heirs are those that serve some of the Gateways. It is called with mu.
func (r *Runner) heirs(members []source.Name) []*gateway {
	var out []*gateway
	for _, m := range members {
		if g := r.serving[m]; g != nil {
			out = append(out, g)
		}
	}
	return out
}

// takesOver tells that proxies are to serve what others do still, and may become ready to. It is called with mu.
func (r *Runner) takesOver(g *gateway) bool {
	for _, o := range r.leavers {
		l := o.leaving
		over := time.Since(l.since) >= overdue
		if !l.ready.IsZero() {
			over = time.Since(l.ready) >= r.o.Settle
		}
		if !over && slices.Contains(r.heirs(l.members), g) {
			return true
		}
	}
	return false
}

// Kept returns the gateways that are gone and whose proxies are to serve on, as those that take over are not ready,
// or not for long.
func (r *Runner) Kept() []source.Name {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []source.Name
	for name, g := range r.leavers {
		if !r.handed(g.leaving) {
			out = append(out, name)
			continue
		}
		r.stay(name, g)
		if !r.o.Provisioned { // The others go with what they have.
			r.publish(name, nil)
		}
		r.forget(name, g)
	}
	slices.SortFunc(out, source.Compare)
	return out
}

// handed tells that a handover is over. It is called with mu.
func (r *Runner) handed(l *leaving) bool {
	heirs := r.heirs(l.members)
	for _, g := range heirs {
		if g.fleet == nil || !g.fleet.Ready || r.o.Provisioned && len(g.reached) == 0 {
			l.ready = time.Time{}
			return time.Since(l.since) > abandoned
		}
	}
	if len(heirs) == 0 {
		return true
	}
	if l.ready.IsZero() {
		l.ready = time.Now()
	}
	since := time.Since(l.ready)
	if since >= r.o.Settle+r.o.Linger {
		return true
	}
	next := r.o.Settle
	if since >= next {
		next += r.o.Linger
	}
	l.timer.Reset(next - since)
	return false
}
