// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// tlsContext is a TLSContext of an install.
type tlsContext struct {
	id    id
	name  string
	hosts []string
	// secret is what it names, zero if it names none.
	secret source.Name
	spec   emissaryv3.TLS
	// problems make it unusable; notes do not.
	problems, notes []graph.Problem
}

// readContexts reads the TLSContexts of an install.
func (d *Dialect) readContexts(c *memo.Ctx, name string) []*tlsContext {
	in := d.install.Get(c, name)
	var out []*tlsContext
	for _, i := range d.list(c, source.EmissaryTLSContext) {
		o, ok := get[*emissaryv3.TLSContext](d, c, i)
		if !ok || !isFor(idsOf(o.Spec.AmbassadorID), name) {
			continue
		}
		out = append(out, newContext(c, in, i, i.Name.Name, &o.Spec))
	}
	if s := in.tls.context(); s != nil {
		t := newContext(c, in, in.tlsID, tlsModuleContext, s)
		t.problems, t.notes = inModule(t.problems), inModule(t.notes)
		out = append(out, t)
	}
	return out
}

// newContext reads a TLSContext called name, which an object says.
func newContext(c *memo.Ctx, in *install, i id, name string, s *emissaryv3.TLSContextSpec) *tlsContext {
	t := &tlsContext{id: i, name: name, hosts: s.Hosts, spec: s.TLS}
	spaced := in.config.Defaults.TLSSecretNamespacing == nil || *in.config.Defaults.TLSSecretNamespacing
	if s.SecretNamespacing != nil {
		spaced = *s.SecretNamespacing
	}
	if s.Secret != "" {
		t.secret = secretName(s.Secret, i.Namespace, spaced)
		if wrong := attach.Certificate(c, t.secret); wrong != "" {
			t.problems = append(t.problems, graph.Problemf("spec.secret", reasonNotFound, "%s", wrong))
		}
	}
	bad, notes := checkTLS(c, "spec", &t.spec, i.Namespace)
	t.problems, t.notes = append(t.problems, bad...), notes
	return t
}

// secretName reads "name", or "name.namespace" if names have their namespaces.
func secretName(text, namespace string, spaced bool) source.Name {
	if i := strings.LastIndexByte(text, '.'); spaced && i > 0 && i < len(text)-1 {
		return source.Name{Namespace: text[i+1:], Name: text[:i]}
	}
	return source.Name{Namespace: namespace, Name: text}
}

// versions are those of TLS, by Emissary's words.
func versions() map[string]tlsv3.TlsParameters_TlsProtocol {
	return map[string]tlsv3.TlsParameters_TlsProtocol{
		"": tlsv3.TlsParameters_TLS_AUTO, "v1.0": tlsv3.TlsParameters_TLSv1_0, "v1.1": tlsv3.TlsParameters_TLSv1_1,
		"v1.2": tlsv3.TlsParameters_TLSv1_2, "v1.3": tlsv3.TlsParameters_TLSv1_3,
	}
}

// checkTLS finds what is wrong with how TLS is spoken: what makes it unusable, and
// what has no effect.
func checkTLS(c *memo.Ctx, path string, t *emissaryv3.TLS, namespace string) (bad, notes []graph.Problem) {
	for field, v := range map[string]string{"min_tls_version": t.MinTLSVersion, "max_tls_version": t.MaxTLSVersion} {
		if _, ok := versions()[v]; !ok {
			bad = append(bad, graph.Problemf(path+"."+field, reasonInvalid, "%q is not a version of TLS: there are v1.0, v1.1, v1.2 and v1.3", v))
		}
	}
	for _, p := range build.BadCiphers(t.CipherSuites, t.ECDHCurves) {
		field := strings.NewReplacer("ecdhCurves", "ecdh_curves", "ciphers", "cipher_suites").Replace(p.Path)
		bad = append(bad, graph.Problemf(path+"."+field, reasonInvalid, "%s", p.Message))
	}
	for _, name := range protocolsOf(t.ALPNProtocols) {
		if len(name) > 255 { // RFC 7301 §3.1
			bad = append(bad, graph.Problemf(path+".alpn_protocols", reasonInvalid, "%.20q and so on has %d bytes: 255 are possible", name, len(name)))
		}
	}
	if t.MinTLSVersion != "" && t.MaxTLSVersion != "" && t.MinTLSVersion > t.MaxTLSVersion {
		bad = append(bad, graph.Problemf(path+".min_tls_version", reasonInvalid, "%s is above max_tls_version, %s: no client can come", t.MinTLSVersion, t.MaxTLSVersion))
	}
	for field, v := range map[string]string{
		"cert_chain_file": t.CertChainFile, "private_key_file": t.PrivateKeyFile, "cacert_chain_file": t.CACertChainFile,
	} {
		if v != "" {
			bad = append(bad, graph.Problemf(path+"."+field, reasonUnsupported, "files of the proxy are not read: put it into a Secret"))
		}
	}
	if t.CRLSecret != "" {
		if _, wrong := revoked(c, secretName(t.CRLSecret, namespace, true)); wrong != "" {
			bad = append(bad, graph.Problemf(path+".crl_secret", reasonNotFound, "%s", wrong))
		}
		if t.CASecret == "" {
			bad = append(bad, graph.Problemf(path+".crl_secret", reasonInvalid, "there is no ca_secret, and so nobody whose certificate would be looked up: name it"))
		}
	}
	if t.CASecret != "" {
		if _, wrong := authority(c, secretName(t.CASecret, namespace, true)); wrong != "" {
			bad = append(bad, graph.Problemf(path+".ca_secret", reasonNotFound, "%s", wrong))
		}
	}
	if t.RedirectCleartextFrom != nil {
		notes = append(notes, graph.Problemf(path+".redirect_cleartext_from", reasonUnsupported, "has no effect, as in Emissary 3: make a Host whose requestPolicy redirects, and a Listener of that port"))
	}
	slices.SortFunc(bad, func(a, b graph.Problem) int { return strings.Compare(a.Path, b.Path) })
	return bad, notes
}

// authority returns the certificates by which others are verified.
func authority(c *memo.Ctx, name source.Name) (pem, wrong string) {
	s, ok := source.Get[*corev1.Secret](c, source.Secret, name)
	if !ok {
		return "", fmt.Sprintf("there is no Secret %s", name)
	}
	for _, key := range []string{corev1.TLSCertKey, "ca.crt"} {
		data := string(s.Data[key])
		switch {
		case data == "":
		case !attach.HasCertificate(data):
			return "", fmt.Sprintf("the key %s of Secret %s holds no certificate in PEM", key, name)
		default:
			return data, ""
		}
	}
	return "", fmt.Sprintf("Secret %s lacks %s with the authority's certificates", name, corev1.TLSCertKey)
}

// revoked returns the list of certificates that are not valid any more.
func revoked(c *memo.Ctx, name source.Name) (pem, wrong string) {
	const key = "crl.pem"
	s, ok := source.Get[*corev1.Secret](c, source.Secret, name)
	if !ok {
		return "", fmt.Sprintf("there is no Secret %s", name)
	}
	if len(s.Data[key]) == 0 {
		return "", fmt.Sprintf("Secret %s lacks %s with the list of revoked certificates", name, key)
	}
	if why := attach.BadRevocations(c, string(s.Data[key])); why != "" {
		return "", fmt.Sprintf("the key %s of Secret %s %s", key, name, why)
	}
	return string(s.Data[key]), ""
}

// terminated is how a host terminates TLS. The settings have been checked.
func terminated(c *memo.Ctx, secret source.Name, t *emissaryv3.TLS, namespace string) *graph.TLS {
	out := &graph.TLS{Certificates: []string{secret.String()}, Protocols: protocolsOf(t.ALPNProtocols, "h2", "http/1.1")}
	if p := parameters(t); p != nil {
		out.Overlay.Message = &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsParams: p}}
	}
	if t.CASecret == "" {
		return out
	}
	name := secretName(t.CASecret, namespace, true)
	out.CA, _ = authority(c, name) // It was checked.
	if t.CRLSecret != "" {
		list, _ := revoked(c, secretName(t.CRLSecret, namespace, true)) // It was checked.
		out.Overlay = attach.Merge(out.Overlay, graph.Overlay{Message: &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
			ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{Crl: build.Data(list)}},
		}}})
	}
	required := is(t.CertRequired)
	if s, ok := source.Get[*corev1.Secret](c, source.Secret, name); ok && t.CertRequired == nil {
		required = strings.EqualFold(string(s.Data["cert_required"]), "true")
	}
	if !required {
		// Who shows a certificate is verified; who shows none is let in.
		out.Overlay = attach.Merge(out.Overlay, graph.Overlay{Message: &tlsv3.DownstreamTlsContext{}, Also: []string{"require_client_certificate"}})
	}
	return out
}

func protocolsOf(text string, defaults ...string) []string {
	var out []string
	for _, p := range strings.Split(text, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return defaults
	}
	return out
}

// parameters are versions, ciphers and curves; nil if nothing is said of them.
func parameters(t *emissaryv3.TLS) *tlsv3.TlsParameters {
	out := &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: versions()[t.MinTLSVersion], TlsMaximumProtocolVersion: versions()[t.MaxTLSVersion],
		CipherSuites: t.CipherSuites, EcdhCurves: t.ECDHCurves,
	}
	if proto.Size(out) == 0 {
		return nil
	}
	return out
}

// origination is how TLS is begun to a service. Nobody is verified without CA.
type origination struct {
	ServerName  string         `json:",omitempty"`
	Certificate string         `json:",omitempty"` // name of a secret
	CA          string         `json:",omitempty"`
	CRL         string         `json:",omitempty"`
	Spec        emissaryv3.TLS `json:",omitempty"`
}

// socket returns the socket that speaks TLS.
func (o *origination) socket(grpc bool) *corev3.TransportSocket {
	common := &tlsv3.CommonTlsContext{TlsParams: parameters(&o.Spec), AlpnProtocols: protocolsOf(o.Spec.ALPNProtocols)}
	if grpc && len(common.AlpnProtocols) == 0 {
		common.AlpnProtocols = []string{"h2"}
	}
	if o.Certificate != "" {
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{build.SecretConfig(o.Certificate)}
	}
	if o.CA != "" {
		v := &tlsv3.CertificateValidationContext{TrustedCa: build.Data(o.CA)}
		if o.CRL != "" {
			v.Crl = build.Data(o.CRL)
		}
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
	}
	return build.TLSSocket(&tlsv3.UpstreamTlsContext{Sni: o.ServerName, CommonTlsContext: common})
}

// originate returns how TLS is begun to a service, by the TLSContext called name, which
// may be empty.
func (d *Dialect) originate(c *memo.Ctx, install, name, host string) (*origination, *graph.Problem) {
	out := &origination{}
	if !isAddress(host) {
		out.ServerName = host
	}
	if name == "" {
		return out, nil
	}
	all := d.contexts.Get(c, install)
	i := slices.IndexFunc(all, func(t *tlsContext) bool { return t.name == name })
	if i < 0 {
		p := graph.Problemf("spec.tls", reasonNotFound, "there is no TLSContext %s of this install", name)
		return nil, &p
	}
	t := all[i]
	if len(t.problems) > 0 {
		p := graph.Problemf("spec.tls", reasonInvalid, "%s cannot be used: %s", t.id, t.problems[0].Message)
		return nil, &p
	}
	if t.spec.SNI != "" {
		out.ServerName = t.spec.SNI
	}
	if t.secret != (source.Name{}) {
		out.Certificate = t.secret.String()
	}
	if t.spec.CASecret != "" {
		out.CA, _ = authority(c, secretName(t.spec.CASecret, t.id.Namespace, true))
	}
	if t.spec.CRLSecret != "" {
		out.CRL, _ = revoked(c, secretName(t.spec.CRLSecret, t.id.Namespace, true))
	}
	out.Spec = t.spec
	out.Spec.SNI, out.Spec.CASecret, out.Spec.CRLSecret = "", "", ""
	return out, nil
}

// sameCertificate reports whether two Secrets hold the same certificate and key.
func sameCertificate(c *memo.Ctx, a, b source.Name) bool {
	x, ok1 := source.Get[*corev1.Secret](c, source.Secret, a)
	y, ok2 := source.Get[*corev1.Secret](c, source.Secret, b)
	return ok1 && ok2 && string(x.Data[corev1.TLSCertKey]) == string(y.Data[corev1.TLSCertKey]) &&
		string(x.Data[corev1.TLSPrivateKeyKey]) == string(y.Data[corev1.TLSPrivateKeyKey])
}
