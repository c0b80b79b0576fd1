// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
)

// scope is the claim that has scopes.
const scope = "scope"

// authorization returns who is let in. The first rule that matches a request decides:
// so each that allows is but for those before it that deny.
func authorization(s *sheet, a *api.Authorization, jwt *api.JWT) *anypb.Any {
	allowed := map[string]*build.Principal{}
	var denied []*build.Principal
	for i, r := range a.Rules {
		at := fmt.Sprintf("authorization.rules[%d]", i)
		who := ruleOf(s, at, r, jwt)
		switch r.Action {
		case "Allow":
			name := fmt.Sprintf("%d-%s", i, deref(r.Name, "rule"))
			allowed[name] = build.AllOf(append([]*build.Principal{who}, denied...)...)
		case "Deny":
			denied = append(denied, build.Not(who))
		default:
			s.bad(at+".action", "is %q: there are Allow and Deny", r.Action)
		}
	}
	switch action := deref(a.DefaultAction, "Deny"); action {
	case "Allow":
		allowed["default"] = build.AllOf(denied...)
	case "Deny":
	default:
		s.bad("authorization.defaultAction", "is %q: there are Allow and Deny", action)
	}
	return build.Allow(allowed)
}

// ruleOf returns the requests that a rule is about: those that all its parts are.
func ruleOf(s *sheet, at string, r api.AuthorizationRule, jwt *api.JWT) *build.Principal {
	var all []*build.Principal
	if o := r.Operation; o != nil {
		all = append(all, methods(o.Methods)...)
		if o.Path != nil {
			all = append(all, path(s, at+".operation.path", o.Path))
		}
	}
	if r.CEL != nil {
		s.bad(at+".cel", "is not supported: say it by principal and operation")
	}
	if p := r.Principal; p != nil {
		all = append(all, clients(s, at+".principal", p)...)
		all = append(all, headers(p.Headers)...)
		if p.JWT != nil {
			all = append(all, claims(s, at+".principal.jwt", p.JWT, jwt)...)
		}
		if len(p.ClientIPGeoLocations) > 0 {
			s.bad(at+".principal.clientIPGeoLocations", "is not supported: nothing tells where addresses are; give clientCIDRs")
		}
	}
	if r.Operation == nil && r.Principal == nil && r.CEL == nil {
		s.bad(at, "is about nobody: give principal or operation")
	}
	return build.AllOf(all...)
}

func methods(list []string) []*build.Principal {
	var any []*build.Principal
	for _, m := range list {
		any = append(any, build.HasHeader(build.Header(":method", m, false)))
	}
	return oneOf(any)
}

// oneOf returns those of a list as one, and nothing of none.
func oneOf(list []*build.Principal) []*build.Principal {
	if len(list) == 0 {
		return nil
	}
	return []*build.Principal{build.OneOf(list...)}
}

func path(s *sheet, at string, p *api.PathMatch) *build.Principal {
	var m *build.StringMatcher
	switch kind := deref(p.Type, "PathPrefix"); kind {
	case "Exact":
		m = build.Text(p.Value, false)
	case "PathPrefix":
		m = build.Prefix(p.Value)
	case "RegularExpression":
		checkPattern(s, at+".value", p.Value)
		m = build.Text(p.Value, true)
	default:
		s.bad(at+".type", "is %q: there are Exact, PathPrefix and RegularExpression", kind)
	}
	if is(p.Invert) {
		return build.Not(build.HasPath(m))
	}
	return build.HasPath(m)
}

func clients(s *sheet, at string, p *api.Principal) []*build.Principal {
	var any []*build.Principal
	for i, text := range p.ClientCIDRs {
		in, err := netip.ParsePrefix(text)
		if err != nil {
			s.bad(fmt.Sprintf("%s.clientCIDRs[%d]", at, i), "%q is not a range of addresses, such as 10.0.0.0/8", text)
			continue
		}
		any = append(any, build.ClientIn(in))
	}
	return oneOf(any)
}

func headers(list []api.AuthorizationHeaderMatch) []*build.Principal {
	var all []*build.Principal
	for _, h := range list {
		var any []*build.Principal
		for _, v := range h.Values {
			any = append(any, build.HasHeader(build.Header(h.Name, v, false)))
		}
		all = append(all, oneOf(any)...)
	}
	return all
}

// claims are those of a token: each has one of its values, and each scope is there.
func claims(s *sheet, at string, p *api.JWTPrincipal, jwt *api.JWT) []*build.Principal {
	if jwt == nil || !slices.ContainsFunc(jwt.Providers, func(x api.JWTProvider) bool { return x.Name == p.Provider }) {
		s.bad(at+".provider", "there is no provider %q in spec.jwt.providers", p.Provider)
	}
	if len(p.Claims)+len(p.Scopes) == 0 {
		s.bad(at, "gives neither claims nor scopes")
	}
	var all []*build.Principal
	for i, c := range p.Claims {
		kind := cmp.Or(deref(c.ValueType, ""), "String")
		if kind != "String" && kind != "StringArray" {
			s.bad(fmt.Sprintf("%s.claims[%d].valueType", at, i), "is %q: there are String and StringArray", kind)
		}
		var any []*build.Principal
		for _, v := range c.Values {
			any = append(any, build.HasClaim(p.Provider, strings.Split(c.Name, "."), v, kind == "StringArray"))
		}
		all = append(all, oneOf(any)...)
	}
	for _, v := range p.Scopes {
		all = append(all, build.HasClaim(p.Provider, []string{scope}, v, true))
	}
	return all
}
