// SPDX-License-Identifier: Apache-2.0

package match

import (
	"strings"

	"weir.dev/weir/proxy/header"
)

// Query matches the first query parameter of one name, as
// envoy.config.route.v3.QueryParameterMatcher does. Names and values are
// compared as they stand, without percent-decoding, as in Envoy.
type Query struct {
	name string
	// absent asks that the parameter be missing (present_match: false).
	absent bool
	str    *String // nil asks for presence only
}

// Match reports whether the query of a :path value matches.
func (m *Query) Match(path string) bool {
	v, ok := QueryValue(path, m.name)
	if !ok {
		return m.absent
	}
	return !m.absent && (m.str == nil || m.str.Match(v))
}

// Queries matches if all of its matchers do.
type Queries []*Query

// Match reports whether all matchers match the query of a :path value.
func (l Queries) Match(path []byte) bool {
	for _, m := range l {
		if !m.Match(view(path)) {
			return false
		}
	}
	return true
}

// QueryValue returns the first value of a query parameter in a :path value, a
// view of it. A parameter without '=' has the value "".
func QueryValue(path, name string) (string, bool) {
	i := strings.IndexByte(path, '?')
	if i < 0 {
		return "", false
	}
	q := path[i+1:]
	if i = strings.IndexByte(q, '#'); i >= 0 {
		q = q[:i]
	}
	for q != "" {
		var pair string
		pair, q, _ = strings.Cut(q, "&")
		k, v, _ := strings.Cut(pair, "=")
		if k == name && pair != "" {
			return v, true
		}
	}
	return "", false
}

// QueryWithout returns a :path value without the query parameters of a name.
func QueryWithout(path []byte, name string) []byte {
	base, query, ok := strings.Cut(string(path), "?")
	if !ok {
		return path
	}
	base += "?"
	for pair := range strings.SplitSeq(query, "&") {
		if n, _, _ := strings.Cut(pair, "="); n == name {
			continue
		}
		if !strings.HasSuffix(base, "?") {
			base += "&"
		}
		base += pair
	}
	return []byte(strings.TrimSuffix(base, "?"))
}

// Cookie matches one cookie, as envoy.config.route.v3.CookieMatcher does. A
// missing cookie does not match, so an inverted matcher takes it.
type Cookie struct {
	name   string
	str    *String
	invert bool
}

// Match reports whether the cookies of h match.
func (m *Cookie) Match(h *header.Map) bool {
	v, ok := CookieValue(h, m.name)
	return (ok && m.str.Match(v)) != m.invert
}

// Cookies matches if all of its matchers do.
type Cookies []*Cookie

// Match reports whether all matchers match the cookies of h.
func (l Cookies) Match(h *header.Map) bool {
	for _, m := range l {
		if !m.Match(h) {
			return false
		}
	}
	return true
}

// CookieValue returns the value of the first cookie of a name, a view of the
// field's value, without the double quotes around it (RFC 6265 §4.1.1).
func CookieValue(h *header.Map, name string) (string, bool) {
	if !h.Has(header.Cookie) {
		return "", false
	}
	fields := h.Fields()
	for i := range fields {
		f := &fields[i]
		if !f.Live() || f.Name().ID() != header.Cookie.ID() {
			continue
		}
		rest := view(f.Value())
		for rest != "" {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			k, v, ok := strings.Cut(trimSpace(pair), "=")
			if !ok || k != name {
				continue
			}
			if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
				v = v[1 : len(v)-1]
			}
			return v, true
		}
	}
	return "", false
}

// CookieWithout takes the cookies of a name out of h.
func CookieWithout(h *header.Map, name string) {
	if !h.Has(header.Cookie) {
		return
	}
	var keep []string
	for v := range h.Values(header.Cookie) {
		for pair := range strings.SplitSeq(string(v), ";") {
			pair = trimSpace(pair)
			if k, _, _ := strings.Cut(pair, "="); k != name && pair != "" {
				keep = append(keep, pair)
			}
		}
	}
	h.Del(header.Cookie)
	if len(keep) > 0 {
		h.Add(header.Cookie, strings.Join(keep, "; "))
	}
}

// Path matches a :path value without its query and fragment, as
// envoy.type.matcher.v3.PathMatcher does.
type Path struct{ str *String }

// Match reports whether a :path value matches.
func (m *Path) Match(path []byte) bool { return m.str.Match(view(TrimQuery(path))) }

// TrimQuery returns a :path value up to its query or fragment.
func TrimQuery(path []byte) []byte {
	for i, c := range path {
		if c == '?' || c == '#' {
			return path[:i]
		}
	}
	return path
}
