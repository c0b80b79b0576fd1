// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/internal/memo"
)

// The modes of a server's TLS.
const (
	modePassthrough     = "PASSTHROUGH"
	modeAutoPassthrough = "AUTO_PASSTHROUGH"
	modeSimple          = "SIMPLE"
	modeMutual          = "MUTUAL"
	modeOptionalMutual  = "OPTIONAL_MUTUAL"
	modeIstioMutual     = "ISTIO_MUTUAL"
)

// readTLS reads how a server terminates TLS.
func (s *server) readTLS(c *memo.Ctx, t *istiov1.ServerTLS) {
	if !s.secure {
		if t == nil {
			return
		}
		if s.redirect = t.HTTPSRedirect && s.http; !s.redirect {
			s.note("tls", reasonUnsupported, "has no effect: the port's protocol speaks no TLS")
		}
		return
	}
	if t == nil {
		s.bad("tls", reasonInvalid, "is missing: the port's protocol speaks TLS")
		return
	}
	switch t.Mode {
	case modePassthrough, "":
		s.passthrough, s.http = true, false
		return
	case modeSimple, modeMutual, modeOptionalMutual:
	case modeAutoPassthrough:
		s.bad("tls.mode", reasonUnsupported, "AUTO_PASSTHROUGH leads between clusters of a mesh, which is not supported: use PASSTHROUGH and a VirtualService with tls routes")
		return
	case modeIstioMutual:
		s.bad("tls.mode", reasonUnsupported, "ISTIO_MUTUAL takes certificates of the mesh, which is not supported: use MUTUAL with a credentialName")
		return
	default:
		s.bad("tls.mode", reasonInvalid, "%q is not a mode: there are PASSTHROUGH, SIMPLE, MUTUAL and OPTIONAL_MUTUAL", t.Mode)
		return
	}
	if t.HTTPSRedirect {
		s.note("tls.httpsRedirect", reasonUnsupported, "has no effect: the port speaks https already")
	}
	s.tls = &graph.TLS{}
	if s.http {
		s.tls.Protocols = []string{"h2", "http/1.1"}
	}
	context := &tlsv3.CommonTlsContext{}
	s.certificates(c, t, context)
	s.parameters(t, context)
	if t.Mode != modeSimple {
		s.verify(c, t, context)
	}
	if proto.Size(context) > 0 {
		s.tls.Overlay = attach.Merge(graph.Overlay{Message: &tlsv3.DownstreamTlsContext{CommonTlsContext: context}}, s.tls.Overlay)
	}
}

// certificates finds what a server shows: Secrets, or files of the proxy.
func (s *server) certificates(c *memo.Ctx, t *istiov1.ServerTLS, context *tlsv3.CommonTlsContext) {
	names := t.CredentialNames
	if t.CredentialName != "" {
		names = append([]string{t.CredentialName}, names...)
	}
	for _, n := range names {
		secret := credential(c, n, s.id.gateway.Namespace)
		if wrong := attach.GenericCertificate(c, secret); wrong != "" {
			s.bad("tls.credentialName", reasonNotFound, "%s; until it is there, TLS for its hosts is refused", wrong)
			continue
		}
		s.tls.Certificates = append(s.tls.Certificates, secret.String())
	}
	files := t.TLSCertificates
	if t.ServerCertificate != "" || t.PrivateKey != "" {
		files = append([]istiov1.TLSCertificate{{ServerCertificate: t.ServerCertificate, PrivateKey: t.PrivateKey}}, files...)
	}
	for i, f := range files {
		if f.ServerCertificate == "" || f.PrivateKey == "" {
			s.bad(fmt.Sprintf("tls.tlsCertificates[%d]", i), reasonInvalid, "has not both serverCertificate and privateKey")
			continue
		}
		if f.CACertificates != "" {
			s.note(fmt.Sprintf("tls.tlsCertificates[%d].caCertificates", i), reasonUnsupported, "has no effect: caCertificates of the server says whom to let in")
		}
		if len(names) == 0 {
			context.TlsCertificates = append(context.TlsCertificates, &tlsv3.TlsCertificate{CertificateChain: file(f.ServerCertificate), PrivateKey: file(f.PrivateKey)})
		}
	}
	switch {
	case len(names)+len(files) == 0:
		s.bad("tls.credentialName", reasonInvalid, "is missing: name a Secret of type kubernetes.io/tls with the certificate")
	case len(names) > 0 && len(files) > 0:
		s.note("tls.serverCertificate", reasonConflict, "has no effect: credentialName is there, and counts")
	}
}

func file(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}

// versions are those of TLS, by Istio's words.
func versions() map[string]tlsv3.TlsParameters_TlsProtocol {
	return map[string]tlsv3.TlsParameters_TlsProtocol{
		"": tlsv3.TlsParameters_TLS_AUTO, "TLS_AUTO": tlsv3.TlsParameters_TLS_AUTO, "TLSV1_0": tlsv3.TlsParameters_TLSv1_0,
		"TLSV1_1": tlsv3.TlsParameters_TLSv1_1, "TLSV1_2": tlsv3.TlsParameters_TLSv1_2, "TLSV1_3": tlsv3.TlsParameters_TLSv1_3,
	}
}

// parameters reads versions and ciphers.
func (s *server) parameters(t *istiov1.ServerTLS, context *tlsv3.CommonTlsContext) {
	p := &tlsv3.TlsParameters{CipherSuites: t.CipherSuites}
	for field, v := range map[string]string{"minProtocolVersion": t.MinProtocolVersion, "maxProtocolVersion": t.MaxProtocolVersion} {
		if _, ok := versions()[v]; !ok {
			s.bad("tls."+field, reasonInvalid, "%q is not a version: there are TLS_AUTO, TLSV1_0, TLSV1_1, TLSV1_2 and TLSV1_3", v)
		}
	}
	p.TlsMinimumProtocolVersion, p.TlsMaximumProtocolVersion = versions()[t.MinProtocolVersion], versions()[t.MaxProtocolVersion]
	if proto.Size(p) > 0 {
		context.TlsParams = p
	}
}

// verify reads whom a server lets in.
func (s *server) verify(c *memo.Ctx, t *istiov1.ServerTLS, context *tlsv3.CommonTlsContext) {
	validation := &tlsv3.CertificateValidationContext{VerifyCertificateSpki: t.VerifyCertificateSpki, VerifyCertificateHash: t.VerifyCertificateHash}
	sans(validation, t.SubjectAltNames)
	switch {
	case t.CredentialName != "" || len(t.CredentialNames) > 0:
		own := s.authority(c, t)
		if s.tls.CA = own.pem; own.crl != "" {
			validation.Crl = build.Data(own.crl)
		}
	case t.CACertificates != "":
		validation.TrustedCa = file(t.CACertificates)
		s.tls.Overlay = attach.Merge(s.tls.Overlay, graph.Overlay{Message: required()})
	default:
		s.bad("tls.caCertificates", reasonInvalid, "is missing: clients' certificates are to be verified, and there is nobody to trust")
	}
	if t.CACrl != "" {
		validation.Crl = file(t.CACrl)
	}
	if t.InsecureSkipVerify != nil && *t.InsecureSkipVerify {
		s.note("tls.insecureSkipVerify", reasonUnsupported, "has no effect: whom mode %s lets in is verified", t.Mode)
	}
	if proto.Size(validation) > 0 {
		context.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: validation}
	}
	if t.Mode == modeOptionalMutual {
		// Who shows a certificate is verified; who shows none is let in.
		s.tls.Overlay = attach.Merge(s.tls.Overlay, graph.Overlay{Message: &tlsv3.DownstreamTlsContext{}, Also: []string{"require_client_certificate"}})
	}
}

// sans has a peer's certificate have one of these names.
func sans(v *tlsv3.CertificateValidationContext, names []string) {
	for _, n := range names {
		for _, kind := range []tlsv3.SubjectAltNameMatcher_SanType{tlsv3.SubjectAltNameMatcher_DNS, tlsv3.SubjectAltNameMatcher_URI} {
			if strings.Contains(n, "://") != (kind == tlsv3.SubjectAltNameMatcher_URI) {
				continue
			}
			v.MatchTypedSubjectAltNames = append(v.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
				SanType: kind, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: n}},
			})
		}
	}
}

// authority finds by whom clients are verified: the ca.crt of the Secret with the
// certificate, or of the one called after it, or of one that is named for it.
func (s *server) authority(c *memo.Ctx, t *istiov1.ServerTLS) authority {
	var names []string
	if t.CACertCredentialName != "" {
		names = []string{t.CACertCredentialName}
	} else {
		for _, n := range slices.Concat([]string{t.CredentialName}, t.CredentialNames) {
			if n != "" {
				names = append(names, n+"-cacert", n)
			}
		}
	}
	for _, n := range names {
		if own := authorityOf(c, credential(c, n, s.id.gateway.Namespace)); own.pem != "" {
			return own
		}
	}
	s.bad("tls.caCertCredentialName", reasonNotFound, "no Secret has an authority to verify clients by, in ca.crt: there are looked for %s; nobody is let in", strings.Join(names, ", "))
	return authority{}
}

func required() *tlsv3.DownstreamTlsContext {
	return &tlsv3.DownstreamTlsContext{RequireClientCertificate: wrapperspb.Bool(true)}
}
