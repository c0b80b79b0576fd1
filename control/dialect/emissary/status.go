// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"fmt"
	"slices"
	"strings"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// statusOf returns what became of an object, or nil if it is for no install of ours. Of
// Emissary's kinds, Host and Mapping have a status; of others only problems are told.
func (d *Dialect) statusOf(c *memo.Ctx, key source.Key) *status.Update {
	if !ours(key.Kind) {
		return d.statusOfHolder(c, key)
	}
	served, dropped, notes, ok := d.judge(c, id{Key: key})
	if !ok {
		return nil
	}
	u := &status.Update{Key: key, Problems: slices.Concat(dropped, notes)}
	reason := status.Message(u.Problems)
	switch key.Kind {
	case source.EmissaryMapping:
		s := &emissaryv3.MappingStatus{State: "Running", Reason: reason}
		if !served {
			s.State = "Inactive"
		}
		u.Status = s
	case source.EmissaryHost:
		s := &emissaryv3.HostStatus{State: "Ready", TLSCertificateSource: d.certificateSource(c, key)}
		if !served {
			s.State, s.ErrorReason = "Error", reason
		}
		u.Status = s
	}
	return u
}

// statusOfHolder tells what is wrong with the objects in an annotation; nil if there is
// none.
func (d *Dialect) statusOfHolder(c *memo.Ctx, key source.Key) *status.Update {
	a := d.annotation.Get(c, key)
	if len(a.objects)+len(a.problems) == 0 {
		return nil
	}
	u := &status.Update{Key: key, Problems: slices.Clone(a.problems)}
	for i, o := range a.objects {
		_, dropped, notes, _ := d.judge(c, id{o.key, key, i})
		for _, p := range slices.Concat(dropped, notes) {
			p.Message = fmt.Sprintf("%s: %s: %s", o.key, p.Path, p.Message)
			p.Path = "metadata.annotations." + annotationKey
			u.Problems = append(u.Problems, p)
		}
	}
	return u
}

func (d *Dialect) certificateSource(c *memo.Ctx, key source.Key) string {
	if o, ok := source.Get[*emissaryv3.Host](c, source.EmissaryHost, key.Name); ok && o.Spec.TLSSecret != nil {
		return "Other"
	}
	return "None"
}

// judge tells whether an object is served anywhere, why not, and what of it has no
// effect. ok is false if it is for no install.
func (d *Dialect) judge(c *memo.Ctx, i id) (served bool, dropped, notes []graph.Problem, ok bool) {
	for _, name := range d.installs.Get(c, struct{}{}) {
		if !isFor(d.idsOfAny(c, i), name) {
			continue
		}
		ok = true
		bad, more := d.judgeIn(c, name, i)
		served = served || len(bad) == 0
		dropped, notes = append(dropped, bad...), append(notes, more...)
	}
	if !ok {
		return d.unbound(c, i)
	}
	return served, distinct(dropped), distinct(notes), true
}

// unbound is for objects whose install has no Listener: nothing listens.
func (d *Dialect) unbound(c *memo.Ctx, i id) (served bool, dropped, notes []graph.Problem, ok bool) {
	if len(d.ids) > 0 && !slices.ContainsFunc(d.ids, func(own string) bool { return isFor(d.idsOfAny(c, i), own) }) {
		return false, nil, nil, false // It is another's.
	}
	switch i.Kind {
	case source.EmissaryHost, source.EmissaryMapping:
		return false, []graph.Problem{graph.Problemf("spec.ambassador_id", reasonNotFound,
			"there is no Listener of install %s, so nothing listens and connections are refused: make a Listener with this ambassador_id",
			strings.Join(d.idsOfAny(c, i), ", "))}, nil, true
	}
	return false, nil, nil, false
}

func distinct(list []graph.Problem) []graph.Problem {
	var out []graph.Problem
	for _, p := range list {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// judgeIn tells of an object in one install.
func (d *Dialect) judgeIn(c *memo.Ctx, install string, i id) (bad, notes []graph.Problem) {
	switch i.Kind {
	case source.EmissaryMapping:
		return d.judgeMapping(c, install, i)
	case source.EmissaryHost:
		return d.judgeHost(c, install, i)
	case source.EmissaryListener:
		return d.judgeListener(c, install, i)
	case source.EmissaryTLSContext:
		for _, t := range d.contexts.Get(c, install) {
			if t.id == i {
				return t.problems, t.notes
			}
		}
	case source.EmissaryTCPMapping:
		for _, t := range d.tcp.Get(c, install) {
			if t.id == i {
				return t.problems, nil
			}
		}
	case source.EmissaryAuthService, source.EmissaryRateLimitService, source.EmissaryTracingService, source.EmissaryLogService:
		s := d.services.Get(c, install)
		return s.problems[i], s.notes[i]
	case source.EmissaryModule:
		in := d.install.Get(c, install)
		notes = slices.Clone(in.problems[i])
		if i.Name.Name == moduleAmbassador {
			notes = append(notes, uncounted(d.services.Get(c, install), "config.default_labels", in.defaultLabels)...)
		}
		for _, t := range d.contexts.Get(c, install) {
			if t.id == i {
				notes = slices.Concat(notes, t.problems, t.notes)
			}
		}
		return nil, notes
	case source.EmissaryServiceResolver, source.EmissaryEndpointResolver:
	default:
		return []graph.Problem{graph.Problemf("kind", reasonUnsupported, "%s", foreign()[i.Kind])}, nil
	}
	return nil, nil
}

// foreign tells what objects of kinds that are not supported come to.
func foreign() map[source.Kind]string {
	return map[source.Kind]string{
		source.EmissaryConsulResolver: "a ConsulResolver is not supported: Mappings that name it are left out; use a KubernetesEndpointResolver",
		source.EmissaryDevPortal:      "a DevPortal is a matter of Edge Stack and has no effect",
	}
}

func (d *Dialect) judgeMapping(c *memo.Ctx, install string, i id) (bad, notes []graph.Problem) {
	m := d.mapping.Get(c, i)
	if m == nil {
		return nil, nil
	}
	if len(m.problems) > 0 {
		return m.problems, m.notes
	}
	p := d.placed.Get(c, placedID{install, i})
	notes = slices.Concat(m.notes, p.notes)
	if len(p.problems) > 0 {
		return p.problems, notes
	}
	if lost := d.group.Get(c, groupID{install, d.keyOf(c, install, m)}).problems[i]; len(lost) > 0 {
		return lost, notes
	}
	s := d.services.Get(c, install)
	if in := d.install.Get(c, install); in.refuses(s, m) {
		notes = append(notes, graph.Problemf("spec", reasonUnsupported, "its requests are answered 500: the install has an AuthService or a RateLimitService that must be asked, and cannot be"))
	}
	return d.hostless(c, install, m), append(notes, uncounted(s, "labels", m.limits)...)
}

// hostless tells why a Mapping belongs to no Host that is served, if it does not.
func (d *Dialect) hostless(c *memo.Ctx, install string, m *mapping) []graph.Problem {
	var names []string
	for _, h := range d.hosts.Get(c, install) {
		switch {
		case !h.has(m.host, m.labels):
			names = append(names, h.hostname)
		case len(h.problems) == 0:
			return nil
		default:
			return []graph.Problem{graph.Problemf("spec.hostname", reasonNotFound, "its %s is not served: see the Host's own problems", h.id)}
		}
	}
	if m.host == "" {
		return []graph.Problem{graph.Problemf("spec.hostname", reasonInvalid, "is missing, and no Host selects the Mapping by labels, so it is for no host: give the host name, or \"*\" for all")}
	}
	return []graph.Problem{graph.Problemf("spec.hostname", reasonNotFound, "%s is none of the install's Hosts (%s), or their mappingSelector does not select the Mapping: make a Host for it",
		m.host, strings.Join(names, ", "))}
}

func (d *Dialect) judgeHost(c *memo.Ctx, install string, i id) (bad, notes []graph.Problem) {
	all := d.hosts.Get(c, install)
	at := slices.IndexFunc(all, func(h *host) bool { return h.id == i })
	if at < 0 {
		return nil, nil
	}
	h := all[at]
	bad, notes = h.problems, slices.Clone(h.notes)
	if len(bad) > 0 {
		return bad, notes
	}
	bound, secure := false, false
	for _, l := range d.listeners.Get(c, install) {
		if len(l.problems) == 0 && l.binds(h) {
			bound, secure = true, secure || l.tls
		}
	}
	switch {
	case !bound:
		return []graph.Problem{graph.Problemf("metadata", reasonNotFound,
			"no Listener of the install binds it: see their hostBinding, whose namespace.from is SELF unless it says ALL, and whose selector must match the Host's labels")}, notes
	case h.tls != nil && !secure:
		notes = append(notes, graph.Problemf("spec.tlsSecret", reasonInvalid, "no Listener that binds it speaks TLS: give one the protocol HTTPS"))
	case h.tls != nil && !exact(h.hostname) && h.hostname != attach.AnyHost && !strings.HasPrefix(h.hostname, "*."):
		notes = append(notes, graph.Problemf("spec.hostname", reasonInvalid, "%s cannot be told by the server names of TLS: it is served in cleartext only; write *.example.com", h.hostname))
	case h.tls == nil && h.action == actionRedirect:
		notes = append(notes, graph.Problemf("spec.requestPolicy", reasonInvalid, "requests in cleartext are redirected to https, and there is no certificate: name a tlsSecret, or set insecure.action to Route"))
	}
	return nil, notes
}

func (d *Dialect) judgeListener(c *memo.Ctx, install string, i id) (bad, notes []graph.Problem) {
	for _, l := range d.listeners.Get(c, install) {
		if l.id != i {
			continue
		}
		bad, notes = l.problems, l.notes
		if p := unguarded(d.install.Get(c, install), l); p != nil && len(bad) == 0 {
			bad = []graph.Problem{*p}
		}
		if f, ok := source.Get[*source.Fleet](c, source.Fleets, gatewayOf(install)); ok {
			if why := f.Ports[l.port]; why != "" {
				bad = append(slices.Clone(bad), graph.Problemf("spec.port", reasonConflict, "%s", why))
			}
			if why := f.Wanted[l.port]; why != "" {
				notes = append(slices.Clone(notes), graph.Problemf("spec.port", reasonConflict, "%s", why))
			}
			if f.Problem != "" {
				bad = append(slices.Clone(bad), graph.Problemf("spec", reasonInvalid, "%s", f.Problem))
			}
		}
		if len(bad) == 0 && l.http && len(d.bound(c, install, l)) == 0 {
			notes = append(slices.Clone(notes), graph.Problemf("spec.hostBinding", reasonNotFound, "no Host is bound to it: every request is answered 404"))
		}
	}
	return bad, notes
}
