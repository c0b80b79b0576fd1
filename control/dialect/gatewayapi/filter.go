// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
)

// effects are what a list of filters does.
type effects struct {
	request, response headers
	redirect          *routev3.Route_Redirect
	host              string
	path              build.PathRewrite
	mirrors           []*routev3.RouteAction_RequestMirrorPolicy
	mirrored          []graph.ClusterID
	cors              *anypb.Any
	// auths are the services that all have to let a request pass, in this order.
	auths []*authorization
	// extensions are what objects do that filters refer to.
	extensions []*attach.Effect
	// broken filters cannot be done: nothing must be done without them.
	broken bool
}

// headers are changes to headers.
type headers struct {
	add    []*corev3.HeaderValueOption
	remove []string
}

func (h *headers) change(f *gwapiv1.HTTPHeaderFilter) {
	for _, s := range f.Set {
		h.add = append(h.add, build.SetHeaders(false, [2]string{string(s.Name), s.Value})...)
	}
	for _, a := range f.Add {
		h.add = append(h.add, build.SetHeaders(true, [2]string{string(a.Name), a.Value})...)
	}
	h.remove = append(h.remove, f.Remove...)
}

// headersOnly reports whether a weighted cluster can have the effects.
func (e *effects) headersOnly() bool {
	return e.redirect == nil && e.host == "" && e.path == (build.PathRewrite{}) && len(e.mirrors) == 0 && e.cors == nil && len(e.auths) == 0 && len(e.extensions) == 0 && !e.broken
}

func (e *effects) headers(r *routev3.Route) {
	r.RequestHeadersToAdd = append(r.RequestHeadersToAdd, e.request.add...)
	r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, e.request.remove...)
	r.ResponseHeadersToAdd = append(r.ResponseHeadersToAdd, e.response.add...)
	r.ResponseHeadersToRemove = append(r.ResponseHeadersToRemove, e.response.remove...)
}

func (e *effects) rewrite(a *routev3.RouteAction) {
	if e.host != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: e.host}
	}
	if e.path != (build.PathRewrite{}) {
		a.PrefixRewrite, a.RegexRewrite = e.path.Prefix, e.path.Regex
	}
}

// effects translates the filters at a path; prefix is what the match asks for.
func (t *ruler) effects(path string, filters []gwapiv1.HTTPRouteFilter, prefix string, at attach.Place) *effects {
	_, broken := t.d.incompatible(t.c, t.id.route, filters)
	e := &effects{broken: broken}
	for i, f := range filters {
		switch {
		case t.d.checkFilter(f) != nil:
			e.broken = true
		case f.ExtensionRef != nil:
			effect, problems := t.d.extension(t.c, t.id.route, f.ExtensionRef, at)
			e.broken = e.broken || len(problems) > 0 || effect != nil && effect.Refuse
			if effect != nil {
				e.extensions = append(e.extensions, effect)
			}
		case f.RequestHeaderModifier != nil:
			e.request.change(f.RequestHeaderModifier)
		case f.ResponseHeaderModifier != nil:
			e.response.change(f.ResponseHeaderModifier)
		case f.RequestRedirect != nil:
			e.redirect = t.redirect(f.RequestRedirect, prefix)
		case f.URLRewrite != nil:
			if f.URLRewrite.Hostname != nil {
				e.host = string(*f.URLRewrite.Hostname)
			}
			e.path = rewritten(f.URLRewrite.Path, prefix)
		case f.RequestMirror != nil:
			t.mirror(e, mirrorPath(path, i), f.RequestMirror)
		case f.CORS != nil:
			e.cors = build.Any(corsPolicy(f.CORS))
		case f.ExternalAuth != nil:
			t.authorize(e, authPath(path, i), f.ExternalAuth)
		}
	}
	return e
}

// checkFilter says why a filter cannot be done. The problem's path is within it.
func (d *Dialect) checkFilter(f gwapiv1.HTTPRouteFilter) *graph.Problem {
	bad := func(reason gwapiv1.RouteConditionReason, path, format string, args ...any) *graph.Problem {
		return &graph.Problem{Path: path, Reason: string(reason), Message: fmt.Sprintf(format, args...)}
	}
	switch f.Type {
	case gwapiv1.HTTPRouteFilterRequestHeaderModifier:
		if f.RequestHeaderModifier == nil {
			return bad(gwapiv1.RouteReasonUnsupportedValue, ".requestHeaderModifier", "is missing")
		}
		if why := build.BadHeaders(f.RequestHeaderModifier); why != "" {
			return bad(gwapiv1.RouteReasonUnsupportedValue, ".requestHeaderModifier", "%s", why)
		}
	case gwapiv1.HTTPRouteFilterResponseHeaderModifier:
		if f.ResponseHeaderModifier == nil {
			return bad(gwapiv1.RouteReasonUnsupportedValue, ".responseHeaderModifier", "is missing")
		}
		if why := build.BadHeaders(f.ResponseHeaderModifier); why != "" {
			return bad(gwapiv1.RouteReasonUnsupportedValue, ".responseHeaderModifier", "%s", why)
		}
	case gwapiv1.HTTPRouteFilterRequestRedirect:
		if f.RequestRedirect == nil {
			return bad(gwapiv1.RouteReasonUnsupportedValue, ".requestRedirect", "is missing")
		}
		if why := checkPath(f.RequestRedirect.Path); why != "" {
			return bad(gwapiv1.RouteReasonUnsupportedValue, ".requestRedirect.path", "%s", why)
		}
	case gwapiv1.HTTPRouteFilterURLRewrite:
		if f.URLRewrite == nil {
			return bad(gwapiv1.RouteReasonUnsupportedValue, ".urlRewrite", "is missing")
		}
		if why := checkPath(f.URLRewrite.Path); why != "" {
			return bad(gwapiv1.RouteReasonUnsupportedValue, ".urlRewrite.path", "%s", why)
		}
	case gwapiv1.HTTPRouteFilterRequestMirror, gwapiv1.HTTPRouteFilterCORS:
	case gwapiv1.HTTPRouteFilterExternalAuth:
		if path, message := checkAuth(f.ExternalAuth); path != "" {
			return bad(gwapiv1.RouteReasonUnsupportedValue, path, "%s", message)
		}
	case gwapiv1.HTTPRouteFilterExtensionRef:
		if f.ExtensionRef != nil && d.policies.Filter(source.Kind{Group: string(f.ExtensionRef.Group), Kind: string(f.ExtensionRef.Kind)}) != nil {
			return nil
		}
		if f.ExtensionRef != nil {
			return bad(gwapiv1.RouteReasonInvalidKind, ".extensionRef", "there is no filter of kind %s.%s; requests are answered 500", f.ExtensionRef.Kind, f.ExtensionRef.Group)
		}
		return bad(gwapiv1.RouteReasonInvalidKind, ".extensionRef", "is missing")
	default:
		return bad(gwapiv1.RouteReasonUnsupportedValue, ".type", "filters of type %s are not supported; requests are answered 500", f.Type)
	}
	return nil
}

// checkPath says why a path cannot be put in another's place, or "".
func checkPath(m *gwapiv1.HTTPPathModifier) string {
	if m == nil {
		return ""
	}
	for _, text := range []*string{m.ReplaceFullPath, m.ReplacePrefixMatch} {
		if text != nil && build.BadText(*text) != "" {
			return build.BadText(*text)
		}
	}
	return ""
}

// redirect translates a redirect. The port is the one asked for, or that of the
// scheme asked for, or the listener's; it is not told if it is the scheme's own.
func (t *ruler) redirect(f *gwapiv1.HTTPRequestRedirectFilter, prefix string) *routev3.Route_Redirect {
	out := &routev3.RedirectAction{ResponseCode: redirectCode(f.StatusCode)}
	scheme, port := "http", t.id.socket.Port
	if t.id.tls {
		scheme = "https"
	}
	if f.Scheme != nil {
		scheme = strings.ToLower(*f.Scheme)
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: scheme}
		port = map[string]int32{"http": 80, "https": 443}[scheme]
	}
	if f.Port != nil {
		port = int32(*f.Port)
	}
	if f.Hostname != nil {
		out.HostRedirect = string(*f.Hostname)
	}
	if own := map[string]int32{"http": 80, "https": 443}[scheme]; port != own {
		out.PortRedirect = uint32(port)
	}
	if p := rewritten(f.Path, prefix); p.Regex != nil {
		out.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: p.Regex}
	} else if p.Prefix != "" {
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: p.Prefix}
	}
	return &routev3.Route_Redirect{Redirect: out}
}

func redirectCode(code *int) routev3.RedirectAction_RedirectResponseCode {
	if code == nil {
		return routev3.RedirectAction_FOUND
	}
	switch *code {
	case 301:
		return routev3.RedirectAction_MOVED_PERMANENTLY
	case 303:
		return routev3.RedirectAction_SEE_OTHER
	case 307:
		return routev3.RedirectAction_TEMPORARY_REDIRECT
	case 308:
		return routev3.RedirectAction_PERMANENT_REDIRECT
	}
	return routev3.RedirectAction_FOUND
}

func rewritten(p *gwapiv1.HTTPPathModifier, prefix string) build.PathRewrite {
	switch {
	case p == nil:
		return build.PathRewrite{}
	case p.Type == gwapiv1.FullPathHTTPPathModifier && p.ReplaceFullPath != nil:
		return build.ReplacePath(*p.ReplaceFullPath)
	case p.ReplacePrefixMatch != nil:
		return build.ReplacePrefix(prefix, *p.ReplacePrefixMatch)
	}
	return build.PathRewrite{}
}

// mirror adds a mirror. One whose backend is not valid mirrors nothing.
func (t *ruler) mirror(e *effects, path string, f *gwapiv1.HTTPRequestMirrorFilter) {
	b := t.backing.at[path]
	if !b.Valid {
		return
	}
	var fraction *corev3.RuntimeFractionalPercent
	switch {
	case f.Percent != nil:
		fraction = build.Fraction(uint64(max(0, *f.Percent)), 100)
	case f.Fraction != nil:
		denominator := int32(100)
		if f.Fraction.Denominator != nil {
			denominator = max(1, *f.Fraction.Denominator)
		}
		fraction = build.Fraction(uint64(max(0, f.Fraction.Numerator)), uint64(denominator))
	}
	id := t.shown(b.Cluster)
	e.mirrors = append(e.mirrors, build.Mirror(id.Name(), fraction))
	e.mirrored = append(e.mirrored, id)
}

// defaultMaxAge is how long a preflight holds if a CORS filter does not say, in
// seconds; the API's default.
const defaultMaxAge = 5

func corsPolicy(f *gwapiv1.HTTPCORSFilter) *corsv3.CorsPolicy {
	out := &corsv3.CorsPolicy{
		AllowMethods: joined(f.AllowMethods), AllowHeaders: joined(f.AllowHeaders), ExposeHeaders: joined(f.ExposeHeaders),
		MaxAge:                       strconv.Itoa(int(cmp.Or(f.MaxAge, defaultMaxAge))),
		ForwardNotMatchingPreflights: wrapperspb.Bool(false),
	}
	if f.AllowCredentials != nil && *f.AllowCredentials {
		out.AllowCredentials = wrapperspb.Bool(true)
	}
	for _, o := range f.AllowOrigins {
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, origin(string(o)))
	}
	return out
}

// origin matches an origin. A wildcard at the start of its host stands for one label
// or more; "*" alone for every origin.
func origin(o string) *matcherv3.StringMatcher {
	scheme, rest, ok := strings.Cut(o, "://*")
	if !ok {
		return build.Text(o, false)
	}
	return build.Text(regexp.QuoteMeta(scheme)+"://.+"+regexp.QuoteMeta(rest), true)
}

func joined[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return strings.Join(out, ", ")
}

// defaultSession is the cookie or header that keeps a client at a host, if a rule
// does not name one.
const defaultSession = "weir-session"

// sessionOf translates session persistence; nil for none, and for one without a name that
// can be.
func sessionOf(s *gwapiv1.SessionPersistence) *anypb.Any {
	if s == nil || !nameable(s) {
		return nil
	}
	name := defaultSession
	if s.SessionName != nil && *s.SessionName != "" {
		name = *s.SessionName
	}
	if s.Type != nil && *s.Type == gwapiv1.HeaderBasedSessionPersistence {
		return build.HeaderSession(strings.ToLower(name))
	}
	lifetime := time.Duration(0)
	if d := interval(s.AbsoluteTimeout); d != nil && permanent(s) {
		lifetime = *d
	}
	return build.CookieSession(name, "/", lifetime)
}

func nameable(s *gwapiv1.SessionPersistence) bool {
	return s.SessionName == nil || *s.SessionName == "" || build.FieldName(*s.SessionName)
}

// permanent reports whether a session is kept in a cookie that has an end of its own.
func permanent(s *gwapiv1.SessionPersistence) bool {
	cookie := s.Type == nil || *s.Type == gwapiv1.CookieBasedSessionPersistence
	return cookie && s.CookieConfig != nil && s.CookieConfig.LifetimeType != nil && *s.CookieConfig.LifetimeType == gwapiv1.PermanentCookieLifetimeType
}

// checkSession says what of session persistence cannot be had. The problem's path is
// within it.
func checkSession(s *gwapiv1.SessionPersistence) *graph.Problem {
	if !nameable(s) {
		return &graph.Problem{Path: ".sessionName", Reason: string(gwapiv1.RouteReasonUnsupportedValue), Message: fmt.Sprintf("%.100q is not the name of a cookie or header; there is no session persistence until then", *s.SessionName)}
	}
	if s.AbsoluteTimeout != nil && !permanent(s) {
		return &graph.Problem{
			Path: ".absoluteTimeout", Reason: string(gwapiv1.RouteReasonUnsupportedValue),
			Message: "has no effect: a session ends at a fixed time only in a cookie whose cookieConfig.lifetimeType is Permanent; until that is set it lasts as long as the client keeps it",
		}
	}
	return nil
}
