// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"iter"
	"time"

	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// HasCertificate reports whether a text in PEM has a certificate that can be read.
func HasCertificate(text string) bool { return x509.NewCertPool().AppendCertsFromPEM([]byte(text)) }

// BadAuthorities returns what is wrong with a text as certificates of authorities, or "". One
// that has not expired is enough.
func BadAuthorities(c *memo.Ctx, text string) string {
	why := ""
	for block := range blocks(text, "CERTIFICATE") {
		if len(block.Headers) > 0 { // As x509.CertPool has it.
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		late := expired(c, cert.NotAfter)
		if late == "" {
			return ""
		}
		why = fmt.Sprintf("holds no certificate that is valid now: that of %q %s", cert.Subject.CommonName, late)
	}
	if why == "" {
		return "holds no certificate in PEM"
	}
	return why
}

// BadRevocations returns what is wrong with a text as lists of revoked certificates, or "".
// While one of them is out of date, no certificate of its authority is taken.
func BadRevocations(c *memo.Ctx, text string) string {
	found := false
	for block := range blocks(text, "X509 CRL") {
		found = true
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return fmt.Sprintf("holds a list of revoked certificates that cannot be read: %v", err)
		}
		if late := expired(c, list.NextUpdate); late != "" {
			return fmt.Sprintf("holds a list of revoked certificates, of %q, that %s: renew it", list.Issuer.CommonName, late)
		}
	}
	if !found {
		return "holds no list of revoked certificates in PEM"
	}
	return ""
}

// blocks are those of a kind in a text in PEM.
func blocks(text, kind string) iter.Seq[*pem.Block] {
	return func(yield func(*pem.Block) bool) {
		for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == kind && !yield(block) {
				return
			}
		}
	}
}

// expired tells that a time is over, or "". The zero time never is. When something begins to be valid is not looked at:
// the time is told every few minutes, and what has just been issued is younger.
func expired(c *memo.Ctx, end time.Time) string {
	if !end.IsZero() && source.When(c, end) > 0 {
		return "has expired at " + end.UTC().Format(time.RFC3339)
	}
	return ""
}
