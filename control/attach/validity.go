// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// BadAuthorities returns what is wrong with a text as certificates of authorities, or "". One
// that can be trusted now is enough.
func BadAuthorities(c *memo.Ctx, text string) string {
	why := ""
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 { // As x509.CertPool has it.
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		late := outside(c, cert.NotBefore, cert.NotAfter)
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
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		found = true
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return fmt.Sprintf("holds a list of revoked certificates that cannot be read: %v", err)
		}
		if late := outside(c, list.ThisUpdate, list.NextUpdate); late != "" {
			return fmt.Sprintf("holds a list of revoked certificates, of %q, that %s: renew it", list.Issuer.CommonName, late)
		}
	}
	if !found {
		return "holds no list of revoked certificates in PEM"
	}
	return ""
}

// outside tells that it is not between two times now, or "". A zero time is no end.
func outside(c *memo.Ctx, from, to time.Time) string {
	switch {
	case !to.IsZero() && source.When(c, to) > 0:
		return "has expired at " + to.UTC().Format(time.RFC3339)
	case source.When(c, from) < 0:
		return "is valid from " + from.UTC().Format(time.RFC3339) + " only"
	}
	return ""
}
