// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/xds/attribute"
)

// scopes are the claims that have scopes.
var scopes = [...]string{"scope", "scp"}

// maxRules bounds a policy's rules: a request may have to be asked about by each.
const maxRules = 256

// maxCEL bounds an expression, in bytes.
const maxCEL = 4096

// authorization returns who is let in: the first rule that is about a request decides.
func authorization(s *sheet.Sheet, a *api.Authorization, jwt *api.JWT) *anypb.Any {
	if len(a.Rules) > maxRules {
		s.Bad("authorization.rules", "are %d: there may be %d", len(a.Rules), maxRules)
		return build.Admit(nil, false)
	}
	var rules []build.AuthorizationRule
	for i, r := range a.Rules {
		at := fmt.Sprintf("authorization.rules[%d]", i)
		checkAction(s, at+".action", r.Action)
		before := len(s.Refused)
		rule := build.AuthorizationRule{Name: cmp.Or(ptr.Deref(r.Name, ""), fmt.Sprintf("rule-%d", i)), Allow: r.Action == "Allow", Of: ruleOf(s, at, r, jwt)}
		switch {
		case len(rule.Of) > 0:
			rules = append(rules, rule)
		case len(s.Refused) == before:
			s.Bad(at, "is about nobody: give principal, operation or cel")
		}
	}
	otherwise := ptr.Deref(a.DefaultAction, "Deny")
	checkAction(s, "authorization.defaultAction", otherwise)
	return build.Admit(rules, otherwise == "Allow")
}

func checkAction(s *sheet.Sheet, at, action string) {
	if action != "Allow" && action != "Deny" {
		s.Bad(at, "is %q: there are Allow and Deny", action)
	}
}

// ruleOf returns what is true of the requests that a rule is about.
func ruleOf(s *sheet.Sheet, at string, r api.AuthorizationRule, jwt *api.JWT) []*build.Predicate {
	var all []*build.Predicate
	add := func(p *build.Predicate) {
		if p != nil {
			all = append(all, p)
		}
	}
	if o := r.Operation; o != nil {
		if len(o.Methods) > 0 {
			add(build.HasOneOf(":method", o.Methods))
		}
		add(path(s, at+".operation.path", o.Path))
	}
	if p := r.Principal; p != nil {
		if ranges := clients(s, at+".principal", p); len(ranges) > 0 {
			add(build.IsFrom(ranges))
		}
		for i, h := range p.Headers {
			if len(h.Values) == 0 || !build.FieldName(h.Name) {
				s.Bad(fmt.Sprintf("%s.principal.headers[%d]", at, i), "give the name of a header, and one or more values")
				continue
			}
			add(build.HasOneOf(h.Name, h.Values))
		}
		if p.JWT != nil {
			all = append(all, claims(s, at+".principal.jwt", p.JWT, jwt)...)
		}
		if len(p.ClientIPGeoLocations) > 0 {
			s.Bad(at+".principal.clientIPGeoLocations", "is not supported: nothing tells where addresses are; give clientCIDRs")
		}
	}
	// Last, for it costs most.
	if r.CEL != nil {
		if n := len(*r.CEL); n > maxCEL {
			s.Bad(at+".cel", "is %d bytes long: there may be %d", n, maxCEL)
		} else {
			add(expression(s, at+".cel", *r.CEL))
		}
	}
	return all
}

// expression reads one of CEL; nil for what is none.
func expression(s *sheet.Sheet, at, text string) *build.Predicate {
	e, err := attribute.Parse(text)
	if err != nil {
		s.Bad(at, "is not an expression of CEL over Envoy's attributes: %v", err)
		return nil
	}
	return build.HasExpression(e)
}

func path(s *sheet.Sheet, at string, p *api.PathMatch) *build.Predicate {
	if p == nil {
		return nil
	}
	var out *build.Predicate
	switch kind := ptr.Deref(p.Type, "PathPrefix"); kind {
	case "Exact", "PathPrefix":
		out = build.HasPath(kind, p.Value)
	case "RegularExpression":
		if checkPattern(s, at+".value", p.Value) {
			out = expression(s, at+".value", "request.url_path.matches("+strconv.Quote("^(?:"+p.Value+")$")+")")
		}
	default:
		s.Bad(at+".type", "is %q: there are Exact, PathPrefix and RegularExpression", kind)
	}
	if out != nil && ptr.Deref(p.Invert, false) {
		return build.Other(out)
	}
	return out
}

func clients(s *sheet.Sheet, at string, p *api.Principal) []netip.Prefix {
	var out []netip.Prefix
	for i, text := range p.ClientCIDRs {
		in, err := netip.ParsePrefix(text)
		if err != nil {
			s.Bad(fmt.Sprintf("%s.clientCIDRs[%d]", at, i), "%q is not a range of addresses, such as 10.0.0.0/8", text)
			continue
		}
		out = append(out, in)
	}
	return out
}

// claims are those of a token: each has one of its values, and each scope is there.
func claims(s *sheet.Sheet, at string, p *api.JWTPrincipal, jwt *api.JWT) []*build.Predicate {
	if jwt == nil || !slices.ContainsFunc(jwt.Providers, func(x api.JWTProvider) bool { return x.Name == p.Provider }) {
		s.Bad(at+".provider", "there is no provider %q in spec.jwt.providers", p.Provider)
	}
	if len(p.Claims)+len(p.Scopes) == 0 {
		s.Bad(at, "gives neither claims nor scopes")
	}
	var all []*build.Predicate
	for i, c := range p.Claims {
		kind := cmp.Or(ptr.Deref(c.ValueType, ""), "String")
		if kind != "String" && kind != "StringArray" {
			s.Bad(fmt.Sprintf("%s.claims[%d].valueType", at, i), "is %q: there are String and StringArray", kind)
		}
		if len(c.Values) == 0 {
			s.Bad(fmt.Sprintf("%s.claims[%d].values", at, i), "give one or more")
			continue
		}
		all = append(all, build.HasClaim(p.Provider, strings.Split(c.Name, "."), c.Values, kind == "StringArray"))
	}
	for _, v := range p.Scopes {
		var any []*build.Predicate
		for _, name := range scopes {
			any = append(any, build.HasClaim(p.Provider, []string{name}, []string{v}, true))
		}
		all = append(all, build.Either(any...))
	}
	return all
}
