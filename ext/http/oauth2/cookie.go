// SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"strconv"
	"strings"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// A cookie is the name of one of the filter's cookies and how it is set.
type cookie struct {
	name, path, sameSite string
	partitioned          bool
}

// cookies are those of a configuration.
type cookies struct {
	access, mac, expires, id, refresh, nonce, verifier cookie
	domain                                             string
	// A cookie of a token that is larger than size is split into at most chunks; size 0
	// is never.
	size, chunks int
}

// maxChunks bounds how many cookies a token is read from.
const maxChunks = 16

// tail is the attributes of a cookie that lives for some seconds.
func (c *cookies) tail(k *cookie, seconds int64) string {
	var b strings.Builder
	if c.domain != "" {
		b.WriteString(";domain=" + c.domain)
	}
	b.WriteString(";path=" + k.path + ";Max-Age=" + strconv.FormatInt(seconds, 10) + ";secure;HttpOnly")
	if k.sameSite != "" {
		b.WriteString(";SameSite=" + k.sameSite)
	}
	if k.partitioned {
		b.WriteString(";Partitioned")
	}
	return b.String()
}

// removal has the browser drop a cookie like k that is called name.
func (c *cookies) removal(k *cookie, name string) string {
	v := name + "=deleted; path=" + k.path + "; expires=Thu, 01 Jan 1970 00:00:00 GMT"
	if c.domain != "" {
		v += ";domain=" + c.domain
	}
	if k.partitioned || strings.HasPrefix(name, "__Secure-") || strings.HasPrefix(name, "__Host-") {
		v += "; Secure"
	}
	if k.partitioned {
		v += "; Partitioned"
	}
	return v
}

// chunk is the name of one of the cookies that a token is split into.
func chunk(name string, i int) string { return name + "_" + strconv.Itoa(i) }

// count is the name of the cookie that tells how many there are.
func count(name string) string { return name + "_chunks" }

// isChunk reports whether name is a cookie that the token of a base is split into.
func isChunk(name, base string) bool {
	rest, ok := strings.CutPrefix(name, base)
	if !ok || !strings.HasPrefix(rest, "_") {
		return false
	}
	if rest == "_chunks" {
		return true
	}
	n, err := strconv.Atoi(rest[1:])
	return err == nil && n >= 0 && n < maxChunks && rest[1:] == strconv.Itoa(n)
}

// token reads a token, which may be split; "" is none.
func token(h *header.Map, name string) string {
	if v, ok := match.CookieValue(h, count(name)); ok {
		n, err := strconv.Atoi(v)
		if err == nil && n > 1 && n <= maxChunks {
			return joined(h, name, n)
		}
	}
	v, _ := match.CookieValue(h, name)
	return v
}

func joined(h *header.Map, name string, n int) string {
	var b strings.Builder
	for i := range n {
		v, ok := match.CookieValue(h, chunk(name, i))
		if !ok {
			return ""
		}
		b.WriteString(v)
	}
	return b.String()
}

// setToken appends the cookies that hold a token, and removes those which the client has
// from when it was split otherwise.
func (c *cookies) setToken(dst []string, h *header.Map, k *cookie, value string, seconds int64) []string {
	tail := c.tail(k, seconds)
	n := c.parts(k, value, tail)
	if n == 1 {
		dst = append(dst, k.name+"="+value+tail)
	} else {
		each := (len(value) + n - 1) / n
		for i := range n {
			part := value[i*each : min((i+1)*each, len(value))]
			dst = append(dst, chunk(k.name, i)+"="+part+tail)
		}
		dst = append(dst, count(k.name)+"="+strconv.Itoa(n)+tail)
	}
	return c.removeStale(dst, h, k, n)
}

// parts is how many cookies a token takes. One that would take too many is not split.
func (c *cookies) parts(k *cookie, value, tail string) int {
	if c.size == 0 || len(k.name)+1+len(value)+len(tail) <= c.size {
		return 1
	}
	room := c.size - len(chunk(k.name, maxChunks)) - 1 - len(tail)
	if room <= 0 {
		return 1
	}
	if n := (len(value) + room - 1) / room; n <= c.chunks {
		return n
	}
	return 1
}

// removeStale removes the cookies of a token that the client has and that are not among
// the n it is now held by; 0 is all.
func (c *cookies) removeStale(dst []string, h *header.Map, k *cookie, n int) []string {
	drop := func(name string, stays bool) {
		if _, has := match.CookieValue(h, name); has && !stays {
			dst = append(dst, c.removal(k, name))
		}
	}
	drop(k.name, n == 1)
	if _, split := match.CookieValue(h, count(k.name)); !split {
		return dst
	}
	drop(count(k.name), n > 1)
	for i := range maxChunks {
		drop(chunk(k.name, i), n > 1 && i < n)
	}
	return dst
}

// flowOf is the ID of the login that a cookie belongs to, if it is called base.ID.
func flowOf(name, base string) (string, bool) {
	rest, ok := strings.CutPrefix(name, base)
	if !ok || len(rest) < 2 || rest[0] != '.' || !isFlow(rest[1:]) {
		return "", false
	}
	return rest[1:], true
}

// isFlow reports whether an ID may be one of newFlow, or of Envoy.
func isFlow(id string) bool {
	if id == "" || len(id) > 32 {
		return false
	}
	return strings.Trim(id, "0123456789abcdef") == ""
}

// eachCookie calls f with the name of each cookie and with the whole, NAME=VALUE.
func eachCookie(h *header.Map, f func(name, pair string)) {
	for v := range h.Values(header.Cookie) {
		for pair := range strings.SplitSeq(string(v), ";") {
			pair = strings.Trim(pair, " \t")
			name, _, _ := strings.Cut(pair, "=")
			if name = strings.TrimRight(name, " \t"); name != "" { // There are hosts that read it so.
				f(name, pair)
			}
		}
	}
}

// forward leaves to the upstream those cookies that are its business: others' and, in the
// clear, the access token and the ID token; "" is none. Cookies of a login and what keeps
// a session are the filter's.
func (c *cookies) forward(h *header.Map, access, id string) {
	var keep []string
	put := func(k *cookie, v *string) {
		if *v != "" {
			keep = append(keep, k.name+"="+*v)
			*v = ""
		}
	}
	eachCookie(h, func(name, pair string) {
		switch {
		case name == c.access.name:
			put(&c.access, &access)
		case name == c.id.name:
			put(&c.id, &id)
		case c.owns(name):
		default:
			keep = append(keep, pair)
		}
	})
	put(&c.access, &access)
	put(&c.id, &id)
	h.Del(header.Cookie)
	if len(keep) > 0 {
		h.Add(header.Cookie, strings.Join(keep, "; "))
	}
}

// owns reports whether a cookie is the filter's own.
func (c *cookies) owns(name string) bool {
	switch name {
	case c.access.name, c.id.name, c.mac.name, c.expires.name, c.refresh.name, c.nonce.name, c.verifier.name:
		return true
	}
	for _, k := range []*cookie{&c.access, &c.id, &c.refresh} {
		if isChunk(name, k.name) {
			return true
		}
	}
	return strings.HasPrefix(name, c.nonce.name+".") || strings.HasPrefix(name, c.verifier.name+".")
}

// maxFlows bounds how many logins a browser keeps that have not come to an end: each has
// cookies of its own, which all requests carry. maxRemovals bounds how many cookies a
// response removes, so that many small cookies are no large response; the next removes more.
const (
	maxFlows    = 8
	maxRemovals = 64
)

// oldFlows appends the removals that leave room for one more login. Browsers send the
// oldest first (RFC 6265 §5.4).
func (c *cookies) oldFlows(dst []string, h *header.Map) []string {
	var flows []string
	eachCookie(h, func(name, _ string) {
		if id, ok := flowOf(name, c.nonce.name); ok {
			flows = append(flows, id)
		}
	})
	for len(flows) >= maxFlows && len(dst) < maxRemovals {
		dst = c.endFlow(dst, flows[0])
		flows = flows[1:]
	}
	return dst
}

// endFlow appends the removals of a login's cookies.
func (c *cookies) endFlow(dst []string, flow string) []string {
	if flow == "" {
		return dst
	}
	return append(dst, c.removal(&c.nonce, c.nonce.name+"."+flow), c.removal(&c.verifier, c.verifier.name+"."+flow))
}
