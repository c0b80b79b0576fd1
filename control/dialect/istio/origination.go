// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"regexp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/internal/memo"
)

// meshCredential is the Secret with the certificate that is shown to proxies of the mesh, as Istio itself once called
// those that it made.
const meshCredential = "istio.default"

// systemCA is the file name that stands for whom the system trusts.
const systemCA = "system"

// origination is how TLS is begun to a destination.
type origination struct {
	// ServerName is asked for; without one, the host of each request is.
	ServerName string `json:",omitempty"`
	// Certificate is the name of a secret with our own certificate; CertFile and KeyFile
	// are files of the proxy instead.
	Certificate       string `json:",omitempty"`
	CertFile, KeyFile string `json:",omitempty"`
	// CA is whom is trusted, in PEM, and Revoked are certificates that are not; CAFile and CRL are
	// files of the proxy. Without any CA it is whom the system trusts.
	CA, CAFile, CRL string `json:",omitempty"`
	Revoked         string `json:",omitempty"`
	// Names are those that a destination's certificate must have one of, and Identity is a
	// regular expression of the URIs of which it must have one instead.
	Names    []string `json:",omitempty"`
	Identity string   `json:",omitempty"`
	// Trusting verifies nothing.
	Trusting bool `json:",omitempty"`
	// Mesh tells that a proxy of the mesh answers.
	Mesh bool `json:",omitempty"`
}

// originate reads how TLS is begun to a destination. Credentials are looked for in namespaces.
func originate(c *memo.Ctx, t *istiov1.ClientTLS, what of, id targetID, port int32, namespaces []string) (*origination, *graph.Problem) {
	if t.Mode == modeIstioMutual {
		return originateMesh(c, t, what, id, port, namespaces)
	}
	out := &origination{
		ServerName: t.SNI, CAFile: t.CACertificates, CRL: t.CACrl, Names: t.SubjectAltNames, Trusting: t.InsecureSkipVerify != nil && *t.InsecureSkipVerify,
	}
	if len(out.Names) == 0 {
		out.Names = what.names
	}
	if out.CAFile == systemCA {
		out.CAFile = ""
	}
	if t.Mode == modeMutual {
		out.CertFile, out.KeyFile = t.ClientCertificate, t.PrivateKey
	}
	if t.CredentialName == "" {
		return out, nil
	}
	name := credential(c, t.CredentialName, namespaces...)
	if t.Mode == modeMutual {
		if wrong := attach.GenericCertificate(c, name); wrong != "" {
			p := graph.Problemf("host", reasonNotFound, "the credentialName of its DestinationRule cannot be used: %s; its requests are answered 503", wrong)
			return nil, &p
		}
		out.Certificate = name.String()
	}
	own := authorityOf(c, credential(c, t.CredentialName+"-cacert", namespaces...))
	if own.pem == "" {
		own = authorityOf(c, name)
	}
	out.CA, out.Revoked = own.pem, own.crl
	if out.CA == "" && !out.Trusting {
		p := graph.Problemf("host", reasonNotFound, "the credentialName of its DestinationRule names Secret %s, which has no ca.crt to trust; its requests are answered 503", name)
		return nil, &p
	}
	return out, nil
}

// originateMesh speaks to a proxy of the mesh, with a certificate of the mesh.
func originateMesh(c *memo.Ctx, t *istiov1.ClientTLS, what of, id targetID, port int32, namespaces []string) (*origination, *graph.Problem) {
	name := credential(c, meshCredential, namespaces...)
	own := authorityOf(c, name)
	wrong := attach.GenericCertificate(c, name)
	if wrong == "" && own.pem == "" {
		wrong = fmt.Sprintf("Secret %s has no ca.crt to trust", name)
	}
	if wrong != "" {
		p := graph.Problemf("host", reasonNotFound, "its DestinationRule asks for ISTIO_MUTUAL, which takes a certificate of the mesh: %s; its requests are answered 503", wrong)
		return nil, &p
	}
	out := &origination{
		ServerName: t.SNI, Certificate: name.String(), CA: own.pem, Revoked: own.crl, Mesh: true, Names: t.SubjectAltNames,
	}
	if out.ServerName == "" {
		// Gateways between networks lead by it.
		out.ServerName = fmt.Sprintf("outbound_.%d_.%s_.%s", port, id.subset, what.host)
	}
	if len(out.Names) == 0 {
		out.Names = what.names
	}
	if len(out.Names) == 0 {
		out.Identity = "spiffe://.+"
		if what.entry == nil {
			out.Identity = "spiffe://[^/]+/ns/" + regexp.QuoteMeta(what.namespace) + "/sa/.+"
		}
	}
	return out, nil
}

// What proxies of the mesh know their like by, in ALPN.
const (
	alpnMesh = "istio"
	alpnOne  = "istio-http/1.1"
	alpnTwo  = "istio-h2"
)

// protocols are offered by ALPN.
func (o *origination) protocols(two, bytes bool) []string {
	switch {
	case o.Mesh && bytes:
		return []string{alpnMesh}
	case o.Mesh && two:
		return []string{alpnTwo, alpnMesh, "h2"}
	case o.Mesh:
		return []string{alpnOne, alpnMesh}
	case two && !bytes:
		return []string{"h2"}
	}
	return nil
}

// socket returns the socket that speaks TLS.
func (o *origination) socket(two, bytes bool) *corev3.TransportSocket {
	common := &tlsv3.CommonTlsContext{AlpnProtocols: o.protocols(two, bytes)}
	switch {
	case o.Certificate != "":
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{build.SecretConfig(o.Certificate)}
	case o.CertFile != "":
		common.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: file(o.CertFile), PrivateKey: file(o.KeyFile)}}
	}
	v := o.validation()
	if proto.Size(v) > 0 || v.SystemRootCerts != nil {
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
	}
	return build.TLSSocket(&tlsv3.UpstreamTlsContext{Sni: o.ServerName, CommonTlsContext: common})
}

// validation says whom a destination must be.
func (o *origination) validation() *tlsv3.CertificateValidationContext {
	v := &tlsv3.CertificateValidationContext{}
	if o.Trusting {
		return v
	}
	switch {
	case o.CA != "":
		v.TrustedCa = build.Data(o.CA)
	case o.CAFile != "":
		v.TrustedCa = file(o.CAFile)
	default:
		v.SystemRootCerts = &tlsv3.CertificateValidationContext_SystemRootCerts{}
	}
	names := o.Names
	if len(names) == 0 && o.ServerName != "" && o.Identity == "" {
		names = []string{o.ServerName}
	}
	sans(v, names)
	if o.Identity != "" {
		v.MatchTypedSubjectAltNames = append(v.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_URI,
			Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: o.Identity}}},
		})
	}
	switch {
	case o.CRL != "":
		v.Crl = file(o.CRL)
	case o.Revoked != "":
		v.Crl = build.Data(o.Revoked)
	}
	return v
}
