// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// What becomes of requests that are not secure.
const (
	actionRedirect = "Redirect"
	actionReject   = "Reject"
	actionRoute    = "Route"
)

// host is a Host of an install.
type host struct {
	// id is zero for the host that an install without Hosts has.
	id         id
	generation int64
	labels     map[string]string
	hostname   string // a glob
	selector   *metav1.LabelSelector
	tls        *graph.TLS
	// ends tells that it says itself how TLS is terminated, be it wrong.
	ends bool
	// context is the TLSContext that says how TLS is terminated, if there is one.
	context id
	action  string
	// problems leave the Host out, notes do not.
	problems, notes []graph.Problem
}

// hostID names a Host of an install.
type hostID struct {
	install string
	host    id
}

func (h *host) bad(path, reason, format string, args ...any) {
	h.problems = append(h.problems, graph.Problemf(path, reason, format, args...))
}

func (h *host) note(path, reason, format string, args ...any) {
	h.notes = append(h.notes, graph.Problemf(path, reason, format, args...))
}

// readHosts reads the Hosts of an install, the older first. Without any there is one
// for all names.
func (d *Dialect) readHosts(c *memo.Ctx, install string) []*host {
	type found struct {
		id id
		o  *emissaryv3.Host
	}
	var all []found
	for _, i := range d.list(c, source.EmissaryHost) {
		if o, ok := get[*emissaryv3.Host](d, c, i); ok && isFor(idsOf(o.Spec.AmbassadorID, o.Spec.AmbassadorIDCamel), install) {
			all = append(all, found{i, o})
		}
	}
	if len(all) == 0 {
		return []*host{d.fallback(c, install)}
	}
	slices.SortStableFunc(all, func(a, b found) int { return attach.Older(a.o, b.o) })
	first := map[string]id{}
	var out []*host
	for _, f := range all {
		h := d.readOneHost(c, install, f.id, f.o)
		if other, ok := first[h.hostname]; ok {
			h.note("spec.hostname", reasonConflict, "%s has this host name, too, and is older: where a Listener binds both, that one is served", other)
		} else if len(h.problems) == 0 {
			first[h.hostname] = f.id
		}
		out = append(out, h)
	}
	return out
}

// fallbackSecret is the certificate of an install without Hosts, if it is there.
const fallbackSecret = "fallback-self-signed-cert"

// fallback is the host of an install that has none: for all names, in cleartext or, with
// the Secret of that name where the install's first Listener is, by TLS.
func (d *Dialect) fallback(c *memo.Ctx, install string) *host {
	h := &host{hostname: attach.AnyHost, action: actionRoute}
	for _, l := range d.listeners.Get(c, install) {
		secret := source.Name{Namespace: l.id.Namespace, Name: fallbackSecret}
		if attach.Certificate(c, secret) == "" {
			h.action, h.tls = actionRedirect, terminated(c, secret, &emissaryv3.TLS{}, l.id.Namespace)
		}
		break
	}
	return h
}

func (d *Dialect) readOneHost(c *memo.Ctx, install string, i id, o *emissaryv3.Host) *host {
	s := o.Spec
	h := &host{
		id: i, generation: o.Generation, labels: o.Labels, hostname: globOf(s.Hostname), selector: s.MappingSelector, action: actionRedirect,
	}
	if h.selector == nil {
		h.selector = s.Selector
	}
	if s.Hostname == "" {
		h.hostname = attach.AnyHost
	}
	if !validGlob(h.hostname) {
		h.bad("spec.hostname", reasonInvalid, "%q is not a host name: a star may stand at its start or at its end", s.Hostname)
	}
	if p := s.RequestPolicy; p != nil && p.Insecure.Action != "" {
		if h.action = p.Insecure.Action; !slices.Contains([]string{actionRedirect, actionReject, actionRoute}, h.action) {
			h.bad("spec.requestPolicy.insecure.action", reasonInvalid, "%q is not an action: there are Redirect, Reject and Route", h.action)
		}
	}
	if p := s.RequestPolicy; p != nil && p.Insecure.AdditionalPort != nil && *p.Insecure.AdditionalPort > 0 {
		h.note("spec.requestPolicy.insecure.additionalPort", reasonUnsupported, "has no effect, as in Emissary since 2.0: make a Listener of port %d", *p.Insecure.AdditionalPort)
	}
	if a := s.AcmeProvider; a != nil && a.Authority != "" && a.Authority != "none" {
		h.note("spec.acmeProvider", reasonUnsupported, "certificates are not fetched here, as in Emissary: name a tlsSecret, which a tool such as cert-manager fills, and set authority to none")
	}
	if len(s.PreviewURL) > 0 {
		h.note("spec.previewUrl", reasonUnsupported, "preview URLs are a matter of Edge Stack and have no effect")
	}
	d.hostTLS(c, install, h, &s)
	return h
}

// hostTLS resolves how a Host terminates TLS.
func (d *Dialect) hostTLS(c *memo.Ctx, install string, h *host, s *emissaryv3.HostSpec) {
	named, without := s.TLSContext != nil && s.TLSContext.Name != "", s.TLSSecret == nil || s.TLSSecret.Name == ""
	h.ends = named || s.TLS != nil || !without
	if without {
		if named || s.TLS != nil {
			h.withoutSecret(d.contexts.Get(c, install), s, c)
		} else {
			h.fromContexts(d.contexts.Get(c, install), c)
		}
		return
	}
	secret := source.Name{Namespace: s.TLSSecret.Namespace, Name: s.TLSSecret.Name}
	if secret.Namespace == "" {
		secret.Namespace = h.id.Namespace
	}
	if wrong := attach.Certificate(c, secret); wrong != "" {
		h.bad("spec.tlsSecret", reasonNotFound, "%s; until it is there, TLS for %s is refused", wrong, h.hostname)
		return
	}
	if named && s.TLS != nil {
		h.bad("spec.tls", reasonConflict, "tlsContext is there, too: only one of them can say how TLS is terminated")
		return
	}
	if s.TLS != nil {
		bad, notes := checkTLS(c, "spec.tls", s.TLS, h.id.Namespace)
		h.problems, h.notes = append(h.problems, bad...), append(h.notes, notes...)
		h.tls = terminated(c, secret, s.TLS, h.id.Namespace)
		return
	}
	name := h.id.Name.Name + "-context" // Emissary takes one of this name unasked.
	if named {
		name = s.TLSContext.Name
	}
	all := d.contexts.Get(c, install)
	at := slices.IndexFunc(all, func(t *tlsContext) bool { return t.name == name })
	switch {
	case at >= 0:
		h.useContext(c, all[at], secret)
	case named:
		h.bad("spec.tlsContext.name", reasonNotFound, "there is no TLSContext %s of this install: make it, or leave tlsContext out", name)
	default:
		h.tls = terminated(c, secret, &emissaryv3.TLS{}, h.id.Namespace)
	}
}

// useContext has a Host terminate TLS with its own secret, as a TLSContext says.
func (h *host) useContext(c *memo.Ctx, t *tlsContext, secret source.Name) {
	h.context = t.id
	if t.secret != (source.Name{}) && t.secret != secret && !sameCertificate(c, t.secret, secret) {
		h.bad("spec.tlsSecret", reasonConflict,
			"secret info mismatch: the Host names Secret %s, and its %s names %s; leave secret out of the TLSContext, or write it as %s.%s",
			secret, t.id, t.secret, secret.Name, secret.Namespace)
		return
	}
	if len(t.problems) > 0 {
		h.bad("spec.tlsContext", reasonInvalid, "%s cannot be used: %s", t.id, t.problems[0])
		return
	}
	if len(t.hosts) > 0 && !slices.ContainsFunc(t.hosts, func(n string) bool { return strings.EqualFold(n, h.hostname) || n == h.id.Name.Name }) {
		h.note("spec.tlsContext", reasonInvalid, "hosts mismatch: %s is for %s, and not for %s; it is used nevertheless: add the name to its spec.hosts",
			t.id, strings.Join(t.hosts, ", "), h.hostname)
	}
	h.tls = terminated(c, secret, &t.spec, t.id.Namespace)
}

// withoutSecret is for Hosts that say how TLS is terminated, and not with what.
func (h *host) withoutSecret(all []*tlsContext, s *emissaryv3.HostSpec, c *memo.Ctx) {
	if s.TLSContext != nil {
		at := slices.IndexFunc(all, func(t *tlsContext) bool { return t.name == s.TLSContext.Name })
		if at >= 0 && all[at].secret != (source.Name{}) {
			h.useContext(c, all[at], all[at].secret)
			return
		}
	}
	h.bad("spec.tlsSecret", reasonInvalid, "is missing: TLS is to be terminated, and there is no certificate for it; name a Secret of type kubernetes.io/tls")
}

// fromContexts has a Host without any word of TLS terminate it if a TLSContext with a
// secret names its host.
func (h *host) fromContexts(all []*tlsContext, c *memo.Ctx) {
	for _, t := range all {
		if t.secret != (source.Name{}) && slices.ContainsFunc(t.hosts, func(n string) bool { return strings.EqualFold(n, h.hostname) }) {
			h.useContext(c, t, t.secret)
			return
		}
	}
}

// has reports whether a Mapping with a host name and labels is one of a Host's.
func (h *host) has(glob string, own map[string]string) bool {
	selected := false
	if h.selector != nil && len(h.selector.MatchLabels)+len(h.selector.MatchExpressions) > 0 {
		s, err := metav1.LabelSelectorAsSelector(h.selector)
		if err != nil || !s.Matches(labels.Set(own)) {
			return false
		}
		selected = true
	}
	if glob == "" {
		return selected
	}
	return meet(h.hostname, glob)
}
