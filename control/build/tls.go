// SPDX-License-Identifier: Apache-2.0

package build

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const transportTLS = "envoy.transport_sockets.tls"

// DownstreamTLS terminates TLS.
type DownstreamTLS struct {
	// Certificates are names of secrets.
	Certificates []string
	// CA verifies clients if it is not empty: certificates in PEM.
	CA string
	// Optional takes clients that have no certificate, or one that does not verify.
	Optional bool
	// Protocols are offered by ALPN.
	Protocols []string
}

// Context returns what a socket terminates TLS by.
func (d DownstreamTLS) Context() *tlsv3.DownstreamTlsContext {
	common := &tlsv3.CommonTlsContext{AlpnProtocols: d.Protocols}
	for _, name := range d.Certificates {
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, SecretConfig(name))
	}
	context := &tlsv3.DownstreamTlsContext{CommonTlsContext: common}
	if d.CA != "" {
		validation := &tlsv3.CertificateValidationContext{TrustedCa: inline(d.CA)}
		if d.Optional {
			validation.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		}
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: validation}
		context.RequireClientCertificate = wrapperspb.Bool(!d.Optional)
	}
	return context
}

// TLSSocket returns the socket that speaks TLS by a context of either side.
func TLSSocket(context proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: transportTLS, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: Any(context)}}
}

// SecretConfig refers to a secret by its name.
func SecretConfig(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: ADS()}
}

// Certificate returns a secret with a certificate's chain and its key, in PEM.
func Certificate(name, chain, key string) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline(chain), PrivateKey: inline(key),
	}}}
}

// UpstreamTLS speaks TLS to a backend.
type UpstreamTLS struct {
	// ServerName is asked for, and must be in the backend's certificate unless it must
	// have one of Hostnames or URIs.
	ServerName      string
	Hostnames, URIs []string
	// CA is who signs the backend's certificate, in PEM; empty is the system's.
	CA string
	// Certificate is the name of the secret with our own certificate; empty is none.
	Certificate string
	// Protocols are offered by ALPN.
	Protocols []string
	// SkipVerify takes any certificate.
	SkipVerify bool
	// HostNames asks for the name of the host that is connected to, and verifies it,
	// where there is no ServerName. Without both, the name is left to the cluster.
	HostNames bool
	// Versions, Ciphers and Curves that may be used; nothing is what the proxy takes by
	// itself.
	MinVersion, MaxVersion tlsv3.TlsParameters_TlsProtocol
	Ciphers, Curves        []string
}

// parameters returns what may be negotiated; nil is anything.
func (u UpstreamTLS) parameters() *tlsv3.TlsParameters {
	out := &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: u.MinVersion, TlsMaximumProtocolVersion: u.MaxVersion, CipherSuites: u.Ciphers, EcdhCurves: u.Curves,
	}
	if proto.Size(out) == 0 {
		return nil
	}
	return out
}

// validation says whom to trust; nil is everybody.
func (u UpstreamTLS) validation() *tlsv3.CertificateValidationContext {
	if u.SkipVerify {
		return nil
	}
	validation := &tlsv3.CertificateValidationContext{}
	if u.CA != "" {
		validation.TrustedCa = inline(u.CA)
	} else {
		validation.SystemRootCerts = &tlsv3.CertificateValidationContext_SystemRootCerts{}
	}
	hosts := u.Hostnames
	if len(hosts)+len(u.URIs) == 0 && u.ServerName != "" {
		hosts = []string{u.ServerName}
	}
	match := func(kind tlsv3.SubjectAltNameMatcher_SanType, names []string) {
		for _, n := range names {
			validation.MatchTypedSubjectAltNames = append(validation.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
				SanType: kind, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: n}},
			})
		}
	}
	match(tlsv3.SubjectAltNameMatcher_DNS, hosts)
	match(tlsv3.SubjectAltNameMatcher_URI, u.URIs)
	return validation
}

// TransportSocket returns the socket that speaks TLS.
func (u UpstreamTLS) TransportSocket() *corev3.TransportSocket {
	context := &tlsv3.UpstreamTlsContext{
		Sni: u.ServerName, AutoHostSni: u.HostNames && u.ServerName == "",
		CommonTlsContext: &tlsv3.CommonTlsContext{AlpnProtocols: u.Protocols, TlsParams: u.parameters()},
	}
	if v := u.validation(); v != nil {
		context.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
		context.AutoSniSanValidation = context.AutoHostSni
	}
	if u.Certificate != "" {
		context.CommonTlsContext.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{SecretConfig(u.Certificate)}
	}
	return TLSSocket(context)
}

// ProxySocket begins connections with a header of the PROXY protocol, of version 2 or 1,
// before what inner speaks; nil is cleartext.
func ProxySocket(two bool, inner *corev3.TransportSocket) *corev3.TransportSocket {
	if inner == nil {
		inner = &corev3.TransportSocket{
			Name:       "envoy.transport_sockets.raw_buffer",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: Any(&rawbufferv3.RawBuffer{})},
		}
	}
	config := &corev3.ProxyProtocolConfig{Version: corev3.ProxyProtocolConfig_V1}
	if two {
		config.Version = corev3.ProxyProtocolConfig_V2
	}
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.upstream_proxy_protocol",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: Any(&proxyprotocolv3.ProxyProtocolUpstreamTransport{
			Config: config, TransportSocket: inner,
		})},
	}
}

// TLSVersions are those that objects can ask for.
const TLSVersions = "Auto, 1.0, 1.1, 1.2 and 1.3"

// TLSVersion returns the version of TLS that has a name; nothing is Auto.
func TLSVersion(name string) (v tlsv3.TlsParameters_TlsProtocol, ok bool) {
	v, ok = map[string]tlsv3.TlsParameters_TlsProtocol{
		"": tlsv3.TlsParameters_TLS_AUTO, "Auto": tlsv3.TlsParameters_TLS_AUTO, "1.0": tlsv3.TlsParameters_TLSv1_0,
		"1.1": tlsv3.TlsParameters_TLSv1_1, "1.2": tlsv3.TlsParameters_TLSv1_2, "1.3": tlsv3.TlsParameters_TLSv1_3,
	}[name]
	return v, ok
}
