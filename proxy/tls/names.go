// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// A suite is a cipher suite of TLS 1.2 and below, as OpenSSL names it.
type suite struct {
	id   uint16
	name string
}

// suites are those that crypto/tls has, in BoringSSL's order of preference.
func suites() []suite {
	return []suite{
		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256"},
		{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305"},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256"},
		{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305"},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384"},
		{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384"},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA"},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA"},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA"},
		{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA"},
		{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256"},
		{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384"},
		{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA"},
		{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA"},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256"},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256"},
		{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256"},
		{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, "DES-CBC3-SHA"},
		{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, "ECDHE-RSA-DES-CBC3-SHA"},
	}
}

// defaultSuites are Envoy's for servers and clients.
func defaultSuites() []uint16 {
	var out []uint16
	for _, s := range suites()[:6] {
		out = append(out, s.id)
	}
	return out
}

// names are what the outcomes of handshakes are called: each with the prefix of the
// statistic that counts it, so that no text is made for one. They are few, so the
// statistics are bounded.
type names struct {
	ciphers  map[uint16]string
	versions map[uint16]string
	groups   map[tls.CurveID]string
}

const (
	cipherPrefix  = "ciphers."
	versionPrefix = "versions."
	groupPrefix   = "curves."
)

func newNames() *names {
	n := &names{
		ciphers: map[uint16]string{
			tls.TLS_AES_128_GCM_SHA256:       cipherPrefix + "TLS_AES_128_GCM_SHA256",
			tls.TLS_AES_256_GCM_SHA384:       cipherPrefix + "TLS_AES_256_GCM_SHA384",
			tls.TLS_CHACHA20_POLY1305_SHA256: cipherPrefix + "TLS_CHACHA20_POLY1305_SHA256",
		},
		versions: map[uint16]string{
			tls.VersionTLS10: versionPrefix + "TLSv1", tls.VersionTLS11: versionPrefix + "TLSv1.1",
			tls.VersionTLS12: versionPrefix + "TLSv1.2", tls.VersionTLS13: versionPrefix + "TLSv1.3",
		},
		groups: map[tls.CurveID]string{},
	}
	for _, s := range suites() {
		n.ciphers[s.id] = cipherPrefix + s.name
	}
	for _, g := range groups() {
		n.groups[g.id] = groupPrefix + g.name
	}
	return n
}

// CipherSuites are the numbers of cipher suites by their names, as [streaminfo.TLS] has them.
func CipherSuites() map[string]uint16 {
	out := map[string]uint16{}
	for id, name := range newNames().ciphers {
		out[strings.TrimPrefix(name, cipherPrefix)] = id
	}
	return out
}

// cipher is the suite as Envoy, which is to say BoringSSL, prints it.
func (n *names) cipher(id uint16) string { return strings.TrimPrefix(n.ciphers[id], cipherPrefix) }

// version is "TLSv1.3" and the like.
func (n *names) version(id uint16) string { return strings.TrimPrefix(n.versions[id], versionPrefix) }

// group is "X25519" and the like; "" if no group was needed.
func (n *names) group(id tls.CurveID) string { return strings.TrimPrefix(n.groups[id], groupPrefix) }

type group struct {
	id   tls.CurveID
	name string
}

// groups are the key agreements that crypto/tls has, by BoringSSL's names.
func groups() []group {
	return []group{
		{tls.X25519, "X25519"}, {tls.CurveP256, "P-256"}, {tls.CurveP384, "P-384"}, {tls.CurveP521, "P-521"},
		{tls.X25519MLKEM768, "X25519MLKEM768"}, {tls.SecP256r1MLKEM768, "SecP256r1MLKEM768"}, {tls.SecP384r1MLKEM1024, "SecP384r1MLKEM1024"},
	}
}

// groupID finds a group by BoringSSL's name, or one of the names OpenSSL has for it.
func groupID(name string) (tls.CurveID, error) {
	switch name {
	case "prime256v1", "secp256r1":
		return tls.CurveP256, nil
	case "secp384r1":
		return tls.CurveP384, nil
	case "secp521r1":
		return tls.CurveP521, nil
	}
	var known []string
	for _, g := range groups() {
		if g.name == name {
			return g.id, nil
		}
		known = append(known, g.name)
	}
	return 0, fmt.Errorf("%q is not a curve that is supported: use some of %s", name, strings.Join(known, ", "))
}

// cipherSuites reads Envoy's cipher_suites: OpenSSL's names, or BoringSSL's groups of
// equal preference, [A|B]. Those of TLS 1.3 cannot be chosen, neither here nor there.
func cipherSuites(list []string) ([]uint16, error) {
	var out []uint16
	// One string may hold a list with colons, as OpenSSL's do.
	for _, s := range strings.FieldsFunc(strings.Join(list, ":"), func(r rune) bool { return r == ':' }) {
		names := []string{s}
		if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			names = strings.Split(s[1:len(s)-1], "|")
		}
		for _, n := range names {
			id, err := cipherID(n)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out, nil
}

func cipherID(name string) (uint16, error) {
	var known []string
	for _, s := range suites() {
		if s.name == name || tls.CipherSuiteName(s.id) == name {
			return s.id, nil
		}
		known = append(known, s.name)
	}
	switch {
	case strings.HasPrefix(name, "TLS_AES_"), strings.HasPrefix(name, "TLS_CHACHA20_"):
		return 0, fmt.Errorf("%q is a cipher suite of TLS 1.3, of which all are always on: remove it", name)
	case strings.HasPrefix(name, "-"), strings.HasPrefix(name, "!"), strings.HasPrefix(name, "+"), strings.HasPrefix(name, "@"):
		return 0, fmt.Errorf("%q: OpenSSL's operators are not supported: list the cipher suites that are to be on", name)
	}
	return 0, fmt.Errorf("%q is not a cipher suite that is supported: use some of %s", name, strings.Join(known, ", "))
}

// signatureAlgorithms are those that crypto/tls has on, all at once.
func signatureAlgorithms() []string {
	return []string{
		"rsa_pss_rsae_sha256", "ecdsa_secp256r1_sha256", "ed25519", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512",
		"rsa_pkcs1_sha256", "rsa_pkcs1_sha384", "rsa_pkcs1_sha512", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512",
	}
}
