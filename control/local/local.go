// SPDX-License-Identifier: Apache-2.0

// Package local runs all gateways in one proxy in this process: for files, for tests,
// and for machines without a cluster.
//
// Each gateway is bound to the addresses that it asks for or, if there is a pool, to
// one of it; otherwise to all of the machine. Of two gateways that want the same port
// of the same address, the one that has precedence has it.
package local

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"weir.dev/weir/control"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/emit"
	"weir.dev/weir/control/source"
	"weir.dev/weir/xds"
)

// Options of a Runner.
type Options struct {
	// Apply gives the proxy a snapshot, and returns what it refuses.
	Apply func(*xds.Snapshot) []xds.Problem
	// Pool has the addresses that Gateways get; the zero Prefix is none.
	Pool netip.Prefix
	// Reached is where Gateways without an address of their own are reached, for their
	// status.
	Reached string
	// Place is where the proxy is.
	Place build.Place
	// Unprivileged tells that ports below 1024 cannot be bound: see graph.Gateway's Bound.
	Unprivileged bool
}

// A Runner is a control.Runner.
type Runner struct {
	opts     Options
	fleets   map[source.Name]*source.Fleet
	assigned map[source.Name][]string
	snapshot *xds.Snapshot
	placed   *xds.Snapshot // as the proxy has it
	version  int
}

// New returns a Runner.
func New(o Options) *Runner {
	return &Runner{opts: o, fleets: map[source.Name]*source.Fleet{}, assigned: map[source.Name][]string{}}
}

// Acknowledged is always true: Serve returns when the proxy has answered.
func (r *Runner) Acknowledged(source.Name) bool { return true }

// Kept is nothing: all gateways are in one proxy.
func (r *Runner) Kept() []source.Name { return nil }

// Hear has nothing to tell: Serve does.
func (r *Runner) Hear([]source.Change) []source.Change { return nil }

// Plan gives gateways their addresses.
func (r *Runner) Plan(t *control.Translator, gateways []source.Name) []source.Change {
	there := t.Gateways()
	var out []source.Change
	for _, name := range gateways {
		key := source.Key{Kind: source.Fleets, Name: name}
		old := r.fleets[name]
		if !slices.Contains(there, name) {
			delete(r.assigned, name)
			if old != nil {
				delete(r.fleets, name)
				out = append(out, source.Change{Key: key})
			}
			continue
		}
		f := source.NewFleet(name)
		if old != nil {
			f = old.DeepCopyObject().(*source.Fleet)
		}
		f.Unprivileged = r.opts.Unprivileged
		var asked []string
		if g := t.Gateway(name); g != nil {
			asked = g.Addresses
		}
		r.address(f, name, asked)
		if old == nil || !f.Equal(old) {
			r.fleets[name] = f
			out = append(out, source.Change{Key: key, Object: f})
		}
	}
	return out
}

// address gives a gateway the addresses that it asks for, or one.
func (r *Runner) address(f *source.Fleet, name source.Name, asked []string) {
	f.Addresses, f.Bind, f.Unusable = nil, nil, nil
	for _, a := range asked {
		ip, err := netip.ParseAddr(a)
		if err != nil || r.opts.Pool.IsValid() && !r.opts.Pool.Contains(ip) || r.takenByOther(name, a) {
			f.Unusable = append(f.Unusable, a)
			continue
		}
		f.Addresses, f.Bind = append(f.Addresses, ip.String()), append(f.Bind, ip.String())
	}
	if len(asked) == 0 {
		if free, ok := r.free(name); ok {
			f.Addresses, f.Bind = []string{free}, []string{free}
		} else if !r.opts.Pool.IsValid() {
			f.Addresses = []string{r.opts.Reached}
		}
	}
	r.assigned[name] = f.Bind
}

func (r *Runner) takenByOther(name source.Name, address string) bool {
	if !r.opts.Pool.IsValid() {
		return false // The machine's own addresses may be shared, port by port.
	}
	for other, list := range r.assigned {
		if other != name && slices.Contains(list, address) {
			return true
		}
	}
	return false
}

// free returns the address of the pool that a Gateway has, or one that none has.
func (r *Runner) free(name source.Name) (string, bool) {
	if !r.opts.Pool.IsValid() {
		return "", false
	}
	if old := r.assigned[name]; len(old) == 1 {
		return old[0], true
	}
	for ip := r.opts.Pool.Masked().Addr().Next(); r.opts.Pool.Contains(ip); ip = ip.Next() {
		if !r.takenByOther(name, ip.String()) {
			return ip.String(), true
		}
	}
	return "", false
}

// Serve gives the proxy all that Gateways need.
func (r *Runner) Serve(t *control.Translator, _ []source.Name) []source.Change {
	names := t.Gateways()
	problems := map[source.Name]string{}
	shared := places{taken: map[string]place{}, lost: map[source.Name]map[int32]string{}, wanted: map[source.Name]map[int32]string{}}
	var all []*emit.Resources
	for _, name := range names {
		if res := t.Resources(name); res != nil {
			all = append(all, shared.share(res, name))
		}
	}
	r.version++
	next := emit.Snapshot(r.snapshot, strconv.Itoa(r.version), all)
	if next != r.snapshot {
		r.placed = xds.Placed(next, r.snapshot, r.placed, func(m *endpointv3.ClusterLoadAssignment) *endpointv3.ClusterLoadAssignment {
			return build.Near(m, r.opts.Place)
		})
		for _, p := range r.opts.Apply(r.placed) {
			if p.Severity == xds.Error {
				blame(p, names, problems)
			}
		}
		r.snapshot = next
	} else {
		for _, f := range r.fleets {
			problems[source.NameOf(f)] = f.Problem
		}
	}
	var out []source.Change
	for _, name := range names {
		old := r.fleets[name]
		if old == nil {
			continue
		}
		f := old.DeepCopyObject().(*source.Fleet)
		f.Ready, f.Problem, f.Ports, f.Wanted = true, problems[name], shared.lost[name], shared.wanted[name]
		if f.Equal(old) {
			continue
		}
		r.fleets[name] = f
		out = append(out, source.Change{Key: source.Key{Kind: source.Fleets, Name: name}, Object: f})
	}
	return out
}

// blame says which Gateway a problem of the proxy is of: the one whose resource has
// the problem; one of a resource that several use is of all.
func blame(p xds.Problem, names []source.Name, problems map[source.Name]string) {
	for _, name := range names {
		if p.Name == name.String() || strings.HasPrefix(p.Name, name.String()+"/") {
			problems[name] = p.Error()
			return
		}
	}
	for _, name := range names {
		problems[name] = p.Error()
	}
}

// places are where gateways listen: who has each, and who wanted it in vain.
type places struct {
	taken        map[string]place
	lost, wanted map[source.Name]map[int32]string
}

type place struct {
	gateway source.Name
	port    int32 // as the gateway calls it
}

// share returns resources without the listeners whose place a gateway has that has
// precedence. Both are told.
func (s *places) share(res *emit.Resources, name source.Name) *emit.Resources {
	out := *res
	out.Listeners = nil
	for _, l := range res.Listeners {
		a := l.Message.GetAddress().GetSocketAddress()
		at := fmt.Sprintf("%s %s:%d", a.GetProtocol(), a.GetAddress(), a.GetPortValue())
		own := place{name, portOf(l.Name)}
		other, ok := s.taken[at]
		if !ok || other.gateway == name {
			s.taken[at] = own
			out.Listeners = append(out.Listeners, l)
			continue
		}
		tell(s.lost, own, fmt.Sprintf("port %d is taken by %s, which has precedence: give one of them an address of its own, or another port", a.GetPortValue(), other.gateway))
		tell(s.wanted, other, fmt.Sprintf("%s wants port %d, too, and does not get it: give one of them an address of its own, or another port", name, a.GetPortValue()))
	}
	return &out
}

func tell(of map[source.Name]map[int32]string, at place, text string) {
	if of[at.gateway] == nil {
		of[at.gateway] = map[int32]string{}
	}
	of[at.gateway][at.port] = text
}

// portOf reads the Gateway's port from a listener's name.
func portOf(name string) int32 {
	parts := strings.Split(strings.TrimSuffix(name, "/udp"), "/")
	n, err := strconv.Atoi(parts[len(parts)-1])
	if err != nil {
		return 0
	}
	return int32(n)
}

// Snapshot returns what the proxy was given last.
func (r *Runner) Snapshot() *xds.Snapshot { return r.placed }

// Fleets returns what is known of the proxies, by Gateway.
func (r *Runner) Fleets() map[source.Name]*source.Fleet { return maps.Clone(r.fleets) }
