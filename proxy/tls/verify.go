// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/secret"
)

// A failure is why a peer's certificate was refused, with the statistic that counts
// it.
type failure struct {
	why   string
	cause error
	count func(*conn.TLSStats)
}

// Error says it as Envoy's failure reasons do.
func (f *failure) Error() string {
	if f.cause == nil {
		return "TLS_error:|CERTIFICATE_VERIFY_FAILED:" + f.why
	}
	return "TLS_error:|CERTIFICATE_VERIFY_FAILED:" + f.why + ": " + f.cause.Error()
}

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.cause }

func noCertificate() error {
	return &failure{why: "peer did not present a certificate", count: func(s *conn.TLSStats) { s.FailNoCert.Inc() }}
}

func untrusted(err error) error {
	return &failure{why: "verify cert failed", cause: err, count: func(s *conn.TLSStats) { s.FailError.Inc() }}
}

// verifier verifies peers' certificates.
type verifier struct {
	*secret.Validation
	usage x509.ExtKeyUsage
	now   func() time.Time
	// ageless holds the anchors as if they never expired.
	ageless func() *x509.CertPool
}

func newVerifier(v *secret.Validation, usage x509.ExtKeyUsage) *verifier {
	return &verifier{v, usage, time.Now, sync.OnceValue(func() *x509.CertPool {
		pool := x509.NewCertPool()
		for _, c := range ageless(v.CAs) {
			pool.AddCert(c)
		}
		return pool
	})}
}

// proves tells whether who passes is who they say: that they have a certificate of a
// trusted authority, or one that is pinned. v may be nil.
func (v *verifier) proves() bool {
	return v != nil && !v.AcceptUntrusted && (v.Pool != nil || len(v.Hashes)+len(v.SPKI) > 0)
}

// verify checks a chain, the leaf first. names, if any, are names of which the leaf
// must have one, in place of the configured matchers.
func (v *verifier) verify(certs []*x509.Certificate, names []string) error {
	leaf := certs[0]
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		// RFC 5280 §4.2.1.3, RFC 8446 §4.4.2.2.
		return &failure{why: "the certificate's key may not be used for signatures", count: func(s *conn.TLSStats) {
			s.BadKeyUsage.Inc()
			s.FailError.Inc()
		}}
	}
	if v.Pool != nil {
		if err := v.chain(certs); err != nil {
			return untrusted(err)
		}
	}
	if !v.pinned(leaf) {
		return &failure{why: "verify hash failed", count: func(s *conn.TLSStats) { s.FailHash.Inc() }}
	}
	if len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return leaf.VerifyHostname(n) == nil }) {
		return sanFailure(fmt.Errorf("the certificate is not for %s", strings.Join(names, " or ")))
	}
	if len(names) == 0 && len(v.SANs) > 0 && !matchSAN(leaf, v.SANs) {
		return sanFailure(errors.New("none of the certificate's names matches"))
	}
	return nil
}

func sanFailure(err error) error {
	return &failure{why: "verify SAN list failed", cause: err, count: func(s *conn.TLSStats) { s.FailSAN.Inc() }}
}

func (v *verifier) pinned(leaf *x509.Certificate) bool {
	if len(v.Hashes) == 0 && len(v.SPKI) == 0 {
		return true
	}
	return len(v.Hashes) > 0 && slices.Contains(v.Hashes, sha256.Sum256(leaf.Raw)) ||
		len(v.SPKI) > 0 && slices.Contains(v.SPKI, sha256.Sum256(leaf.RawSubjectPublicKeyInfo))
}

// chain builds a chain to a trust anchor that is short enough and not revoked.
func (v *verifier) chain(certs []*x509.Certificate) error {
	chains, err := v.chains(certs)
	if err != nil {
		return err
	}
	for _, c := range chains {
		if err = v.acceptable(c); err == nil {
			return nil
		}
	}
	return err
}

func (v *verifier) chains(certs []*x509.Certificate) ([][]*x509.Certificate, error) {
	o := x509.VerifyOptions{Roots: v.Pool, CurrentTime: v.now(), KeyUsages: []x509.ExtKeyUsage{v.usage}}
	if v.AllowExpired {
		certs = ageless(certs)
		if len(v.CAs) > 0 {
			o.Roots = v.ageless()
		}
	}
	if len(certs) > 1 {
		o.Intermediates = x509.NewCertPool()
		for _, c := range certs[1:] {
			o.Intermediates.AddCert(c)
		}
	}
	return certs[0].Verify(o)
}

// ageless returns certificates that are always valid, otherwise the same: the fields
// that tell the time are not what signatures are checked by.
func ageless(certs []*x509.Certificate) []*x509.Certificate {
	out := make([]*x509.Certificate, len(certs))
	for i, c := range certs {
		k := *c
		k.NotBefore, k.NotAfter = time.Unix(0, 0), time.Unix(1<<40, 0)
		out[i] = &k
	}
	return out
}

func (v *verifier) acceptable(chain []*x509.Certificate) error {
	if len(chain)-1 > v.MaxDepth {
		return fmt.Errorf("the chain has %d certificates above the leaf: at most %d are accepted", len(chain)-1, v.MaxDepth)
	}
	if v.CRLs == nil {
		return nil
	}
	for i, c := range chain {
		issuer := c
		if i+1 < len(chain) {
			issuer = chain[i+1]
		}
		if i > 0 && v.LeafCRLOnly || i+1 == len(chain) && len(chain) > 1 {
			break // A trust anchor is not revoked by itself.
		}
		if err := v.revoked(c, issuer); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) revoked(c, issuer *x509.Certificate) error {
	var known bool
	for _, r := range v.CRLs[string(c.RawIssuer)] {
		if r.List.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if now := v.now(); !v.AllowExpired && !r.List.NextUpdate.IsZero() && now.After(r.List.NextUpdate) {
			return fmt.Errorf("the CRL of %s has expired on %s", c.Issuer, r.List.NextUpdate.UTC().Format(time.RFC3339))
		}
		known = true
		if _, ok := r.Serials[string(c.SerialNumber.Bytes())]; ok {
			return fmt.Errorf("the certificate %s is revoked", c.Subject)
		}
	}
	if !known {
		return fmt.Errorf("there is no CRL of %s: give one for each authority of the chain", c.Issuer)
	}
	return nil
}

// issuerOf finds who signed the leaf of a verified chain, among what the peer sent and
// the anchors; nil if it cannot be told.
func issuerOf(certs []*x509.Certificate, v *secret.Validation) *x509.Certificate {
	leaf := certs[0]
	is := func(c *x509.Certificate) bool {
		return bytes.Equal(c.RawSubject, leaf.RawIssuer) &&
			(len(leaf.AuthorityKeyId) == 0 || len(c.SubjectKeyId) == 0 || bytes.Equal(leaf.AuthorityKeyId, c.SubjectKeyId))
	}
	for _, list := range [][]*x509.Certificate{certs[1:], v.CAs} {
		if i := slices.IndexFunc(list, is); i >= 0 {
			return list[i]
		}
	}
	return nil
}

// reason tells why a handshake failed, for logs.
func reason(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.Error()
	}
	if a, ok := errors.AsType[tls.AlertError](err); ok {
		return "TLS_error:|" + strings.TrimPrefix(a.Error(), "tls: ")
	}
	text := err.Error()
	if rest, ok := strings.CutPrefix(text, "tls: "); ok {
		return "TLS_error:|" + rest
	}
	return text
}
