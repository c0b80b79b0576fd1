// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/backendtls"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// certificateID is a reference to a certificate.
type certificateID struct {
	from      source.Kind
	namespace string
	secret    source.Key
}

// certificate is what a reference to one leads to.
type certificate struct {
	secret  string // its name in a snapshot
	problem *graph.Problem
}

func secretKey(ref gwapiv1.SecretObjectReference, namespace string) source.Key {
	k := source.Key{Kind: source.Secret, Name: source.Name{Namespace: namespace, Name: string(ref.Name)}}
	if ref.Group != nil {
		k.Group = string(*ref.Group)
	}
	if ref.Kind != nil {
		k.Kind.Kind = string(*ref.Kind)
	}
	if ref.Namespace != nil {
		k.Namespace = string(*ref.Namespace)
	}
	return k
}

// readCertificate checks a reference to a certificate.
func (d *Dialect) readCertificate(c *memo.Ctx, id certificateID) certificate {
	bad := func(reason gwapiv1.ListenerConditionReason, format string, args ...any) certificate {
		return certificate{problem: &graph.Problem{Reason: string(reason), Message: fmt.Sprintf(format, args...)}}
	}
	invalid := gwapiv1.ListenerReasonInvalidCertificateRef
	if id.secret.Kind != source.Secret {
		return bad(invalid, "%s cannot be a certificate: refer to a Secret of type %s", source.A(id.secret.Kind.String()), corev1.SecretTypeTLS)
	}
	if !attach.Granted(c, id.from, id.namespace, id.secret) {
		return bad(gwapiv1.ListenerReasonRefNotPermitted, "%s is in another namespace, and no ReferenceGrant in %s allows %s of %s to refer to it",
			id.secret, id.secret.Namespace, source.A(id.from.Kind), id.namespace)
	}
	if wrong := attach.Certificate(c, id.secret.Name); wrong != "" {
		return bad(invalid, "%s", wrong)
	}
	return certificate{secret: id.secret.Name.String()}
}

// terminate resolves how a listener terminates TLS.
func (d *Dialect) terminate(c *memo.Ctx, g *gateway, l *listener, spec *gwapiv1.ListenerTLSConfig) {
	l.tls = &graph.TLS{}
	if l.protocol == gwapiv1.HTTPSProtocolType {
		l.tls.Protocols = []string{"h2", "http/1.1"}
	}
	if spec == nil || len(spec.CertificateRefs) == 0 {
		l.refs = append(l.refs, graph.Problem{
			Path: l.path + ".tls.certificateRefs", Reason: string(gwapiv1.ListenerReasonInvalidCertificateRef),
			Message: "no certificate to terminate TLS with: refer to a Secret",
		})
		return
	}
	for key := range spec.Options {
		l.refuse(".tls.options", gwapiv1.ListenerReasonUnsupportedValue, "option %s is not known: leave it out", key)
	}
	for i, ref := range spec.CertificateRefs {
		cert := d.certificate.Get(c, certificateID{l.id.parent.Kind, l.id.parent.Namespace, secretKey(ref, l.id.parent.Namespace)})
		if cert.problem != nil {
			p := *cert.problem
			p.Path = fmt.Sprintf("%s.tls.certificateRefs[%d]", l.path, i)
			l.refs = append(l.refs, p)
			continue
		}
		l.tls.Certificates = append(l.tls.Certificates, cert.secret)
	}
	if f := g.spec.TLS; f != nil && f.Frontend != nil {
		verify(c, g, l, f.Frontend)
	}
}

// verify resolves whom a listener takes client certificates from.
func verify(c *memo.Ctx, g *gateway, l *listener, f *gwapiv1.FrontendTLSConfig) {
	path, v := "spec.tls.frontend.default", f.Default.Validation
	for i, p := range f.PerPort {
		if int32(p.Port) == l.port {
			path, v = fmt.Sprintf("spec.tls.frontend.perPort[%d].tls", i), p.TLS.Validation
		}
	}
	if v == nil {
		return
	}
	var pems []string
	for i, ref := range v.CACertificateRefs {
		pem, problem := clientCA(c, g, ref)
		if problem != nil {
			problem.Path = fmt.Sprintf("%s.validation.caCertificateRefs[%d]", path, i)
			l.refs = append(l.refs, *problem)
			continue
		}
		pems = append(pems, pem)
	}
	l.tls.CA, l.tls.Optional = strings.Join(pems, "\n"), v.Mode == gwapiv1.AllowInsecureFallback
	if len(pems) == 0 {
		l.refused = append(l.refused, graph.Problem{
			Path: path + ".validation.caCertificateRefs", Reason: string(gwapiv1.ListenerReasonNoValidCACertificate),
			Message: "no authority to verify clients by can be found, so none is let in",
		})
	}
}

func clientCA(c *memo.Ctx, g *gateway, ref gwapiv1.ObjectReference) (string, *graph.Problem) {
	to := source.Key{Kind: source.Kind{Group: string(ref.Group), Kind: string(ref.Kind)}, Name: source.Name{Namespace: g.name.Namespace, Name: string(ref.Name)}}
	if ref.Namespace != nil {
		to.Namespace = string(*ref.Namespace)
	}
	if !attach.Granted(c, source.Gateway, g.name.Namespace, to) {
		return "", &graph.Problem{
			Reason:  string(gwapiv1.ListenerReasonRefNotPermitted),
			Message: fmt.Sprintf("%s is in another namespace, and no ReferenceGrant in %s allows a Gateway of %s to refer to it", to, to.Namespace, g.name.Namespace),
		}
	}
	pem, problem := backendtls.CA(c, to.Kind, to.Name)
	if problem != nil && problem.Reason == string(gwapiv1.BackendTLSPolicyReasonInvalidKind) {
		problem.Reason = string(gwapiv1.ListenerReasonInvalidCACertificateKind)
	}
	return pem, problem
}
