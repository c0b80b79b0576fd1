// SPDX-License-Identifier: Apache-2.0

package build

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"weir.dev/weir/control/graph"
)

// BadCiphers tells which of the names of ciphers and curves proxies do not know. Its
// problems have the paths ciphers[0] and ecdhCurves[0].
func BadCiphers(ciphers, curves []string) []graph.Problem {
	var out []graph.Problem
	bad := func(field string, i int, name string, known []string) {
		out = append(out, graph.Problem{Path: fmt.Sprintf("%s[%d]", field, i), Message: fmt.Sprintf("%q is not one of %s", name, strings.Join(known, ", "))})
	}
	for i, list := range ciphers { // One of several: [A|B].
		for name := range strings.SplitSeq(strings.Trim(list, "[]"), "|") {
			if known := cipherNames(); !slices.Contains(known, name) && !standard(name) {
				bad("ciphers", i, name, known)
			}
		}
	}
	for i, name := range curves {
		if known := curveNames(); !slices.Contains(known, name) {
			bad("ecdhCurves", i, name, known)
		}
	}
	return out
}

// standard reports whether a name is IANA's of a cipher up to TLS 1.2 that proxies know.
func standard(name string) bool {
	return slices.ContainsFunc(slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()), func(s *tls.CipherSuite) bool {
		return s.Name == name && slices.Contains(s.SupportedVersions, tls.VersionTLS12) && !strings.Contains(name, "RC4")
	})
}

// cipherNames are those up to TLS 1.2, as BoringSSL has them.
func cipherNames() []string {
	return []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305",
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
		"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA",
	}
}

func curveNames() []string {
	return []string{"X25519", "P-256", "P-384", "P-521", "X25519MLKEM768"}
}
