// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// tls says how TLS is terminated.
func (x *clientReader) tls(c *memo.Ctx, namespace string, t *api.ClientTLS, to *tlsv3.DownstreamTlsContext) {
	common := to.CommonTlsContext
	params := &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: x.version("tls.minVersion", t.MinVersion), TlsMaximumProtocolVersion: x.version("tls.maxVersion", t.MaxVersion),
		CipherSuites: t.Ciphers, EcdhCurves: t.ECDHCurves,
	}
	if low, high := params.TlsMinimumProtocolVersion, params.TlsMaximumProtocolVersion; low != 0 && high != 0 && low > high {
		x.Bad("tls.minVersion", "is above maxVersion")
	}
	for _, p := range build.BadCiphers(t.Ciphers, t.ECDHCurves) {
		x.Bad("tls."+p.Path, "%s", p.Message)
	}
	x.Unsupported("tls.signatureAlgorithms", t.SignatureAlgorithms, "they cannot be chosen: all are on")
	if proto.Size(params) > 0 {
		common.TlsParams = params
	}
	for i, name := range t.ALPNProtocols {
		if name == "" || len(name) > 255 { // RFC 7301 §3.1
			x.Bad(fmt.Sprintf("tls.alpnProtocols[%d]", i), "has %d bytes: from 1 to 255 are possible", len(name))
		}
	}
	common.AlpnProtocols = t.ALPNProtocols
	if len(t.Fingerprints) > 0 {
		f := &tlsinspectorv3.TlsInspector{}
		for i, name := range t.Fingerprints {
			switch name {
			case "JA3":
				f.EnableJa3Fingerprinting = wrapperspb.Bool(true)
			case "JA4":
				f.EnableJa4Fingerprinting = wrapperspb.Bool(true)
			default:
				x.Bad(fmt.Sprintf("tls.fingerprints[%d]", i), "is %q: there are JA3 and JA4", name)
			}
		}
		x.Listener[build.Inspector] = f
	}
	if s := t.Session; s != nil {
		r := s.Resumption
		if r == nil || r.Stateless == nil {
			to.SessionTicketKeysType = &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{DisableStatelessSessionResumption: true}
		}
		to.DisableStatefulSessionResumption = r == nil || r.Stateful == nil
	}
	if v := t.ClientValidation; v != nil {
		x.restricts = true
		x.validation(c, namespace, v, to)
	}
}

func (x *clientReader) version(path string, v *string) tlsv3.TlsParameters_TlsProtocol {
	out, ok := build.TLSVersion(ptr.Deref(v, ""))
	if !ok {
		x.Bad(path, "is %q: there are %s", *v, build.TLSVersions)
	}
	return out
}

// validation says which certificates of clients are taken.
func (x *clientReader) validation(c *memo.Ctx, namespace string, v *api.ClientValidation, to *tlsv3.DownstreamTlsContext) {
	const at = "tls.clientValidation"
	out := &tlsv3.CertificateValidationContext{AllowExpiredCertificate: ptr.Deref(v.AllowExpiredCertificate, false), VerifyCertificateSpki: v.SPKIHashes, VerifyCertificateHash: v.CertificateHashes}
	mode := "RequireAndVerify"
	if v.Optional {
		mode = "VerifyIfGiven"
	}
	mode = ptr.Deref(v.Mode, mode)
	switch mode {
	case "RequireAndVerify", "VerifyIfGiven":
		if len(v.CACertificateRefs) == 0 && len(v.SPKIHashes)+len(v.CertificateHashes) == 0 {
			x.Bad(at+".caCertificateRefs", "is empty: name the authorities that clients' certificates are signed by")
		}
	case "Request", "RequireAny":
		out.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	default:
		x.Bad(at+".mode", "is %q: there are Request, RequireAny, VerifyIfGiven and RequireAndVerify", mode)
	}
	to.RequireClientCertificate = wrapperspb.Bool(strings.HasPrefix(mode, "Require"))
	var all []string
	for i, ref := range v.CACertificateRefs {
		path := fmt.Sprintf("%s.caCertificateRefs[%d]", at, i)
		if key, ok := x.granted(c, path, namespace, ref); ok {
			text, in := x.held(c, path, key, caKey)
			if why := attach.BadAuthorities(c, text); in != "" && why != "" {
				x.Bad(path, "the key %s of %s %s", in, key, why)
			}
			all = append(all, strings.TrimSpace(text)+"\n")
		}
	}
	if len(all) > 0 {
		out.TrustedCa = build.Data(strings.Join(all, ""))
	}
	for i, h := range v.SPKIHashes {
		if sum, err := base64.StdEncoding.DecodeString(h); err != nil || len(sum) != 32 {
			x.Bad(fmt.Sprintf("%s.spkiHashes[%d]", at, i), "is not a SHA-256 in base64")
		}
	}
	for i, h := range v.CertificateHashes {
		if sum, err := hex.DecodeString(strings.ReplaceAll(h, ":", "")); err != nil || len(sum) != 32 {
			x.Bad(fmt.Sprintf("%s.certificateHashes[%d]", at, i), "is not a SHA-256 in hexadecimal")
		}
	}
	x.names(v.SubjectAltNames, out)
	if v.CRL != nil {
		x.revoked(c, namespace, v.CRL, out)
	}
	to.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: out}
}

// names are those of which certificates have one.
func (x *clientReader) names(n *api.SubjectAltNames, to *tlsv3.CertificateValidationContext) {
	if n == nil {
		return
	}
	const at = "tls.clientValidation.subjectAltNames."
	add := func(path string, kind tlsv3.SubjectAltNameMatcher_SanType, oid string, m api.StringMatch) {
		if match := stringMatch(&x.Sheet, path, m); match != nil {
			to.MatchTypedSubjectAltNames = append(to.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{SanType: kind, Matcher: match, Oid: oid})
		}
	}
	for _, list := range []struct {
		field string
		kind  tlsv3.SubjectAltNameMatcher_SanType
		names []api.StringMatch
	}{
		{"dnsNames", tlsv3.SubjectAltNameMatcher_DNS, n.DNSNames}, {"emailAddresses", tlsv3.SubjectAltNameMatcher_EMAIL, n.EmailAddresses},
		{"ipAddresses", tlsv3.SubjectAltNameMatcher_IP_ADDRESS, n.IPAddresses}, {"uris", tlsv3.SubjectAltNameMatcher_URI, n.URIs},
	} {
		for i, m := range list.names {
			add(fmt.Sprintf("%s%s[%d]", at, list.field, i), list.kind, "", m)
		}
	}
	for i, o := range n.OtherNames {
		if o.OID == "" {
			x.Bad(fmt.Sprintf("%sotherNames[%d].oid", at, i), "is required")
		}
		add(fmt.Sprintf("%sotherNames[%d]", at, i), tlsv3.SubjectAltNameMatcher_OTHER_NAME, o.OID, api.StringMatch{Type: o.Type, Value: o.Value})
	}
}

// Where a Secret or ConfigMap has authorities, and lists of what is revoked.
const (
	caKey  = "ca.crt"
	crlKey = "ca.crl"
)

// held returns what an object has under a key, or under its only one, and which that is.
func (x *clientReader) held(c *memo.Ctx, at string, key source.Key, name string) (text, in string) {
	data, ok := heldBy(c, &x.Sheet, at, key.Namespace, gwapiv1.LocalObjectReference{Group: gwapiv1.Group(key.Group), Kind: gwapiv1.Kind(key.Kind.Kind), Name: gwapiv1.ObjectName(key.Name.Name)})
	if !ok {
		return "", ""
	}
	in, ok = attach.KeyOf(data, name)
	if !ok {
		x.Bad(at, "%s has no key %s, and no other alone", key, name)
	}
	return string(data[in]), in
}

func (x *clientReader) revoked(c *memo.Ctx, namespace string, l *api.CRL, to *tlsv3.CertificateValidationContext) {
	const at = "tls.clientValidation.crl.refs"
	if len(l.Refs) == 0 {
		x.Bad(at, "is empty: name the Secrets that have the lists")
	}
	var all []string
	for i, ref := range l.Refs {
		path := fmt.Sprintf("%s[%d]", at, i)
		key, ok := x.granted(c, path, namespace, ref)
		if !ok {
			continue
		}
		text, in := x.held(c, path, key, crlKey)
		if why := attach.BadRevocations(c, text); in != "" && why != "" {
			x.Bad(path, "the key %s of %s %s", in, key, why)
		}
		all = append(all, strings.TrimSpace(text)+"\n")
	}
	if len(all) > 0 {
		to.Crl = build.Data(strings.Join(all, ""))
	}
	to.OnlyVerifyLeafCertCrl = ptr.Deref(l.OnlyVerifyLeafCertificate, false)
}

// granted returns what a policy refers to, if it may.
func (x *clientReader) granted(c *memo.Ctx, at, namespace string, ref gwapiv1.SecretObjectReference) (source.Key, bool) {
	key := source.Key{
		Kind: source.Kind{Group: string(ptr.Deref(ref.Group, "")), Kind: string(ptr.Deref(ref.Kind, "Secret"))},
		Name: source.Name{Namespace: string(ptr.Deref(ref.Namespace, gwapiv1.Namespace(namespace))), Name: string(ref.Name)},
	}
	if !attach.Granted(c, source.ClientTrafficPolicy, namespace, key) {
		x.Bad(at, "%s is in another namespace, and no ReferenceGrant in %s allows a ClientTrafficPolicy of %s to refer to it", key, key.Namespace, namespace)
		return key, false
	}
	return key, true
}
