// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	csrfv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/csrf/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// security is the kind SecurityPolicy.
type security struct {
	of       *Policies
	compiled *memo.Func[stack, *compiledSecurity]
}

// compiledSecurity is what a SecurityPolicy does.
type compiledSecurity struct {
	sheet.Sheet

	route   *routev3.Route
	filters map[string]proto.Message
	// clusters are those that the filters call.
	clusters []graph.ClusterID
	// secrets are those that the filters have.
	secrets []string
	tokens  *tokens
	// connections is who is let in where there are no requests; nil is all.
	connections *networkrbacv3.RBAC
	// tellRoute has routes say what they were made from.
	tellRoute bool
}

func newSecurity(p *Policies) *security {
	s := &security{of: p}
	s.compiled = memo.NewFunc(s.compile, func(a, b *compiledSecurity) bool { return reflect.DeepEqual(a, b) })
	return s
}

// Kind of the policies.
func (s *security) Kind() source.Kind { return source.SecurityPolicy }

// Targets are what they can be attached to.
func (s *security) Targets() []source.Kind {
	return []source.Kind{source.Gateway, source.ListenerSet, source.HTTPRoute, source.GRPCRoute, source.TCPRoute}
}

// Refs are what one is attached to.
func (s *security) Refs(o source.Object) attach.Refs {
	p := o.(*api.SecurityPolicy)
	return refsOf(p.Namespace, &p.Spec.Targets, p.Spec.MergeType)
}

// Judge tells what is wrong with one.
func (s *security) Judge(c *memo.Ctx, name source.Name) attach.Verdict {
	x := s.compiled.Get(c, stack{own: name})
	if x == nil {
		return attach.Verdict{}
	}
	return x.Verdict()
}

// At is what one does at a place. One that cannot be done lets nobody in.
func (s *security) At(c *memo.Ctx, own, parent source.Name, at attach.Place) *attach.Effect {
	x := s.compiled.Get(c, stack{own, parent})
	switch {
	case x == nil:
		return nil
	case carriesBytes(at):
		return x.ofConnections()
	case len(x.Refused) > 0:
		return &attach.Effect{Refuse: true}
	}
	e := &attach.Effect{Route: graph.Overlay{Message: x.route}}
	if x.tellRoute {
		e.Route = attach.Merge(e.Route, graph.Overlay{Message: routeMetadata(at)})
	}
	return e
}

// Chain has the filters that routes configure, with all tokens that they may ask for.
func (s *security) Chain(c *memo.Ctx, _ source.Name, names []source.Name) *attach.Chain {
	out := &attach.Chain{Idle: map[string]proto.Message{}}
	jwt := build.JWT()
	for _, n := range names {
		x := s.compiled.Get(c, stack{own: n})
		if x == nil || len(x.Refused) > 0 {
			continue
		}
		maps.Copy(out.Idle, x.filters)
		out.Clusters, out.Secrets = append(out.Clusters, x.clusters...), append(out.Secrets, x.secrets...)
		x.tokens.add(jwt, out)
	}
	if len(jwt.Providers) > 0 {
		out.Idle[build.JWTAuthn] = jwt
	}
	return out
}

func (s *security) compile(c *memo.Ctx, at stack) *compiledSecurity {
	o, ok := source.Get[*api.SecurityPolicy](c, source.SecurityPolicy, at.own)
	if !ok {
		return nil
	}
	// What refers to other objects is the policy's own or the parent's, never half of each.
	spec, base := &o.Spec, &api.SecurityPolicySpec{}
	if p, ok := source.Get[*api.SecurityPolicy](c, source.SecurityPolicy, at.parent); ok {
		base = &p.Spec
		spec = attach.MergeSpec(&o.Spec, base, *o.Spec.MergeType)
		spec.JWT, spec.ExtAuth = cmp.Or(o.Spec.JWT, base.JWT), cmp.Or(o.Spec.ExtAuth, base.ExtAuth)
		spec.BasicAuth, spec.APIKeyAuth, spec.OIDC = cmp.Or(o.Spec.BasicAuth, base.BasicAuth), cmp.Or(o.Spec.APIKeyAuth, base.APIKeyAuth), cmp.Or(o.Spec.OIDC, base.OIDC)
	}
	owner := func(own bool) source.Name {
		if own {
			return at.own
		}
		return at.parent
	}
	x := &compiledSecurity{route: &routev3.Route{}, filters: map[string]proto.Message{}}
	checkTargets(&x.Sheet, &spec.Targets)
	checkMergeType(&x.Sheet, spec.MergeType)
	checkConnections(&x.Sheet, spec)
	x.cors(spec.CORS)
	x.csrf(spec.CSRF)
	if spec.JWT != nil {
		x.tokens = s.of.readTokens(c, &x.Sheet, "jwt.providers", source.Key{Kind: source.SecurityPolicy, Name: owner(o.Spec.JWT != nil)}, spec.JWT)
		perFilter(x.route, build.JWTAuthn, build.RequireJWT(x.tokens.name()))
	}
	if spec.Authorization != nil {
		perFilter(x.route, build.RBAC, authorization(&x.Sheet, spec.Authorization, spec.JWT))
		x.filters[build.RBAC] = &httprbacv3.RBAC{}
		x.connections = connections(spec.Authorization)
	}
	x.extAuth(c, s.of, owner(o.Spec.ExtAuth != nil), spec.ExtAuth)
	x.basicAuth(c, owner(o.Spec.BasicAuth != nil), spec.BasicAuth)
	x.apiKeyAuth(c, owner(o.Spec.APIKeyAuth != nil), spec.APIKeyAuth)
	x.oidc(c, s.of, owner(o.Spec.OIDC != nil), spec.OIDC, spec.JWT)
	return x
}

// defaultMaxAge is how long a preflight holds, in seconds, if nobody says.
const defaultMaxAge = 5

func (x *compiledSecurity) cors(c *api.CORS) {
	if c == nil {
		return
	}
	out := &corsv3.CorsPolicy{
		AllowMethods: strings.Join(c.AllowMethods, ", "), AllowHeaders: strings.Join(c.AllowHeaders, ", "), ExposeHeaders: strings.Join(c.ExposeHeaders, ", "),
		MaxAge: strconv.Itoa(defaultMaxAge), ForwardNotMatchingPreflights: wrapperspb.Bool(false), AllowOriginStringMatch: x.origins("cors.allowOrigins", c.AllowOrigins),
	}
	if d := x.Duration("cors.maxAge", c.MaxAge); d != nil {
		out.MaxAge = strconv.FormatInt(d.GetSeconds(), 10)
	}
	if ptr.Deref(c.AllowCredentials, false) {
		out.AllowCredentials = wrapperspb.Bool(true)
	}
	perFilter(x.route, build.CORS, build.Any(out))
}

// origins match origins. A wildcard in the host stands for one label or more.
func (x *compiledSecurity) origins(at string, list []api.Origin) []*build.StringMatcher {
	var out []*build.StringMatcher
	for i, o := range list {
		path := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case o.Match != nil:
			if m := stringMatch(&x.Sheet, path, *o.Match); m != nil {
				out = append(out, m)
			}
		case strings.Contains(o.Text, "*") && o.Text != "*":
			out = append(out, build.Text(strings.ReplaceAll(regexp.QuoteMeta(o.Text), `\*`, ".+"), true))
		default:
			out = append(out, build.Text(o.Text, false))
		}
	}
	return out
}

// stringMatch reads a match of a text; nil for one that is none.
func stringMatch(s *sheet.Sheet, at string, m api.StringMatch) *build.StringMatcher {
	switch kind := ptr.Deref(m.Type, "Exact"); kind {
	case "Exact":
		return build.Text(m.Value, false)
	case "Prefix":
		return build.Prefix(m.Value)
	case "Suffix":
		return build.Suffix(m.Value)
	case "RegularExpression":
		if checkPattern(s, at+".value", m.Value) {
			return build.Text(m.Value, true)
		}
	default:
		s.Bad(at+".type", "is %q: there are Exact, Prefix, Suffix and RegularExpression", kind)
	}
	return nil
}

func (x *compiledSecurity) csrf(c *api.CSRF) {
	if c == nil {
		return
	}
	out := &csrfv3.CsrfPolicy{FilterEnabled: build.Fraction(1, 1), AdditionalOrigins: x.origins("csrf.additionalOrigins", c.AdditionalOrigins)}
	if f := c.ShadowFraction; f != nil {
		total := int32(100)
		if f.Denominator != nil {
			total = *f.Denominator
		}
		if total <= 0 || f.Numerator < 0 || f.Numerator > total {
			x.Bad("csrf.shadowFraction", "%d of %d is no part of all requests", f.Numerator, total)
			return
		}
		// What is not enforced is what the shadow is about.
		out.FilterEnabled, out.ShadowEnabled = build.Fraction(uint64(total-f.Numerator), uint64(total)), build.Fraction(1, 1)
	}
	perFilter(x.route, build.CSRF, build.Any(out))
	x.filters[build.CSRF] = &csrfv3.CsrfPolicy{FilterEnabled: build.Fraction(0, 1)}
}

// add gives a chain what routes ask for.
func (t *tokens) add(jwt *jwtauthnv3.JwtAuthentication, ch *attach.Chain) {
	if t == nil {
		return
	}
	for name, p := range t.providers {
		jwt.Providers[name] = p
	}
	jwt.RequirementMap[t.name()] = t.requirement
	ch.Clusters = append(ch.Clusters, t.clusters...)
}
