// SPDX-License-Identifier: Apache-2.0

// Package backendtls reads BackendTLSPolicy: how proxies speak TLS to the backends
// of a Service, and whom they trust there.
//
// A policy that names a port of the Service wins over one that does not; of two that
// say the same, the older wins and the other is Conflicted. Backends whose policy is
// not valid are not spoken to at all.
package backendtls

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Policies reads the policies of a View.
type Policies struct {
	byTarget *source.Index
	policy   *memo.Func[source.Name, *Policy]
	winner   *memo.Func[target, source.Name]
}

// target is what a policy is attached to: a Service or alike, or one port of it.
type target struct {
	of   source.Key
	port string
}

// A Policy is what one object says.
type Policy struct {
	Name source.Name
	// TLS is how to speak to the backends; its Certificate is left to the gateway.
	TLS build.UpstreamTLS
	// Refs are the references that lead nowhere. Without any that does not, the policy is
	// not Valid.
	Refs []graph.Problem
	// Refused are reasons not to take the policy.
	Refused []graph.Problem
	Valid   bool
}

// New returns Policies. Views that are read must have its Index.
func New() *Policies {
	p := &Policies{byTarget: &source.Index{Kind: source.BackendTLSPolicy, Keys: targetsOf}}
	p.policy = memo.NewFunc(read, func(a, b *Policy) bool {
		return a == b || a != nil && b != nil && fmt.Sprint(*a) == fmt.Sprint(*b)
	})
	p.winner = memo.NewFunc(p.choose, memo.Equal[source.Name])
	return p
}

// Index finds the policies of a Service.
func (p *Policies) Index() *source.Index { return p.byTarget }

// For returns the policy of a port of a Service, ServiceImport or Backend, or nil.
func (p *Policies) For(c *memo.Ctx, of source.Key, port string) *Policy {
	for _, section := range slices.Compact([]string{port, ""}) {
		if name := p.winner.Get(c, target{of, section}); name != (source.Name{}) {
			return p.policy.Get(c, name)
		}
	}
	return nil
}

// Get returns what a policy says, or nil if there is none.
func (p *Policies) Get(c *memo.Ctx, name source.Name) *Policy { return p.policy.Get(c, name) }

// Conflict returns the policy that took one of a policy's targets first.
func (p *Policies) Conflict(c *memo.Ctx, o *gwapiv1.BackendTLSPolicy) (winner source.Name, path string, ok bool) {
	for i, ref := range o.Spec.TargetRefs {
		t := target{keyOf(ref, o.Namespace), string(deref(ref.SectionName))}
		if w := p.winner.Get(c, t); w != source.NameOf(o) && w != (source.Name{}) {
			return w, fmt.Sprintf("spec.targetRefs[%d]", i), true
		}
	}
	return source.Name{}, "", false
}

func targetsOf(o source.Object) []source.Name {
	var out []source.Name
	for _, ref := range o.(*gwapiv1.BackendTLSPolicy).Spec.TargetRefs {
		if n := (source.Name{Namespace: o.GetNamespace(), Name: string(ref.Name)}); !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func keyOf(ref gwapiv1.LocalPolicyTargetReferenceWithSectionName, namespace string) source.Key {
	return source.Key{
		Kind: source.Kind{Group: string(ref.Group), Kind: string(ref.Kind)},
		Name: source.Name{Namespace: namespace, Name: string(ref.Name)},
	}
}

// choose returns the policy that a target has.
func (p *Policies) choose(c *memo.Ctx, t target) source.Name {
	var best *gwapiv1.BackendTLSPolicy
	for _, o := range source.Find[*gwapiv1.BackendTLSPolicy](c, p.byTarget, t.of.Name) {
		aims := slices.ContainsFunc(o.Spec.TargetRefs, func(ref gwapiv1.LocalPolicyTargetReferenceWithSectionName) bool {
			return keyOf(ref, o.Namespace) == t.of && string(deref(ref.SectionName)) == t.port
		})
		if aims && (best == nil || attach.Older(o, best) < 0) {
			best = o
		}
	}
	if best == nil {
		return source.Name{}
	}
	return source.NameOf(best)
}

// read translates one policy.
func read(c *memo.Ctx, name source.Name) *Policy {
	o, ok := source.Get[*gwapiv1.BackendTLSPolicy](c, source.BackendTLSPolicy, name)
	if !ok {
		return nil
	}
	p := Read(c, name.Namespace, "spec.validation", &o.Spec.Validation)
	p.Name = name
	for key := range o.Spec.Options {
		p.Valid = false
		p.Refused = append(p.Refused, graph.Problem{
			Path: "spec.options", Reason: string(gwapiv1.PolicyReasonInvalid),
			Message: fmt.Sprintf("option %s is not known, so the backends are not spoken to: leave it out", key),
		})
	}
	return p
}

// Read reads whom to trust, and whom to ask for, from objects of a namespace.
func Read(c *memo.Ctx, namespace, path string, v *gwapiv1.BackendTLSPolicyValidation) *Policy {
	p := &Policy{TLS: build.UpstreamTLS{ServerName: string(v.Hostname)}}
	for _, san := range v.SubjectAltNames {
		if san.Type == gwapiv1.URISubjectAltNameType {
			p.TLS.URIs = append(p.TLS.URIs, string(san.URI))
		} else {
			p.TLS.Hostnames = append(p.TLS.Hostnames, string(san.Hostname))
		}
	}
	var certificates []string
	for i, ref := range v.CACertificateRefs {
		pem, problem := CA(c, source.Kind{Group: string(ref.Group), Kind: string(ref.Kind)}, source.Name{Namespace: namespace, Name: string(ref.Name)})
		if problem != nil {
			problem.Path = fmt.Sprintf("%s.caCertificateRefs[%d]", path, i)
			p.Refs = append(p.Refs, *problem)
			continue
		}
		certificates = append(certificates, pem)
	}
	p.TLS.CA = strings.Join(certificates, "\n")
	wellKnown := v.WellKnownCACertificates != nil && *v.WellKnownCACertificates == gwapiv1.WellKnownCACertificatesSystem
	p.Valid = len(certificates) > 0 || wellKnown && len(v.CACertificateRefs) == 0
	if !p.Valid && len(p.Refs) == 0 {
		p.Refs = append(p.Refs, graph.Problem{
			Path: path, Reason: string(gwapiv1.BackendTLSPolicyReasonInvalidCACertificateRef),
			Message: "nobody is trusted: name caCertificateRefs, or set wellKnownCACertificates to System",
		})
	}
	return p
}

// caKey is where a ConfigMap or Secret has certificates of authorities.
const caKey = "ca.crt"

// CA returns the certificates of authorities in PEM that a ConfigMap or Secret has, as the
// Gateway API defines it: those of ConfigMaps are in ca.crt, and in no other key. The
// problem's path is left to the caller.
func CA(c *memo.Ctx, kind source.Kind, name source.Name) (pem string, problem *graph.Problem) {
	return authorities(c, kind, name, kind == source.Secret)
}

// AnyCA is CA for objects that are not the Gateway API's: as in Envoy Gateway, an object
// without ca.crt may have them in tls.crt, or in its only key.
func AnyCA(c *memo.Ctx, kind source.Kind, name source.Name) (pem string, problem *graph.Problem) {
	return authorities(c, kind, name, true)
}

func authorities(c *memo.Ctx, kind source.Kind, name source.Name, others bool) (pem string, problem *graph.Problem) {
	var data map[string][]byte
	found := false
	switch kind {
	case source.ConfigMap:
		var m *corev1.ConfigMap
		if m, found = source.Get[*corev1.ConfigMap](c, kind, name); found {
			data = attach.DataOf(m)
		}
	case source.Secret:
		var s *corev1.Secret
		if s, found = source.Get[*corev1.Secret](c, kind, name); found {
			data = s.Data
		}
	default:
		return "", &graph.Problem{
			Reason:  string(gwapiv1.BackendTLSPolicyReasonInvalidKind),
			Message: fmt.Sprintf("%s cannot hold certificates of authorities: refer to a ConfigMap or Secret with the key %s", source.A(kind.String()), caKey),
		}
	}
	in, without := caKey, ""
	_, has := data[caKey]
	if others {
		in, has = attach.KeyOf(data, caKey, corev1.TLSCertKey)
		without = fmt.Sprintf(" or %s, and no other alone", corev1.TLSCertKey)
	}
	key := source.Key{Kind: kind, Name: name}
	pem = string(data[in])
	switch {
	case !found:
		problem = &graph.Problem{Message: fmt.Sprintf("there is no %s", key)}
	case !has:
		problem = &graph.Problem{Message: fmt.Sprintf("%s has no key %s%s: certificates of authorities are expected there", key, caKey, without)}
	case !attach.HasCertificate(pem):
		problem = &graph.Problem{Message: fmt.Sprintf("the key %s of %s holds no certificate in PEM", in, key)}
	default:
		return pem, nil
	}
	problem.Reason = string(gwapiv1.BackendTLSPolicyReasonInvalidCACertificateRef)
	return "", problem
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
