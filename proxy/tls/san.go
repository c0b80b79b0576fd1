// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"

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
		for _, n := range otherNames(c) {
			if n.oid == m.OID && m.Match.Match(n.value) {
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

type other struct{ oid, value string }

// otherNames are the names of a certificate's OtherName entries (RFC 5280 §4.2.1.6)
// whose value is a string; crypto/x509 does not read them.
func otherNames(c *x509.Certificate) []other {
	var out []other
	for _, e := range c.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var names []asn1.RawValue
		if _, err := asn1.Unmarshal(e.Value, &names); err != nil {
			continue
		}
		for _, n := range names {
			if o, ok := otherName(n); ok {
				out = append(out, o)
			}
		}
	}
	return out
}

func otherName(n asn1.RawValue) (other, bool) {
	if n.Class != asn1.ClassContextSpecific || n.Tag != 0 || !n.IsCompound {
		return other{}, false
	}
	var id asn1.ObjectIdentifier
	rest, err := asn1.Unmarshal(n.Bytes, &id)
	if err != nil {
		return other{}, false
	}
	var wrapped, value asn1.RawValue
	if _, err := asn1.Unmarshal(rest, &wrapped); err != nil || wrapped.Class != asn1.ClassContextSpecific {
		return other{}, false
	}
	if _, err := asn1.Unmarshal(wrapped.Bytes, &value); err != nil || value.Class != asn1.ClassUniversal {
		return other{}, false
	}
	return other{id.String(), string(value.Bytes)}, true
}
