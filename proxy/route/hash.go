// SPDX-License-Identifier: Apache-2.0

package route

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

// HashPolicies are RouteAction.hash_policy: what a request's hash, by which
// ring hash, Maglev and the like choose a host, is made of.
type HashPolicies []hashPolicy

type hashKind uint8

const (
	hashHeader hashKind = iota
	hashCookie
	hashSourceIP
	hashQuery
	hashFilterState
)

type hashPolicy struct {
	kind     hashKind
	terminal bool
	header   header.Name
	rewrite  *match.Rewrite
	key      string // of the query parameter or filter state
	cookie   *HashCookie
}

// HashCookie is a cookie that ties a client to a host. If the request lacks it
// and TTL is configured, one is made and sent with the response.
type HashCookie struct {
	Name string
	Path string
	// TTL is the cookie's Max-Age; 0 makes it a session cookie.
	TTL        OptDuration
	Attributes []CookieAttribute
}

// CookieAttribute is an attribute of a cookie; one without value stands by its
// name alone, such as Secure.
type CookieAttribute struct{ Name, Value string }

// AppendSetCookie appends the value of a set-cookie header.
func (c *HashCookie) AppendSetCookie(dst []byte, value string) []byte {
	dst = append(dst, c.Name...)
	dst = append(dst, `="`...)
	dst = append(dst, value...)
	dst = append(dst, '"')
	if c.TTL.Set && c.TTL.Value > 0 {
		dst = append(dst, "; Max-Age="...)
		dst = strconv.AppendInt(dst, int64(c.TTL.Value/time.Second), 10)
	}
	if c.Path != "" {
		dst = append(dst, "; Path="...)
		dst = append(dst, c.Path...)
	}
	for _, a := range c.Attributes {
		dst = append(dst, "; "...)
		dst = append(dst, a.Name...)
		if a.Value != "" {
			dst = append(dst, '=')
			dst = append(dst, a.Value...)
		}
	}
	return append(dst, "; HttpOnly"...)
}

// Hash returns the request's hash, and false if no policy applies. makeCookie
// is called for a cookie that must be made: it returns the cookie's value and
// sees to it that the response carries it. If it is nil no cookie is made.
func (l HashPolicies) Hash(h *header.Map, info *streaminfo.Stream, makeCookie func(*HashCookie) string) (uint64, bool) {
	var sum uint64
	var found bool
	for i := range l {
		p := &l[i]
		if v, ok := p.hash(h, info, makeCookie); ok {
			// The old value is rotated so that equal policies do not cancel
			// each other out.
			if found {
				sum = sum<<1 | sum>>63
			}
			sum ^= v
			found = true
		}
		if p.terminal && found {
			break
		}
	}
	return sum, found
}

func (p *hashPolicy) hash(h *header.Map, info *streaminfo.Stream, makeCookie func(*HashCookie) string) (uint64, bool) {
	switch p.kind {
	case hashHeader:
		return p.hashHeader(h)
	case hashCookie:
		v, _ := match.CookieValue(h, p.cookie.Name)
		if v == "" && p.cookie.TTL.Set && makeCookie != nil {
			v = makeCookie(p.cookie)
		}
		return match.XXH64(v, 0), v != ""
	case hashSourceIP:
		if info == nil || !info.Remote.AddrPort().IsValid() {
			return 0, false
		}
		var buf [64]byte
		return match.XXH64(view(info.Remote.AppendIP(buf[:0])), 0), true
	case hashQuery:
		v, ok := match.QueryValue(view(h.Get(header.Path)), p.key)
		return match.XXH64(v, 0), ok
	}
	if info == nil {
		return 0, false
	}
	o, ok := info.FilterState[p.key]
	return match.XXH64(o.Text, 0), ok
}

// hashHeader hashes all values in sorted order, so that their order on the
// wire does not matter.
func (p *hashPolicy) hashHeader(h *header.Map) (uint64, bool) {
	n := h.Count(p.header)
	if n == 0 {
		return 0, false
	}
	if n == 1 && p.rewrite == nil {
		return match.XXH64(view(h.Get(p.header)), 0), true
	}
	var room [8]string
	values := room[:0]
	for v := range h.Values(p.header) {
		s := view(v)
		if p.rewrite != nil {
			s = view(p.rewrite.Append(nil, s))
		}
		values = append(values, s)
	}
	slices.SortFunc(values, strings.Compare)
	var sum uint64
	for _, s := range values {
		sum = match.XXH64(s, sum)
	}
	return sum, true
}
