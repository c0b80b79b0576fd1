// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"fmt"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/backendtls"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// ownTLS is how a Backend says that TLS is spoken.
type ownTLS struct {
	build.UpstreamTLS
	// trusts tells that it says whom to trust.
	trusts bool
}

// The protocols that are offered by ALPN.
const (
	protocolH2 = "h2"
	protocolH1 = "http/1.1"
)

// readTLS reads spec.tls.
func (o *own) readTLS(c *memo.Ctx, key source.Key, s *v1alpha1.BackendTLS) {
	t := &ownTLS{UpstreamTLS: build.UpstreamTLS{ServerName: text(s.SNI), Protocols: s.ALPNProtocols, Ciphers: s.Ciphers, Curves: s.ECDHCurves}}
	o.tls = t
	t.SkipVerify = s.InsecureSkipVerify != nil && *s.InsecureSkipVerify
	t.HostNames = s.AutoSNIFromEndpointHostname != nil && *s.AutoSNIFromEndpointHostname
	var authorities []string
	for i, ref := range s.CACertificateRefs {
		at := source.Name{Namespace: key.Namespace, Name: string(ref.Name)}
		pem, problem := backendtls.AnyCA(c, source.Kind{Group: string(ref.Group), Kind: string(ref.Kind)}, at)
		if problem != nil {
			o.bad(fmt.Sprintf("spec.tls.caCertificateRefs[%d]", i), "%s", problem.Message)
			continue
		}
		authorities = append(authorities, pem)
	}
	t.CA = strings.Join(authorities, "\n")
	switch wellKnown := text(s.WellKnownCACertificates); {
	case wellKnown != "" && wellKnown != string(gwapiv1.WellKnownCACertificatesSystem):
		o.bad("spec.tls.wellKnownCACertificates", "is %q: there is %s", wellKnown, gwapiv1.WellKnownCACertificatesSystem)
	case wellKnown != "" && len(s.CACertificateRefs) > 0:
		o.bad("spec.tls", "has both caCertificateRefs and wellKnownCACertificates: choose one")
	default:
		t.trusts = t.SkipVerify || wellKnown != "" || t.CA != ""
	}
	if t.ServerName != "" && t.HostNames {
		o.bad("spec.tls.autoSNIFromEndpointHostname", "and sni exclude each other: choose one")
	}
	if s.ClientCertificateRef != nil {
		t.Certificate = o.certificate(c, key, *s.ClientCertificateRef)
	}
	t.MinVersion, t.MaxVersion = o.version("minVersion", s.MinVersion), o.version("maxVersion", s.MaxVersion)
	if t.MinVersion != 0 && t.MaxVersion != 0 && t.MinVersion > t.MaxVersion {
		o.bad("spec.tls.minVersion", "is above maxVersion: no version is left")
	}
	for _, p := range build.BadCiphers(s.Ciphers, s.ECDHCurves) {
		o.bad("spec.tls."+p.Path, "%s", p.Message)
	}
	for i, p := range s.ALPNProtocols {
		if p != protocolH2 && p != protocolH1 {
			o.bad(fmt.Sprintf("spec.tls.alpnProtocols[%d]", i), "is %q: there are %s and %s", p, protocolH2, protocolH1)
		}
	}
}

func (o *own) version(field string, v *string) tlsv3.TlsParameters_TlsProtocol {
	out, ok := build.TLSVersion(text(v))
	if !ok {
		o.bad("spec.tls."+field, "is %q: there are %s", *v, build.TLSVersions)
	}
	return out
}

// certificate returns the name of the secret with which the backend is told who we are.
func (o *own) certificate(c *memo.Ctx, key source.Key, ref gwapiv1.SecretObjectReference) string {
	const path = "spec.tls.clientCertificateRef"
	to := source.Key{Kind: source.Secret, Name: source.Name{Namespace: key.Namespace, Name: string(ref.Name)}}
	if ref.Group != nil {
		to.Group = string(*ref.Group)
	}
	if ref.Kind != nil {
		to.Kind.Kind = string(*ref.Kind)
	}
	if ref.Namespace != nil {
		to.Namespace = string(*ref.Namespace)
	}
	switch wrong := ""; {
	case to.Kind != source.Secret:
		o.bad(path, "%s cannot be a certificate: refer to a Secret", source.A(to.Kind.String()))
	case !attach.Granted(c, key.Kind, key.Namespace, to):
		o.bad(path, "%s is in another namespace, and no ReferenceGrant there allows %s of %s to refer to it", to, source.A(key.Kind.Kind), key.Namespace)
	default:
		if wrong = attach.Certificate(c, to.Name); wrong == "" {
			return to.Name.String()
		}
		o.bad(path, "%s", wrong)
	}
	return ""
}

// tlsOf returns how a backend is spoken to in TLS, nil for cleartext, or why it is not
// spoken to at all. Of a BackendTLSPolicy and the Backend's own word, the policy's wins
// where both say whom to trust and what to ask for.
func (b *Backends) tlsOf(c *memo.Ctx, key source.Key, p port) (*build.UpstreamTLS, *graph.Problem) {
	refuse := func(reason gwapiv1.RouteConditionReason, format string, args ...any) (*build.UpstreamTLS, *graph.Problem) {
		return nil, &graph.Problem{Reason: string(reason), Message: fmt.Sprintf(format, args...)}
	}
	policy, o := b.opts.TLS.For(c, key, p.name), b.ownOf(c, key)
	if policy != nil && !policy.Valid {
		return refuse(gwapiv1.RouteReasonUnsupportedValue, "BackendTLSPolicy %s of %s trusts nobody that can be found, so it is not spoken to: see its status", policy.Name, key)
	}
	switch {
	case o != nil && o.tls != nil:
		out := o.tls.UpstreamTLS
		if policy != nil {
			out.CA, out.ServerName, out.Hostnames, out.URIs = policy.TLS.CA, policy.TLS.ServerName, policy.TLS.Hostnames, policy.TLS.URIs
		} else if !o.tls.trusts {
			return refuse(gwapiv1.RouteReasonUnsupportedValue,
				"%s says in spec.tls not whom to trust: name caCertificateRefs, set wellKnownCACertificates to System, or make a BackendTLSPolicy for it", key)
		}
		return &out, nil
	case policy != nil:
		out := policy.TLS
		return &out, nil
	}
	if app := strings.ToLower(p.app); app == "https" || app == "kubernetes.io/wss" || app == "tls" {
		return refuse(gwapiv1.RouteReasonUnsupportedProtocol, "the port of %s speaks TLS (appProtocol %s), but no BackendTLSPolicy says whom to trust: make one for it", key, p.app)
	}
	return nil, nil
}

// secure has a cluster spoken to as tls says; two is that it speaks HTTP/2 anyway.
func protocolOf(tls *build.UpstreamTLS, two bool) build.Protocol {
	p := build.Protocol{Two: two}
	if tls == nil {
		return p
	}
	if offers := slices.Contains(tls.Protocols, protocolH2); offers && !two {
		p.Negotiated = slices.Contains(tls.Protocols, protocolH1)
		p.Two = !p.Negotiated
	}
	p.RequestNames = tls.ServerName == "" && !tls.HostNames
	p.Verify = p.RequestNames && !tls.SkipVerify
	return p
}
