// SPDX-License-Identifier: Apache-2.0

package route

import "strings"

// hosts finds a virtual host by domain, as Envoy does: an exact domain first,
// then the longest suffix wildcard (*.foo.com), the longest prefix wildcard
// (foo.*), and last "*". A wildcard stands for at least one character.
// Domains are compared without case.
//
// It knows virtual hosts by their numbers, so that tables whose virtual hosts differ, but
// not their domains, have it in common.
type hosts struct {
	exact  map[string]int32
	suffix trie // of the domains read from the right, without their '*'
	prefix trie
	any    int32
	other  bool // there is a domain other than "*"
}

// noHost is the number of no virtual host.
const noHost = -1

func newHosts() *hosts { return &hosts{exact: map[string]int32{}, any: noHost} }

// add enters a domain of a virtual host, and returns which has it already, or noHost. No
// domain may be entered twice.
func (h *hosts) add(domain string, vh int32) int32 {
	d := strings.ToLower(domain)
	if d == "*" {
		if h.any != noHost {
			return h.any
		}
		h.any = vh
		return noHost
	}
	h.other = true
	switch {
	case d[0] == '*':
		return h.addWildcard(&h.suffix, reversed(d[1:]), vh)
	case d[len(d)-1] == '*':
		return h.addWildcard(&h.prefix, d[:len(d)-1], vh)
	}
	if old, ok := h.exact[d]; ok {
		return old
	}
	h.exact[d] = vh
	return noHost
}

func (h *hosts) addWildcard(t *trie, key string, vh int32) int32 {
	rest := []byte(key)
	n := &t.root
	for len(rest) > 0 {
		if n, rest = t.next(n, rest); n == nil {
			break
		}
	}
	if n != nil && len(n.ids) > 0 {
		return n.ids[0]
	}
	t.add(key, vh)
	return noHost
}

func reversed(s string) string {
	b := make([]byte, len(s))
	for i := range len(s) {
		b[len(s)-1-i] = s[i]
	}
	return string(b)
}

// find returns the virtual host of a host as it stands in the request, or noHost.
func (h *hosts) find(host []byte) int32 {
	var room, back [256]byte
	low := append(room[:0], host...)
	for i, c := range low {
		low[i] = lower(c)
	}
	if vh, ok := h.exact[string(low)]; ok {
		return vh
	}
	if len(h.suffix.root.child) > 0 {
		rev := append(back[:0], low...)
		for i, c := range low {
			rev[len(low)-1-i] = c
		}
		if vh := longest(&h.suffix, rev); vh != noHost {
			return vh
		}
	}
	if len(h.prefix.root.child) > 0 {
		if vh := longest(&h.prefix, low); vh != noHost {
			return vh
		}
	}
	return h.any
}

// longest returns the virtual host of the longest entry that in begins with
// and goes on after.
func longest(t *trie, in []byte) int32 {
	found := int32(noHost)
	for n := &t.root; n != nil && len(in) > 0; n, in = t.next(n, in) {
		if len(n.ids) > 0 {
			found = n.ids[0]
		}
	}
	return found
}
