// SPDX-License-Identifier: Apache-2.0

// Package secret keeps certificates with their keys, what peers are verified
// against, and session ticket keys: read from files, environment or the
// configuration itself, checked before anybody uses them, and replaced while they
// are in use.
//
// Whoever uses a secret holds its [Slot] and loads the newest good [Value] from it
// when it needs one. What is wrong is refused with its reason, and the value before
// stays. A [Store] has the secrets that are known by name: the bootstrap's own, those
// of files that are watched, and those that a management server sends, each in a
// [Source]. A slot that nobody uses any more is forgotten by itself.
//
// The package knows what a certificate is, not what a handshake is: that is
// proxy/tls.
package secret

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/match"
)

// Kind is what a secret is.
type Kind uint8

// Kinds of secrets.
const (
	// KindCertificate is a certificate chain with its key (TlsCertificate).
	KindCertificate Kind = iota
	// KindValidation is what a peer is verified against
	// (CertificateValidationContext).
	KindValidation
	// KindTicketKeys are keys of session tickets (TlsSessionTicketKeys).
	KindTicketKeys
	// KindGeneric is anything else, such as a password (GenericSecret).
	KindGeneric
)

// String names the kind as the field of Envoy's Secret does.
func (k Kind) String() string {
	return [...]string{"tls_certificate", "validation_context", "session_ticket_keys", "generic_secret"}[k]
}

// A Value is one secret, checked. One of its fields is set. It is immutable.
type Value struct {
	Certificate *Certificate
	Validation  *Validation
	TicketKeys  [][32]byte
	// Generic has the secret under "", and further ones by name.
	Generic map[string][]byte
	kind    Kind
	// sum tells values apart: of all bytes that were read.
	sum [sha256.Size]byte
}

// A Slot is where the newest good value of one secret is found.
type Slot struct {
	name  string
	kind  Kind
	value atomic.Pointer[Value]
}

// Name is the secret's name, or that of the file or field it is read from.
func (s *Slot) Name() string { return s.name }

// Load returns the newest good value; nil if there has been none yet.
func (s *Slot) Load() *Value { return s.value.Load() }

// Certificate is a certificate chain with its private key.
type Certificate struct {
	// TLS is the pair as handshakes use it, its leaf parsed; OCSPStaple is set.
	TLS tls.Certificate
	// Chain is the parsed chain, the leaf first.
	Chain []*x509.Certificate
	// Path is the file of the chain, or "<inline>".
	Path string
	// Names are the names that the leaf is for, in lower case: its DNS names, or its
	// subject's common name if it has no alternative name at all.
	Names []string
	// MustStaple tells that the certificate demands a stapled OCSP response (RFC 7633).
	MustStaple bool
	// OCSPFrom and OCSPUntil bound the validity of the stapled response; zero without one.
	OCSPFrom, OCSPUntil time.Time
}

// HasOCSP reports whether there is a response to staple that is valid at a time.
func (c *Certificate) HasOCSP(now time.Time) bool {
	return len(c.TLS.OCSPStaple) > 0 && now.Before(c.OCSPUntil) && !now.Before(c.OCSPFrom)
}

// Validation is what a peer's certificate is verified against.
type Validation struct {
	// CAs are the trust anchors, nil if the peer's chain is not verified; Pool holds
	// them, or the system's.
	CAs  []*x509.Certificate
	Pool *x509.CertPool
	// Path is the file of the anchors, or "<inline>".
	Path string
	// CRLs by the raw subject of their issuers.
	CRLs map[string][]*Revocations
	// SPKI and Hashes are SHA-256 sums of which the leaf must have one.
	SPKI, Hashes [][sha256.Size]byte
	// SANs are matchers of which the leaf must satisfy one.
	SANs []SANMatcher
	// AllowExpired accepts certificates that are not yet, or no more, valid.
	AllowExpired bool
	// AcceptUntrusted accepts what is not verified; only the outcome is noted.
	AcceptUntrusted bool
	// LeafCRLOnly has only the leaf looked up in CRLs.
	LeafCRLOnly bool
	// MaxDepth is how many certificates above the leaf a chain may have, the anchor
	// included.
	MaxDepth int
	// SuppressCAList keeps the anchors' names from clients.
	SuppressCAList bool

	source any // the message it was made of
}

// Revocations are the serial numbers that one CRL revokes.
type Revocations struct {
	List    *x509.RevocationList
	Serials map[string]struct{} // by their big-endian bytes
}

// SANType is a type of subject alternative name.
type SANType uint8

// Types of subject alternative names, with the numbers of Envoy's SanType.
const (
	AnySAN SANType = iota
	EmailSAN
	DNSSAN
	URISAN
	IPSAN
	OtherSAN
)

// A SANMatcher matches subject alternative names of one type.
type SANMatcher struct {
	Type  SANType
	Match *match.String
	// OID is that of an OtherSAN.
	OID string
	// Exact is the name that Match wants exactly; "" if it matches otherwise. A
	// wildcard in a certificate's DNS name matches exact names only.
	Exact string
}
