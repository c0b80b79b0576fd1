// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"strings"
)

// hosts finds a virtual host by domain, as Envoy does: an exact domain first,
// then the longest suffix wildcard (*.foo.com), the longest prefix wildcard
// (foo.*), and last "*". A wildcard stands for at least one character.
// Domains are compared without case.
type hosts struct {
	exact  map[string]*VirtualHost
	suffix trie // of the domains read from the right, without their '*'
	prefix trie
	list   []*VirtualHost // by id in the tries
	any    *VirtualHost
	other  bool // there is a domain other than "*"
}

// add enters a domain. No domain may be entered twice.
func (h *hosts) add(domain string, vh *VirtualHost) error {
	d := strings.ToLower(domain)
	switch {
	case d == "":
		return fmt.Errorf("is empty: name a host, a wildcard or \"*\"")
	case d == "*":
		if h.any != nil {
			return fmt.Errorf("domain \"*\" is in virtual host %q already: only one may have it", h.any.Name)
		}
		h.any = vh
		return nil
	}
	h.other = true
	switch {
	case d[0] == '*':
		return h.addWildcard(&h.suffix, reversed(d[1:]), domain, vh)
	case d[len(d)-1] == '*':
		return h.addWildcard(&h.prefix, d[:len(d)-1], domain, vh)
	}
	if old := h.exact[d]; old != nil {
		return duplicate(domain, old)
	}
	if h.exact == nil {
		h.exact = map[string]*VirtualHost{}
	}
	h.exact[d] = vh
	return nil
}

func (h *hosts) addWildcard(t *trie, key, domain string, vh *VirtualHost) error {
	rest := []byte(key)
	n := &t.root
	for len(rest) > 0 {
		if n, rest = t.next(n, rest); n == nil {
			break
		}
	}
	if n != nil && len(n.ids) > 0 {
		return duplicate(domain, h.list[n.ids[0]])
	}
	t.add(key, int32(len(h.list)))
	h.list = append(h.list, vh)
	return nil
}

func duplicate(domain string, vh *VirtualHost) error {
	return fmt.Errorf("domain %q is in virtual host %q already: a domain may stand once in a route configuration", domain, vh.Name)
}

func reversed(s string) string {
	b := make([]byte, len(s))
	for i := range len(s) {
		b[len(s)-1-i] = s[i]
	}
	return string(b)
}

// find returns the virtual host of a host as it stands in the request.
func (h *hosts) find(host []byte) *VirtualHost {
	var room, back [256]byte
	low := append(room[:0], host...)
	for i, c := range low {
		low[i] = lower(c)
	}
	if vh := h.exact[string(low)]; vh != nil {
		return vh
	}
	if len(h.suffix.root.child) > 0 {
		rev := append(back[:0], low...)
		for i, c := range low {
			rev[len(low)-1-i] = c
		}
		if vh := h.longest(&h.suffix, rev); vh != nil {
			return vh
		}
	}
	if len(h.prefix.root.child) > 0 {
		if vh := h.longest(&h.prefix, low); vh != nil {
			return vh
		}
	}
	return h.any
}

// longest returns the virtual host of the longest entry that in begins with
// and goes on after.
func (h *hosts) longest(t *trie, in []byte) (found *VirtualHost) {
	for n := &t.root; n != nil && len(in) > 0; n, in = t.next(n, in) {
		if len(n.ids) > 0 {
			found = h.list[n.ids[0]]
		}
	}
	return found
}
