// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/build"
)

// anyValue is a regular expression that Istio takes for "is there".
const anyValue = "*"

// present reports whether a match asks for no value: all begin with nothing.
func present(s istiov1.StringMatch) bool {
	return s.Exact == nil && s.Regex == nil && (s.Prefix == nil || *s.Prefix == "") || s.Regex != nil && *s.Regex == anyValue
}

// text matches a text.
func text(s istiov1.StringMatch) *matcherv3.StringMatcher {
	switch {
	case s.Prefix != nil && present(s):
		return build.Text(".*", true)
	case s.Exact != nil:
		return build.Text(*s.Exact, false)
	case s.Prefix != nil:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: *s.Prefix}}
	case s.Regex != nil:
		return build.Text(*s.Regex, true)
	}
	return build.Text("", false)
}

// matchOf is what a match of HTTP asks for; nil matches all.
func matchOf(m *istiov1.HTTPMatchRequest) *routev3.RouteMatch {
	out := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	if m == nil {
		return out
	}
	if u := m.URI; u != nil {
		switch {
		case u.Exact != nil:
			build.PathExact(out, *u.Exact)
		case u.Prefix != nil:
			// A prefix is one of letters: /a is /ab, too.
			out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: *u.Prefix}
		case u.Regex != nil && *u.Regex != anyValue:
			build.PathRegex(out, *u.Regex)
		}
	}
	if m.IgnoreURICase {
		out.CaseSensitive = wrapperspb.Bool(false)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		out.Headers = append(out.Headers, header(name, m.Headers[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(m.WithoutHeaders)) {
		h := header(name, m.WithoutHeaders[name])
		h.InvertMatch = true
		h.TreatMissingHeaderAsEmpty = !present(m.WithoutHeaders[name])
		out.Headers = append(out.Headers, h)
	}
	for _, p := range []struct {
		name  string
		match *istiov1.StringMatch
	}{{":method", m.Method}, {":authority", m.Authority}, {":scheme", m.Scheme}} {
		if p.match != nil {
			out.Headers = append(out.Headers, header(p.name, *p.match))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.QueryParams)) {
		q := &routev3.QueryParameterMatcher{Name: name}
		if s := m.QueryParams[name]; present(s) {
			q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
		} else {
			q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: text(s)}
		}
		out.QueryParameters = append(out.QueryParameters, q)
	}
	return out
}

func header(name string, s istiov1.StringMatch) *routev3.HeaderMatcher {
	h := &routev3.HeaderMatcher{Name: strings.ToLower(name)}
	if present(s) {
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
	} else {
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: text(s)}
	}
	return h
}

// catchAll reports whether a match is one of all requests.
func catchAll(m *routev3.RouteMatch) bool {
	return m.GetPrefix() == "/" && len(m.GetHeaders())+len(m.GetQueryParameters()) == 0 && m.GetRuntimeFraction() == nil
}

// both joins the matches of a rule that delegates and of one that it delegates to. It
// reports false if no request is matched by both.
func both(root, own *istiov1.HTTPMatchRequest) (*istiov1.HTTPMatchRequest, bool) {
	if root == nil || own == nil {
		if root == nil {
			return own, true
		}
		return root, true
	}
	out := *own
	ok := root.URI == nil || own.URI == nil || root.IgnoreURICase == own.IgnoreURICase
	join := func(a, b *istiov1.StringMatch) *istiov1.StringMatch {
		m, meet := narrower(a, b)
		ok = ok && meet
		return m
	}
	out.URI, out.Scheme = join(root.URI, own.URI), join(root.Scheme, own.Scheme)
	out.Method, out.Authority = join(root.Method, own.Method), join(root.Authority, own.Authority)
	out.IgnoreURICase = root.IgnoreURICase || own.IgnoreURICase
	union := func(a, b map[string]istiov1.StringMatch) map[string]istiov1.StringMatch {
		all := maps.Clone(a)
		for k, v := range b {
			if all == nil {
				all = map[string]istiov1.StringMatch{}
			}
			if was, has := all[k]; has {
				m, meet := narrower(&was, &v)
				ok = ok && meet
				v = *m
			}
			all[k] = v
		}
		return all
	}
	out.Headers, out.QueryParams = union(root.Headers, own.Headers), union(root.QueryParams, own.QueryParams)
	out.WithoutHeaders = union(root.WithoutHeaders, own.WithoutHeaders)
	ok = ok && (root.Port == 0 || own.Port == 0 || root.Port == own.Port)
	if out.Port == 0 {
		out.Port = root.Port
	}
	out.Gateways, out.SourceNamespace = root.Gateways, first(own.SourceNamespace, root.SourceNamespace)
	if len(root.SourceLabels) > 0 {
		out.SourceLabels = maps.Clone(root.SourceLabels)
		maps.Copy(out.SourceLabels, own.SourceLabels)
	}
	out.StatPrefix = first(own.StatPrefix, root.StatPrefix)
	return &out, ok
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// narrower returns of two matches what both ask for. Where that is no single match, or
// none at all, it reports false.
func narrower(wide, own *istiov1.StringMatch) (*istiov1.StringMatch, bool) {
	switch {
	case own == nil:
		return wide, true
	case wide == nil || present(*wide):
		return own, true
	case present(*own):
		return wide, true
	case wide.Exact != nil && own.Exact != nil:
		return own, *wide.Exact == *own.Exact
	case wide.Prefix != nil && own.Exact != nil:
		return own, strings.HasPrefix(*own.Exact, *wide.Prefix)
	case wide.Prefix != nil && own.Prefix != nil:
		return own, strings.HasPrefix(*own.Prefix, *wide.Prefix)
	case wide.Regex != nil && own.Regex != nil:
		return own, *wide.Regex == *own.Regex
	}
	return own, false
}

// A Path is which paths of an Ingress lead to a Service.
type Path struct {
	// Exact is one path, Prefix all that begin so: with Whole, whole steps of it only.
	// Without either it is all paths.
	Exact, Prefix string
	Whole         bool
}

// within narrows a match to the paths of an Ingress. It reports false if none is left.
func (p Path) within(m *routev3.RouteMatch) bool {
	begins := func(path string) bool {
		rest, ok := strings.CutPrefix(path, strings.TrimSuffix(p.Prefix, "/"))
		if !p.Whole {
			return strings.HasPrefix(path, p.Prefix)
		}
		return ok && (rest == "" || rest[0] == '/')
	}
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Path:
		return p.Exact == s.Path || p.Exact == "" && begins(s.Path)
	case *routev3.RouteMatch_Prefix:
		switch {
		case p.Exact != "":
			build.PathExact(m, p.Exact)
			return strings.HasPrefix(p.Exact, s.Prefix)
		case strings.HasPrefix(s.Prefix, p.Prefix) && begins(s.Prefix):
			return true
		case p.Whole:
			build.PathPrefix(m, p.Prefix)
		default:
			m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: first(p.Prefix, "/")}
		}
		return strings.HasPrefix(p.Prefix, s.Prefix)
	case *routev3.RouteMatch_SafeRegex:
		return p.regex(m, s.SafeRegex.GetRegex())
	}
	return true
}

// regex narrows a match by a regular expression, which was checked.
func (p Path) regex(m *routev3.RouteMatch, pattern string) bool {
	switch {
	case p.Exact != "":
		build.PathExact(m, p.Exact)
		return regexp.MustCompile("^(?:" + pattern + ")$").MatchString(p.Exact)
	case p.Prefix == "" || p.Prefix == "/":
		return true
	case p.Whole:
		build.PathPrefix(m, p.Prefix)
	default:
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: p.Prefix}
	}
	m.Headers = append(m.Headers, build.Header(":path", "(?:"+pattern+`)(?:\?.*)?`, true))
	return true
}
