// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	credentialinjectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// filters are the kinds that rules refer to.
type filters struct {
	of       *Policies
	compiled *memo.Func[source.Key, *compiledFilter]
}

// compiledFilter is what one does.
type compiledFilter struct {
	sheet.Sheet

	effect attach.Effect
	// idle are filters of its own, secrets those that they have.
	idle    map[string]proto.Message
	secrets []string
	limits  *limits
	tokens  *tokens
}

func newFilters(p *Policies) *filters {
	f := &filters{of: p}
	f.compiled = memo.NewFunc(f.compile, func(a, b *compiledFilter) bool { return reflect.DeepEqual(a, b) })
	return f
}

// Kinds of the filters.
func (f *filters) Kinds() []source.Kind {
	return []source.Kind{source.HTTPRouteFilter, source.RateLimitFilter, source.AuthenticationFilter}
}

// At is what one does at a place.
func (f *filters) At(c *memo.Ctx, key source.Key, at attach.Place) (*attach.Effect, []graph.Problem) {
	x := f.compiled.Get(c, key)
	if len(x.Refused) > 0 {
		return nil, x.Refused
	}
	out := x.effect
	if x.limits != nil {
		x.limits.at(&out, at)
	}
	return &out, nil
}

// Chain has the filters that routes configure.
func (f *filters) Chain(c *memo.Ctx, _ source.Name, keys []source.Key) *attach.Chain {
	out := &attach.Chain{Idle: map[string]proto.Message{}}
	jwt := build.JWT()
	for _, k := range keys {
		x := f.compiled.Get(c, k)
		if len(x.Refused) > 0 {
			continue
		}
		if x.limits != nil {
			x.limits.filters(out.Idle)
			out.Limits = append(out.Limits, x.limits.config())
		}
		maps.Copy(out.Idle, x.idle)
		out.Secrets = append(out.Secrets, x.secrets...)
		x.tokens.add(jwt, out)
	}
	if len(jwt.Providers) > 0 {
		out.Idle[build.JWTAuthn] = jwt
	}
	return out
}

func (f *filters) compile(c *memo.Ctx, key source.Key) *compiledFilter {
	x := &compiledFilter{}
	o, _ := source.Get[source.Object](c, key.Kind, key.Name)
	switch o := o.(type) {
	case *api.HTTPRouteFilter:
		x.routeFilter(c, key, &o.Spec)
	case *api.RateLimitFilter:
		x.limits = limitsOf(&x.Sheet, &o.Spec, key, f.of.opts.Limits)
	case *api.AuthenticationFilter:
		if o.Spec.Type != "JWT" {
			x.Bad("type", "is %q: there is JWT", o.Spec.Type)
		}
		x.tokens = f.of.readTokens(c, &x.Sheet, "jwtProviders", key, &api.JWT{Providers: o.Spec.JWTProviders})
		route := &routev3.Route{}
		perFilter(route, build.JWTAuthn, build.RequireJWT(x.tokens.name()))
		x.effect.Route.Message = route
	default:
		x.Refused = append(x.Refused, graph.Problem{Path: "metadata.name", Reason: string(gwapiv1.RouteReasonInvalidKind), Message: fmt.Sprintf("there is no %s", key)})
	}
	return x
}

// routeFilter reads an HTTPRouteFilter.
func (x *compiledFilter) routeFilter(c *memo.Ctx, key source.Key, spec *api.HTTPRouteFilterSpec) {
	x.matches(spec.Matches)
	if i := spec.CredentialInjection; i != nil {
		x.inject(c, key, i)
	}
	if u := spec.URLRewrite; u != nil {
		x.rewrite(u)
	}
	if d := spec.DirectResponse; d != nil {
		x.answer(c, key.Namespace, d)
	}
}

func (x *compiledFilter) rewrite(u *api.URLRewrite) {
	a := &routev3.RouteAction{AppendXForwardedHost: u.AppendXForwardedHost == nil || *u.AppendXForwardedHost}
	if h := u.Hostname; h != nil {
		switch {
		case h.Type == "Header" && h.Header != nil && !build.FieldName(*h.Header):
			x.Bad("urlRewrite.hostname.header", "%q is not the name of a header", *h.Header)
		case h.Type == "Header" && h.Header != nil:
			a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteHeader{HostRewriteHeader: *h.Header}
		case h.Type == "Backend":
			a.HostRewriteSpecifier = &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)}
		case h.Type == "PathRegex" && h.PathRegex != nil && checkPattern(&x.Sheet, "urlRewrite.hostname.pathRegex.pattern", h.PathRegex.Pattern):
			a.HostRewriteSpecifier = &routev3.RouteAction_HostRewritePathRegex{HostRewritePathRegex: build.Substitute(h.PathRegex.Pattern, h.PathRegex.Substitution)}
		case h.Type != "PathRegex" || h.PathRegex == nil:
			x.Bad("urlRewrite.hostname", "give the type Header with header, Backend, or PathRegex with pathRegex")
		}
	} else {
		a.AppendXForwardedHost = false
	}
	if p := u.Path; p != nil {
		if p.Type != "ReplaceRegexMatch" || p.ReplaceRegexMatch == nil {
			x.Bad("urlRewrite.path", "give the type ReplaceRegexMatch with replaceRegexMatch")
		} else if checkPattern(&x.Sheet, "urlRewrite.path.replaceRegexMatch.pattern", p.ReplaceRegexMatch.Pattern) {
			a.RegexRewrite = build.Substitute(p.ReplaceRegexMatch.Pattern, p.ReplaceRegexMatch.Substitution)
			x.effect.Forward.Also = []string{"prefix_rewrite"}
			if why := build.BadSubstitution(p.ReplaceRegexMatch.Pattern, p.ReplaceRegexMatch.Substitution); why != "" {
				x.Bad("urlRewrite.path.replaceRegexMatch.substitution", "%s", why)
			}
		}
	}
	x.effect.Forward.Message = a
}

// maxCookieName is how long, in bytes, the name of a cookie can be that a route matches.
const maxCookieName = 1024

// bodyKey is where a ConfigMap has a body.
const bodyKey = "response.body"

func (x *compiledFilter) answer(c *memo.Ctx, namespace string, d *api.CustomResponse) {
	status := ptr.Deref(d.StatusCode, 200)
	if status < 200 || status > 599 {
		x.Bad("directResponse.statusCode", "%d is not a status from 200 to 599", status)
		return
	}
	x.effect.Answer = build.Answer(uint32(status)).DirectResponse
	if b := d.Body; b != nil {
		text := ptr.Deref(b.Inline, "")
		if ptr.Deref(b.Type, "Inline") == "ValueRef" && b.ValueRef != nil {
			text = valueOf(c, &x.Sheet, "directResponse.body.valueRef", namespace, *b.ValueRef, bodyKey)
		}
		x.effect.Answer = build.AnswerText(uint32(status), text)
	}
	route := &routev3.Route{}
	if d.ContentType != nil {
		if why := build.BadText(*d.ContentType); why != "" {
			x.Bad("directResponse.contentType", "%s", why)
		}
		route.ResponseHeadersToAdd = build.SetHeaders(false, [2]string{"content-type", *d.ContentType})
	}
	if h := d.Header; h != nil {
		if why := build.BadHeaders(h); why != "" {
			x.Bad("directResponse.header", "%s", why)
		}
		for _, v := range h.Set {
			route.ResponseHeadersToAdd = append(route.ResponseHeadersToAdd, build.SetHeaders(false, [2]string{string(v.Name), v.Value})...)
		}
		for _, v := range h.Add {
			route.ResponseHeadersToAdd = append(route.ResponseHeadersToAdd, build.SetHeaders(true, [2]string{string(v.Name), v.Value})...)
		}
		route.ResponseHeadersToRemove = h.Remove
	}
	if proto.Size(route) > 0 {
		x.effect.Route = attach.Merge(x.effect.Route, graph.Overlay{Message: route})
	}
}

// credentialKey is where a Secret has what is injected, as it stands in the header.
const credentialKey = "credential"

// inject gives requests a credential, by a filter of its own that runs for its routes alone.
func (x *compiledFilter) inject(c *memo.Ctx, key source.Key, i *api.CredentialInjection) {
	header := ptr.Deref(i.Header, "Authorization")
	if !validHeader(header) || strings.EqualFold(header, "host") {
		x.Bad("credentialInjection.header", "%q is not the name of a header for it", header)
	}
	s := secretOf(c, &x.Sheet, "credentialInjection.credential.valueRef", key, i.Credential.ValueRef)
	switch {
	case s == nil:
		return
	case len(s.Data[credentialKey]) == 0:
		x.Bad("credentialInjection.credential.valueRef", "%s of Secret %s is not there, or empty", credentialKey, source.NameOf(s))
		return
	case !validValue(s.Data[credentialKey]):
		x.Bad("credentialInjection.credential.valueRef", "%s of Secret %s has bytes that no header has, such as a line break", credentialKey, source.NameOf(s))
		return
	}
	secret := graph.SecretValue(source.NameOf(s), credentialKey)
	name := instance(build.CredentialInjector, key.Name)
	x.idle = map[string]proto.Message{name: &credentialinjectorv3.CredentialInjector{
		Overwrite:  ptr.Deref(i.Overwrite, false),
		Credential: build.Extension("envoy.http.injected_credentials.generic", &genericv3.Generic{Credential: build.SecretConfig(secret), Header: header}),
	}}
	x.secrets = append(x.secrets, secret)
	route := &routev3.Route{}
	perFilter(route, name, build.Any(&routev3.FilterConfig{Config: &anypb.Any{}}))
	x.effect.Route = attach.Merge(x.effect.Route, graph.Overlay{Message: route})
}

// validValue reports whether a text may be the value of a header (RFC 9110 §5.5). A line
// break at its end, which files have, is not meant.
func validValue(text []byte) bool {
	return !bytes.ContainsFunc(bytes.TrimRight(text, "\r\n"), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// matches has the rule be for requests alone that have all cookies of one of the matches.
func (x *compiledFilter) matches(list []api.CookieMatches) {
	for i, m := range list {
		var all []*routev3.CookieMatcher
		for j, k := range m.Cookies {
			at := fmt.Sprintf("matches[%d].cookies[%d]", i, j)
			kind := ptr.Deref(k.Type, "Exact")
			switch {
			case !build.FieldName(k.Name) || len(k.Name) > maxCookieName:
				x.Bad(at+".name", "%.100q is not the name of a cookie", k.Name)
			case kind != "Exact" && kind != "RegularExpression":
				x.Bad(at+".type", "is %q: there are Exact and RegularExpression", kind)
			case kind == "Exact" || checkPattern(&x.Sheet, at+".value", k.Value):
				all = append(all, &routev3.CookieMatcher{Name: k.Name, StringMatch: build.Text(k.Value, kind != "Exact")})
			}
		}
		if len(m.Cookies) == 0 {
			x.Bad(fmt.Sprintf("matches[%d].cookies", i), "is empty: name the cookies, or remove the match")
		}
		x.effect.Cookies = append(x.effect.Cookies, all)
	}
}

// instance names a filter of an object's own.
func instance(filter string, owner source.Name) string {
	return build.Instance(filter, strings.ToLower(owner.String()))
}
