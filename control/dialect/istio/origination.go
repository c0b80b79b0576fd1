// SPDX-License-Identifier: Apache-2.0

package istio

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// origination is how TLS is begun to a destination.
type origination struct {
	// ServerName is asked for; without one, the host of each request is.
	ServerName string `json:",omitempty"`
	// Certificate is the name of a secret with our own certificate; CertFile and KeyFile
	// are files of the proxy instead.
	Certificate       string `json:",omitempty"`
	CertFile, KeyFile string `json:",omitempty"`
	// CA is whom is trusted, in PEM; CAFile is a file of the proxy. Without either it is
	// whom the system trusts.
	CA, CAFile, CRL string `json:",omitempty"`
	// Names are those that a destination's certificate must have one of.
	Names []string `json:",omitempty"`
	// Trusting verifies nothing.
	Trusting bool `json:",omitempty"`
}

// originate reads how TLS is begun. Its Secret is called name.
func originate(c *memo.Ctx, t *istiov1.ClientTLS, name source.Name) (*origination, *graph.Problem) {
	if t.Mode == modeIstioMutual {
		p := problem("host", reasonUnsupported, "its DestinationRule asks for ISTIO_MUTUAL, which takes certificates of the mesh and is not supported: its requests are answered 503")
		return nil, &p
	}
	out := &origination{
		ServerName: t.SNI, CAFile: t.CACertificates, CRL: t.CACrl, Names: t.SubjectAltNames, Trusting: t.InsecureSkipVerify != nil && *t.InsecureSkipVerify,
	}
	if t.Mode == modeMutual {
		out.CertFile, out.KeyFile = t.ClientCertificate, t.PrivateKey
	}
	if t.CredentialName == "" {
		return out, nil
	}
	if t.Mode == modeMutual {
		if wrong := attach.Certificate(c, name); wrong != "" {
			p := problem("host", reasonNotFound, "the credentialName of its DestinationRule cannot be used: %s; its requests are answered 503", wrong)
			return nil, &p
		}
		out.Certificate = name.String()
	}
	if out.CA = pemOf(c, source.Name{Namespace: name.Namespace, Name: name.Name + "-cacert"}); out.CA == "" {
		out.CA = pemOf(c, name)
	}
	if out.CA == "" && !out.Trusting {
		p := problem("host", reasonNotFound, "the credentialName of its DestinationRule names Secret %s, which has no ca.crt to trust; its requests are answered 503", name)
		return nil, &p
	}
	return out, nil
}

// socket returns the socket that speaks TLS.
func (o *origination) socket(two bool) *corev3.TransportSocket {
	common := &tlsv3.CommonTlsContext{}
	if two {
		common.AlpnProtocols = []string{"h2"}
	}
	switch {
	case o.Certificate != "":
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{build.SecretConfig(o.Certificate)}
	case o.CertFile != "":
		common.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: file(o.CertFile), PrivateKey: file(o.KeyFile)}}
	}
	v := &tlsv3.CertificateValidationContext{}
	switch {
	case o.Trusting:
	case o.CA != "":
		v.TrustedCa = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(o.CA)}}
	case o.CAFile != "":
		v.TrustedCa = file(o.CAFile)
	default:
		v.SystemRootCerts = &tlsv3.CertificateValidationContext_SystemRootCerts{}
	}
	if !o.Trusting {
		names := o.Names
		if len(names) == 0 && o.ServerName != "" {
			names = []string{o.ServerName}
		}
		sans(v, names)
		if o.CRL != "" {
			v.Crl = file(o.CRL)
		}
	}
	if proto.Size(v) > 0 || v.SystemRootCerts != nil {
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
	}
	return build.TLSSocket(&tlsv3.UpstreamTlsContext{Sni: o.ServerName, CommonTlsContext: common})
}
