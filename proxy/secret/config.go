// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// reading collects what was read for one secret: its bytes, so that an unchanged one
// is known again, and the directories in which a change shows.
type reading struct {
	hash sum256
	dirs []string
	// warn, if not nil, is told of what is taken although it is not as it should be.
	warn func(string)
}

// data reads a data source; name says what it is, "<inline>" if not from a file.
func (r *reading) data(d *corev3.DataSource) (text []byte, name string, err error) {
	name = "<inline>"
	switch v := d.GetSpecifier().(type) {
	case nil:
		return nil, name, nil
	case *corev3.DataSource_InlineBytes:
		text = v.InlineBytes
	case *corev3.DataSource_InlineString:
		text = []byte(v.InlineString)
	case *corev3.DataSource_EnvironmentVariable:
		s, ok := os.LookupEnv(v.EnvironmentVariable)
		if !ok {
			return nil, name, fmt.Errorf("the environment variable %s is not set", v.EnvironmentVariable)
		}
		text, name = []byte(s), "$"+v.EnvironmentVariable
	case *corev3.DataSource_Filename:
		name = v.Filename
		if text, err = os.ReadFile(name); err != nil {
			return nil, name, err
		}
		r.dirs = append(r.dirs, filepath.Dir(name))
	}
	if w := d.GetWatchedDirectory().GetPath(); w != "" {
		r.dirs = append(r.dirs, w)
	}
	r.hash.add(text)
	if len(text) == 0 {
		return nil, name, fmt.Errorf("%s is empty", name)
	}
	return text, name, nil
}

// field is data for a field that must not be told with its content.
func (r *reading) field(field string, d *corev3.DataSource) ([]byte, string, error) {
	b, name, err := r.data(d)
	if err != nil {
		return nil, name, fmt.Errorf("%s: %w", field, err)
	}
	return b, name, nil
}

// at is an error about the content of a field.
func at(field, name string, err error) error {
	if name == "<inline>" {
		return fmt.Errorf("%s: %w", field, err)
	}
	return fmt.Errorf("%s: %s %w", field, name, err)
}

func checkFields(m proto.Message) error {
	if err := supported.Apply(m, "", nil); err != nil {
		return err
	}
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		return v.ValidateAll()
	}
	return nil
}

// compile reads and checks a secret.
func (r *reading) compile(m *tlsv3.Secret) (*Value, error) {
	if err := checkFields(m); err != nil {
		return nil, err
	}
	var v *Value
	var err error
	switch t := m.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		v, err = r.certificate(t.TlsCertificate)
	case *tlsv3.Secret_ValidationContext:
		v, err = r.validation(t.ValidationContext)
	case *tlsv3.Secret_SessionTicketKeys:
		v, err = r.ticketKeys(t.SessionTicketKeys)
	case *tlsv3.Secret_GenericSecret:
		v, err = r.generic(t.GenericSecret)
	default:
		return nil, errors.New("has no type: set tls_certificate, validation_context, session_ticket_keys or generic_secret")
	}
	if err != nil {
		return nil, fmt.Errorf("%s.%w", kindOf(m), err)
	}
	return v, nil
}

func kindOf(m *tlsv3.Secret) Kind {
	switch m.GetType().(type) {
	case *tlsv3.Secret_ValidationContext:
		return KindValidation
	case *tlsv3.Secret_SessionTicketKeys:
		return KindTicketKeys
	case *tlsv3.Secret_GenericSecret:
		return KindGeneric
	}
	return KindCertificate
}

func (r *reading) certificate(p *tlsv3.TlsCertificate) (*Value, error) {
	if w := p.GetWatchedDirectory().GetPath(); w != "" {
		r.dirs = append(r.dirs, w)
	}
	if p.GetPkcs12() != nil && (p.GetCertificateChain() != nil || p.GetPrivateKey() != nil) {
		return nil, errors.New("pkcs12: cannot be given with certificate_chain and private_key: remove one or the other")
	}
	password, _, err := r.field("password", p.GetPassword())
	if err != nil {
		return nil, err
	}
	var c *Certificate
	if p.GetPkcs12() != nil {
		c, err = r.pkcs12(p, password)
	} else {
		c, err = r.chainAndKey(p, password)
	}
	if err != nil {
		return nil, err
	}
	if p.GetOcspStaple() != nil {
		der, name, err := r.field("ocsp_staple", p.GetOcspStaple())
		if err != nil {
			return nil, err
		}
		if err := c.staple(der); err != nil {
			return nil, at("ocsp_staple", name, err)
		}
	}
	r.expiry(c.Chain[0], "the certificate", c.Path)
	return &Value{Certificate: c, kind: KindCertificate, sum: r.hash.sum()}, nil
}

// expiry warns of a certificate that is not valid now; it is used all the same, as
// Envoy does, since peers decide.
func (r *reading) expiry(c *x509.Certificate, what, name string) {
	now := time.Now()
	switch {
	case r.warn == nil:
	case now.After(c.NotAfter):
		r.warn(fmt.Sprintf("%s %s of %s expired on %s: get a new one", what, c.Subject, name, c.NotAfter.UTC().Format(time.RFC3339)))
	case now.Before(c.NotBefore):
		r.warn(fmt.Sprintf("%s %s of %s is not valid before %s", what, c.Subject, name, c.NotBefore.UTC().Format(time.RFC3339)))
	}
}

func (r *reading) chainAndKey(p *tlsv3.TlsCertificate, password []byte) (*Certificate, error) {
	if p.GetCertificateChain() == nil {
		return nil, errors.New("certificate_chain: is missing")
	}
	if p.GetPrivateKey() == nil {
		return nil, errors.New("private_key: is missing")
	}
	text, path, err := r.field("certificate_chain", p.GetCertificateChain())
	if err != nil {
		return nil, err
	}
	certs, err := chain(text)
	if err != nil {
		return nil, at("certificate_chain", path, err)
	}
	text, keyPath, err := r.field("private_key", p.GetPrivateKey())
	if err != nil {
		return nil, err
	}
	key, err := privateKey(text, password)
	if err != nil {
		return nil, at("private_key", keyPath, err)
	}
	if err := usable(certs[0]); err != nil {
		return nil, at("certificate_chain", path, err)
	}
	c, err := pair(certs, key)
	if err != nil {
		return nil, at("private_key", keyPath, err)
	}
	c.Path = path
	return c, nil
}

func (r *reading) pkcs12(p *tlsv3.TlsCertificate, password []byte) (*Certificate, error) {
	text, path, err := r.field("pkcs12", p.GetPkcs12())
	if err != nil {
		return nil, err
	}
	key, leaf, cas, err := pkcs12.DecodeChain(text, string(password))
	if err != nil {
		return nil, at("pkcs12", path, err)
	}
	if err := usable(leaf); err != nil {
		return nil, at("pkcs12", path, err)
	}
	c, err := pair(append([]*x509.Certificate{leaf}, cas...), key)
	if err != nil {
		return nil, at("pkcs12", path, err)
	}
	c.Path = path
	return c, nil
}

func (r *reading) validation(p *tlsv3.CertificateValidationContext) (*Value, error) {
	if w := p.GetWatchedDirectory().GetPath(); w != "" {
		r.dirs = append(r.dirs, w)
	}
	v := &Validation{
		AllowExpired:    p.GetAllowExpiredCertificate(),
		AcceptUntrusted: p.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED,
		LeafCRLOnly:     p.GetOnlyVerifyLeafCertCrl(), SuppressCAList: p.GetSuppressClientCaList(),
		MaxDepth: 100, source: p,
	}
	if d := p.GetMaxVerifyDepth(); d != nil {
		v.MaxDepth = int(d.GetValue())
	}
	if err := r.anchors(p, v); err != nil {
		return nil, err
	}
	if p.GetCrl() != nil {
		text, name, err := r.field("crl", p.GetCrl())
		if err != nil {
			return nil, err
		}
		v.CRLs = map[string][]*Revocations{}
		if err := revocations(text, v.CRLs); err != nil {
			return nil, at("crl", name, err)
		}
	}
	if err := pins(p, v); err != nil {
		return nil, err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil, err
	}
	r.hash.add(b)
	return &Value{Validation: v, kind: KindValidation, sum: r.hash.sum()}, nil
}

func (r *reading) anchors(p *tlsv3.CertificateValidationContext, v *Validation) error {
	switch {
	case p.GetTrustedCa() != nil:
		text, name, err := r.field("trusted_ca", p.GetTrustedCa())
		if err != nil {
			return err
		}
		if v.CAs, err = chain(text); err != nil {
			return at("trusted_ca", name, err)
		}
		v.Path, v.Pool = name, x509.NewCertPool()
		for _, c := range v.CAs {
			v.Pool.AddCert(c)
			r.expiry(c, "the trusted CA", name)
		}
	case p.GetSystemRootCerts() != nil:
		pool, err := x509.SystemCertPool()
		if err != nil {
			return fmt.Errorf("system_root_certs: %w", err)
		}
		v.Pool = pool
	case len(p.GetMatchTypedSubjectAltNames()) > 0 || len(p.GetMatchSubjectAltNames()) > 0: //nolint:staticcheck // Deprecated, still read.
		return errors.New("match_typed_subject_alt_names: needs trusted_ca: a name proves nothing in a certificate that anybody may have made")
	case p.GetAllowExpiredCertificate():
		return errors.New("allow_expired_certificate: has no effect without trusted_ca: add one, or remove it")
	}
	return nil
}

func pins(p *tlsv3.CertificateValidationContext, v *Validation) error {
	for i, s := range p.GetVerifyCertificateSpki() {
		h, err := spki(s)
		if err != nil {
			return fmt.Errorf("verify_certificate_spki[%d]: %w", i, err)
		}
		v.SPKI = append(v.SPKI, h)
	}
	for i, s := range p.GetVerifyCertificateHash() {
		h, err := certHash(s)
		if err != nil {
			return fmt.Errorf("verify_certificate_hash[%d]: %w", i, err)
		}
		v.Hashes = append(v.Hashes, h)
	}
	for i, m := range p.GetMatchTypedSubjectAltNames() {
		s, err := match.CompileString(m.GetMatcher())
		if err != nil {
			return fmt.Errorf("match_typed_subject_alt_names[%d].matcher: %w", i, err)
		}
		v.SANs = append(v.SANs, SANMatcher{Type: SANType(m.GetSanType()), Match: s, OID: m.GetOid(), Exact: m.GetMatcher().GetExact()})
	}
	if len(v.SANs) > 0 {
		return nil
	}
	// The older field, of any type but other names.
	for i, m := range p.GetMatchSubjectAltNames() { //nolint:staticcheck // Deprecated, still read.
		s, err := match.CompileString(m)
		if err != nil {
			return fmt.Errorf("match_subject_alt_names[%d]: %w", i, err)
		}
		v.SANs = append(v.SANs, SANMatcher{Type: AnySAN, Match: s, Exact: m.GetExact()})
	}
	return nil
}

func (r *reading) ticketKeys(p *tlsv3.TlsSessionTicketKeys) (*Value, error) {
	v := &Value{kind: KindTicketKeys}
	if len(p.GetKeys()) == 0 {
		return nil, errors.New("keys: there is none")
	}
	for i, d := range p.GetKeys() {
		field := fmt.Sprintf("keys[%d]", i)
		b, name, err := r.field(field, d)
		if err != nil {
			return nil, err
		}
		k, err := ticketKey(b)
		if err != nil {
			return nil, at(field, name, err)
		}
		v.TicketKeys = append(v.TicketKeys, k)
	}
	v.sum = r.hash.sum()
	return v, nil
}

func (r *reading) generic(p *tlsv3.GenericSecret) (*Value, error) {
	v := &Value{kind: KindGeneric, Generic: map[string][]byte{}}
	if p.GetSecret() != nil {
		b, _, err := r.field("secret", p.GetSecret())
		if err != nil {
			return nil, err
		}
		v.Generic[""] = b
	}
	for _, name := range slices.Sorted(maps.Keys(p.GetSecrets())) {
		d := p.GetSecrets()[name]
		b, _, err := r.field(fmt.Sprintf("secrets[%q]", name), d)
		if err != nil {
			return nil, err
		}
		v.Generic[name] = b
		r.hash.add([]byte(name))
	}
	v.sum = r.hash.sum()
	return v, nil
}

// sum256 is a sum of several texts in their order.
type sum256 struct{ all [sha256.Size]byte }

func (s *sum256) add(b []byte) {
	h := sha256.Sum256(b)
	s.all = sha256.Sum256(append(s.all[:], h[:]...))
}

func (s *sum256) sum() [sha256.Size]byte { return s.all }
