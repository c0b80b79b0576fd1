// SPDX-License-Identifier: Apache-2.0

// Package rbac decides whether a connection or a request is allowed, by Envoy's
// role based access control (envoy.config.rbac.v3): policies of permissions (what
// is asked for) and principals (who asks), or a matcher tree whose actions allow
// and deny.
//
// An Engine is immutable, may be used by any number of goroutines, and allocates
// only for conditions in CEL. It neither counts nor logs: the filters that use it
// do, the one for connections and the one for requests alike. What has no
// meaning for a connection, such as a header, does not match one.
package rbac

import (
	"net/netip"
	"strings"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/match/cel"
	"weir.dev/weir/proxy/streaminfo"
)

// Action is what is done with what a policy matches.
type Action uint8

// Actions, with the numbers of Envoy's RBAC.Action.
const (
	// Allow lets through what a policy matches and nothing else.
	Allow Action = iota
	// Deny lets through what no policy matches.
	Deny
	// Log lets everything through and tells which of it a policy matches.
	Log
)

// An Engine decides.
type Engine struct {
	action   Action
	policies []policy // by name
	tree     *match.Tree[verdict]
}

// policy is one policy: any of its permissions, any of its principals, and the
// condition if there is one.
type policy struct {
	name        string
	permissions []rule
	principals  []rule
	condition   *cel.Program
}

// verdict is an action of a matcher tree.
type verdict struct {
	name   string
	action Action
}

// A Decision is what an Engine says of one connection or request.
type Decision struct {
	Allowed bool
	// Policy is the name of the policy, or of the action, that matched; "" if none
	// did.
	Policy string
	// Log tells that an engine that logs asks for a record.
	Log bool
}

// Details is what access logs say of what is denied (%RESPONSE_CODE_DETAILS%,
// %CONNECTION_TERMINATION_DETAILS%).
func (d Decision) Details() string {
	policy := d.Policy
	if policy == "" {
		policy = "none"
	}
	return "rbac_access_denied_matched_policy[" + strings.ReplaceAll(policy, " ", "_") + "]"
}

// Decide judges a connection, or a request if d has one.
func (e *Engine) Decide(d match.Data) Decision {
	if e.tree != nil {
		v, result := e.tree.Match(d)
		if result != match.Matched {
			return Decision{}
		}
		return Decision{Allowed: v.action != Deny, Policy: v.name, Log: v.action == Log}
	}
	for i := range e.policies {
		if p := &e.policies[i]; p.match(d) {
			return Decision{Allowed: e.action != Deny, Policy: p.name, Log: e.action == Log}
		}
	}
	return Decision{Allowed: e.action != Allow}
}

// Logs reports whether the engine says what is to be logged.
func (e *Engine) Logs() bool { return e.action == Log }

func (p *policy) match(d match.Data) bool {
	return some(p.permissions, d) && some(p.principals, d) && (p.condition == nil || p.condition.Match(d))
}

// rule is a permission or a principal.
type rule interface{ match(d match.Data) bool }

func some(rules []rule, d match.Data) bool {
	for _, r := range rules {
		if r.match(d) {
			return true
		}
	}
	return false
}

type (
	anything struct{}
	and      []rule
	or       []rule
	not      struct{ rule }
	headerIs struct{ m *match.Header }
	pathIs   struct{ m *match.Path }
	nameIs   struct{ m *match.String }
	portIs   struct{ from, to int64 } // without to
	stateIs  struct{ m *match.FilterState }
	peerIs   struct{ m *match.String } // nil: any
)

func (anything) match(match.Data) bool { return true }

func (r and) match(d match.Data) bool {
	for _, x := range r {
		if !x.match(d) {
			return false
		}
	}
	return true
}

func (r or) match(d match.Data) bool { return some(r, d) }

func (r not) match(d match.Data) bool { return !r.rule.match(d) }

// match sees a connection as a request without headers, as Envoy does.
func (r headerIs) match(d match.Data) bool {
	if d.Request != nil {
		return r.m.Match(d.Request)
	}
	var none header.Map
	return r.m.Match(&none)
}

func (r pathIs) match(d match.Data) bool {
	if d.Request == nil {
		return false
	}
	return r.m.Match(d.Request.Get(header.Path))
}

func (r nameIs) match(d match.Data) bool { c := connOf(d); return c != nil && r.m.Match(c.ServerName) }

func (r portIs) match(d match.Data) bool {
	c := connOf(d)
	if c == nil || !c.Local.AddrPort().IsValid() {
		return false
	}
	p := int64(c.Local.Port())
	return r.from <= p && p < r.to
}

func (r stateIs) match(d match.Data) bool {
	if d.Stream != nil {
		return r.m.Match(d.Stream.FilterState) || d.Stream.Conn != nil && r.m.Match(d.Stream.Conn.FilterState)
	}
	c := connOf(d)
	return c != nil && r.m.Match(c.FilterState)
}

// match looks at the peer's certificate: its URI names, its DNS names, its
// subject.
func (r peerIs) match(d match.Data) bool {
	c := connOf(d)
	if c == nil || c.TLS == nil || len(c.TLS.PeerCerts) == 0 {
		return false
	}
	if r.m == nil {
		return true
	}
	leaf := c.TLS.PeerCerts[0]
	for _, u := range leaf.URIs {
		if r.m.Match(u.String()) {
			return true
		}
	}
	for _, n := range leaf.DNSNames {
		if r.m.Match(n) {
			return true
		}
	}
	return r.m.Match(leaf.Subject.String())
}

// end is which address of a connection a rule looks at.
type end uint8

const (
	localEnd end = iota
	sourceEnd
	directEnd
	remoteEnd
)

// addressIs matches one end of the connection.
type addressIs struct {
	end    end
	prefix netip.Prefix
}

func (r addressIs) match(d match.Data) bool {
	c := connOf(d)
	if c == nil {
		return false
	}
	a := c.Remote
	switch {
	case r.end == localEnd:
		a = c.Local
	case r.end == directEnd:
		a = c.DirectRemote
	case r.end == remoteEnd && d.Stream != nil && d.Stream.Remote.IsValid():
		a = d.Stream.Remote
	}
	return a.Addr().IsValid() && r.prefix.Contains(a.Addr())
}

// metadataIs matches what filters noted, or the route's own metadata.
type metadataIs struct {
	m     *match.Metadata
	route bool
}

func (r metadataIs) match(d match.Data) bool {
	var md streaminfo.Metadata
	switch {
	case r.route && d.Stream != nil:
		md = d.Stream.RouteMetadata
	case r.route:
	case d.Stream != nil:
		md = d.Stream.Metadata
	case d.Conn != nil:
		md = d.Conn.Metadata
	}
	return r.m.Match(md)
}

func connOf(d match.Data) *streaminfo.Connection {
	if d.Conn == nil && d.Stream != nil {
		return d.Stream.Conn
	}
	return d.Conn
}
