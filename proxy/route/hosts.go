// SPDX-License-Identifier: Apache-2.0

package route

import "strings"

// hosts finds a virtual host by domain, as Envoy does: an exact domain first,
// then the longest suffix wildcard (*.foo.com), the longest prefix wildcard
// (foo.*), and last "*". A wildcard stands for at least one character.
// Domains are compared without case.
//
// A copy can be edited: it shares with the one before what has not changed.
type hosts struct {
	exact  names[*VirtualHost]
	suffix trie[*VirtualHost] // of the domains read from the right, without their '*'
	prefix trie[*VirtualHost]
	any    *VirtualHost
	others int // how many domains there are besides "*"
}

func newHosts() *hosts { return &hosts{exact: newNames[*VirtualHost]()} }

// get returns the virtual host of a domain, or nil.
func (h *hosts) get(domain string) *VirtualHost {
	d := strings.ToLower(domain)
	var vh *VirtualHost
	switch {
	case d == "*":
		vh = h.any
	case d[0] == '*':
		vh, _ = h.suffix.find(reversed(d[1:]))
	case d[len(d)-1] == '*':
		vh, _ = h.prefix.find(d[:len(d)-1])
	default:
		vh, _ = h.exact.get(d)
	}
	return vh
}

// set makes vh the virtual host of a domain that has none.
func (h *hosts) set(by *edit, domain string, vh *VirtualHost) {
	d := strings.ToLower(domain)
	if d == "*" {
		h.any = vh
		return
	}
	h.others++
	switch {
	case d[0] == '*':
		*h.suffix.slot(by, reversed(d[1:])) = vh
	case d[len(d)-1] == '*':
		*h.prefix.slot(by, d[:len(d)-1]) = vh
	default:
		h.exact.put(by, d, vh)
	}
}

// drop takes away a domain that has a virtual host.
func (h *hosts) drop(by *edit, domain string) {
	d := strings.ToLower(domain)
	if d == "*" {
		h.any = nil
		return
	}
	h.others--
	switch {
	case d[0] == '*':
		h.suffix.drop(by, reversed(d[1:]))
	case d[len(d)-1] == '*':
		h.prefix.drop(by, d[:len(d)-1])
	default:
		h.exact.drop(by, d)
	}
}

func reversed(s string) string {
	b := make([]byte, len(s))
	for i := range len(s) {
		b[len(s)-1-i] = s[i]
	}
	return string(b)
}

// find returns the virtual host of a host as it stands in the request, or nil.
func (h *hosts) find(host []byte) *VirtualHost {
	var room, back [256]byte
	low := append(room[:0], host...)
	for i, c := range low {
		low[i] = lower(c)
	}
	if vh, ok := h.exact.bytes(low); ok {
		return vh
	}
	if len(h.suffix.root.child) > 0 {
		rev := append(back[:0], low...)
		for i, c := range low {
			rev[len(low)-1-i] = c
		}
		if vh := longest(&h.suffix, rev); vh != nil {
			return vh
		}
	}
	if len(h.prefix.root.child) > 0 {
		if vh := longest(&h.prefix, low); vh != nil {
			return vh
		}
	}
	return h.any
}

// longest returns the virtual host of the longest entry that in begins with
// and goes on after.
func longest(t *trie[*VirtualHost], in []byte) *VirtualHost {
	var found *VirtualHost
	for n := &t.root; n != nil && len(in) > 0; n, in = t.next(n, in) {
		if n.has {
			found = n.v
		}
	}
	return found
}
