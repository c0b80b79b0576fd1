// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto/x509"
	"slices"
	"strings"

	"weir.dev/weir/proxy/othername"
	"weir.dev/weir/proxy/secret"
)

// matchSAN tells whether any matcher matches any of a certificate's alternative names
// of the matcher's type. Types never stand for one another: an address in a DNS name
// is a DNS name.
func matchSAN(c *x509.Certificate, matchers []secret.SANMatcher) bool {
	return slices.ContainsFunc(matchers, func(m secret.SANMatcher) bool { return matchOne(c, &m) })
}

func matchOne(c *x509.Certificate, m *secret.SANMatcher) bool {
	is := func(t secret.SANType) bool { return m.Type == t || m.Type == secret.AnySAN }
	if is(secret.DNSSAN) && slices.ContainsFunc(c.DNSNames, func(n string) bool { return matchDNS(n, m) }) {
		return true
	}
	if is(secret.EmailSAN) && slices.ContainsFunc(c.EmailAddresses, m.Match.Match) {
		return true
	}
	if is(secret.URISAN) {
		for _, u := range c.URIs {
			if m.Match.Match(u.String()) {
				return true
			}
		}
	}
	if is(secret.IPSAN) {
		for _, ip := range c.IPAddresses {
			if m.Match.Match(ip.String()) {
				return true
			}
		}
	}
	if m.Type == secret.OtherSAN {
		for _, n := range othername.Of(c) {
			if n.OID == m.OID && m.Match.Match(n.Value) {
				return true
			}
		}
	}
	return false
}

// matchDNS matches a DNS name: one with a wildcard stands for the name that is wanted
// exactly, if it covers it (RFC 6125 §6.4.3).
func matchDNS(name string, m *secret.SANMatcher) bool {
	if m.Match.Match(name) {
		return true
	}
	if m.Exact == "" {
		return false
	}
	want, name := strings.ToLower(m.Exact), strings.ToLower(name)
	if want == name {
		return true
	}
	rest, ok := strings.CutPrefix(name, "*.")
	if !ok {
		return false
	}
	_, parent, ok := strings.Cut(want, ".")
	return ok && parent == rest && !strings.HasPrefix(want, ".")
}
