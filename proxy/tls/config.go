// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/secret"
)

// CompileServer compiles a DownstreamTlsContext. log is told when secrets that change
// do not fit each other. The error names the field.
func CompileServer(p *tlsv3.DownstreamTlsContext, secrets *secret.Store, log *slog.Logger) (*Server, error) {
	s := &Server{
		requireCert: p.GetRequireClientCertificate().GetValue(), requireSNI: p.GetRequireSni().GetValue(),
		fullScan: p.GetFullScanCertsOnSniMismatch().GetValue(), policy: staplePolicy(p.GetOcspStaplePolicy()),
		noTickets: p.GetDisableStatelessSessionResumption(), sessionTimeout: p.GetSessionTimeout().AsDuration(),
	}
	if err := s.compile(p.GetCommonTlsContext(), secrets, tls.VersionTLS13); err != nil {
		return nil, fmt.Errorf("common_tls_context.%w", err)
	}
	if len(s.certificates) == 0 {
		return nil, errors.New("common_tls_context.tls_certificates: there is none, and a server cannot do without: add one, or a tls_certificate_sds_secret_configs")
	}
	if s.policy == mustStaple {
		for i, c := range s.certificates {
			if v := c.Load(); v != nil && len(v.Certificate.TLS.OCSPStaple) == 0 {
				return nil, fmt.Errorf("common_tls_context.tls_certificates[%d].ocsp_staple: is missing, and ocsp_staple_policy is MUST_STAPLE", i)
			}
		}
	}
	if err := s.ticketKeys(p, secrets); err != nil {
		return nil, err
	}
	s.secrets.all = s.slots()
	if s.tickets != nil {
		s.secrets.all = append(s.secrets.all, s.tickets)
	}
	s.secrets.make = s.build
	s.secrets.report = func(err error) {
		log.Error("secrets that changed do not fit a TLS context: those before stay in use", "error", err)
	}
	if ready(s.secrets.all) {
		if _, err := s.secrets.make(gather(s.secrets.all)); err != nil {
			return nil, err
		}
	}
	secrets.Use(s.group)
	return s, nil
}

func (s *Server) ticketKeys(p *tlsv3.DownstreamTlsContext, secrets *secret.Store) error {
	var err error
	switch k := p.GetSessionTicketKeysType().(type) {
	case *tlsv3.DownstreamTlsContext_SessionTicketKeys:
		if s.tickets, err = secrets.TicketKeys(k.SessionTicketKeys); err != nil {
			return fmt.Errorf("session_ticket_keys.%w", err)
		}
	case *tlsv3.DownstreamTlsContext_SessionTicketKeysSdsSecretConfig:
		if s.tickets, err = s.named(k.SessionTicketKeysSdsSecretConfig, secrets, secret.KindTicketKeys); err != nil {
			return fmt.Errorf("session_ticket_keys_sds_secret_config.%w", err)
		}
	}
	return nil
}

// CompileClient compiles an UpstreamTlsContext. verified tells whether hosts have to
// prove who they are; it is true if what they are verified against is yet to come by
// SDS.
func CompileClient(p *tlsv3.UpstreamTlsContext, secrets *secret.Store, log *slog.Logger) (c *Client, verified bool, err error) {
	c = &Client{
		sni: p.GetSni(), hostSNI: p.GetAutoHostSni(), sniSANs: p.GetAutoSniSanValidation(), sessions: 1, log: log,
	}
	if v := p.GetMaxSessionKeys(); v != nil {
		c.sessions = int(v.GetValue())
	}
	if err := c.compile(p.GetCommonTlsContext(), secrets, tls.VersionTLS12); err != nil {
		return nil, false, fmt.Errorf("common_tls_context.%w", err)
	}
	if len(c.certificates) > 1 {
		return nil, false, errors.New("common_tls_context.tls_certificates: a client has one certificate: remove the others")
	}
	c.secrets.all = c.slots()
	c.secrets.make = c.build
	c.secrets.report = func(err error) {
		log.Error("secrets that changed do not fit a TLS context: those before stay in use", "error", err)
	}
	verified = c.validation != nil
	if ready(c.secrets.all) {
		st, err := c.secrets.make(gather(c.secrets.all))
		if err != nil {
			return nil, false, err
		}
		verified = st.verifier.proves()
		if c.sniSANs && (st.verifier == nil || st.verifier.Pool == nil) {
			verified = false
		}
	}
	if c.sniSANs && !verified {
		return nil, false, errors.New("auto_sni_san_validation: needs common_tls_context.validation_context.trusted_ca: a name proves nothing in a certificate that anybody may have made")
	}
	secrets.Use(c.group)
	return c, verified, nil
}

func ready(all []*secret.Slot) bool {
	return !slices.ContainsFunc(all, func(s *secret.Slot) bool { return s.Load() == nil })
}

func gather(all []*secret.Slot) *material {
	m := &material{}
	for _, s := range all {
		m.add(s.Load())
	}
	return m
}

// slots are where the context's secrets are: certificates first.
func (s *settings) slots() []*secret.Slot {
	all := slices.Clone(s.certificates)
	if s.validation != nil {
		all = append(all, s.validation)
	}
	return all
}

// compile reads what servers and clients have in common. newest is the default for
// the newest version, which is not the same for both.
func (s *settings) compile(p *tlsv3.CommonTlsContext, secrets *secret.Store, newest uint16) error {
	s.names = newNames()
	if err := s.params(p.GetTlsParams(), newest); err != nil {
		return fmt.Errorf("tls_params.%w", err)
	}
	s.alpn = p.GetAlpnProtocols()
	for i, a := range s.alpn {
		if len(a) == 0 || len(a) > 255 {
			return fmt.Errorf("alpn_protocols[%d]: has %d bytes: from 1 to 255 are allowed", i, len(a))
		}
	}
	if err := s.certs(p, secrets); err != nil {
		return err
	}
	if err := s.validate(p, secrets); err != nil {
		return err
	}
	if k := p.GetKeyLog(); k != nil {
		s.keyLog = &keyLog{path: k.GetPath()}
		var err error
		if s.keyLog.local, err = prefixes(k.GetLocalAddressRange()); err != nil {
			return fmt.Errorf("key_log.local_address_range%w", err)
		}
		if s.keyLog.remote, err = prefixes(k.GetRemoteAddressRange()); err != nil {
			return fmt.Errorf("key_log.remote_address_range%w", err)
		}
	}
	s.group = &secret.Group{Certificates: s.certificates, Validation: s.validation}
	return nil
}

func prefixes(list []*corev3.CidrRange) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, r := range list {
		p, err := match.CompilePrefix(r)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *settings) certs(p *tlsv3.CommonTlsContext, secrets *secret.Store) error {
	for i, c := range p.GetTlsCertificates() {
		slot, err := secrets.Certificate(c)
		if err != nil {
			return fmt.Errorf("tls_certificates[%d].%w", i, err)
		}
		s.certificates = append(s.certificates, slot)
	}
	if len(s.certificates) > 0 {
		return nil // Envoy ignores the other field then.
	}
	for i, c := range p.GetTlsCertificateSdsSecretConfigs() {
		slot, err := s.named(c, secrets, secret.KindCertificate)
		if err != nil {
			return fmt.Errorf("tls_certificate_sds_secret_configs[%d].%w", i, err)
		}
		s.certificates = append(s.certificates, slot)
	}
	return nil
}

// named is the place of a secret that is known by name.
func (s *settings) named(c *tlsv3.SdsSecretConfig, secrets *secret.Store, kind secret.Kind) (*secret.Slot, error) {
	s.sds = s.sds || c.GetSdsConfig() != nil
	return secrets.Named(c, kind)
}

func (s *settings) validate(p *tlsv3.CommonTlsContext, secrets *secret.Store) error {
	var err error
	switch v := p.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		if s.validation, err = secrets.Validation(v.ValidationContext); err != nil {
			return fmt.Errorf("validation_context.%w", err)
		}
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		if s.validation, err = s.named(v.ValidationContextSdsSecretConfig, secrets, secret.KindValidation); err != nil {
			return fmt.Errorf("validation_context_sds_secret_config.%w", err)
		}
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		c := v.CombinedValidationContext
		if s.validation, err = s.named(c.GetValidationContextSdsSecretConfig(), secrets, secret.KindValidation); err != nil {
			return fmt.Errorf("combined_validation_context.validation_context_sds_secret_config.%w", err)
		}
		s.combine = secrets.Combiner(c.GetDefaultValidationContext())
	}
	return nil
}

func (s *settings) params(p *tlsv3.TlsParameters, newest uint16) error {
	s.min, s.max = tls.VersionTLS12, newest
	if v := version(p.GetTlsMinimumProtocolVersion()); v != 0 {
		s.min = v
	}
	if v := version(p.GetTlsMaximumProtocolVersion()); v != 0 {
		s.max = v
	}
	if p.GetTlsMaximumProtocolVersion() == tlsv3.TlsParameters_TLS_AUTO && s.min > s.max {
		s.max = s.min
	}
	if s.min > s.max {
		return fmt.Errorf("tls_minimum_protocol_version: is newer than tls_maximum_protocol_version: swap them")
	}
	s.suites = defaultSuites()
	if l := p.GetCipherSuites(); len(l) > 0 {
		var err error
		if s.suites, err = cipherSuites(l); err != nil {
			return fmt.Errorf("cipher_suites: %w", err)
		}
	}
	s.groups = []tls.CurveID{tls.X25519, tls.CurveP256}
	if l := p.GetEcdhCurves(); len(l) > 0 {
		s.groups = nil
		for i, n := range l {
			id, err := groupID(n)
			if err != nil {
				return fmt.Errorf("ecdh_curves[%d]: %w", i, err)
			}
			s.groups = append(s.groups, id)
		}
	}
	if l := p.GetSignatureAlgorithms(); len(l) > 0 {
		for i, n := range l {
			if !slices.Contains(signatureAlgorithms(), n) {
				return fmt.Errorf("signature_algorithms[%d]: %q is not supported: the field has no effect on those that are on, so remove it", i, n)
			}
		}
		return errors.New("signature_algorithms: cannot be chosen: all that crypto/tls has are on, in its own order; remove it")
	}
	return nil
}

func version(v tlsv3.TlsParameters_TlsProtocol) uint16 {
	switch v {
	case tlsv3.TlsParameters_TLSv1_0:
		return tls.VersionTLS10
	case tlsv3.TlsParameters_TLSv1_1:
		return tls.VersionTLS11
	case tlsv3.TlsParameters_TLSv1_2:
		return tls.VersionTLS12
	case tlsv3.TlsParameters_TLSv1_3:
		return tls.VersionTLS13
	}
	return 0
}
