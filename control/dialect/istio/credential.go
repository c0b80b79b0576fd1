// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// credential returns where a Secret is: in the first of the namespaces that has it or, if none does, where Istio's gateways run.
// Without any it is to be in the first. A name with a namespace is looked for there alone, if that is one of these: others'
// Secrets are not for the taking.
func credential(c *memo.Ctx, name string, namespaces ...string) source.Name {
	all := append(slices.Clone(namespaces), rootNamespace)
	name = strings.TrimPrefix(name, "kubernetes://")
	if ns, own, ok := strings.Cut(name, "/"); ok && slices.Contains(all, ns) {
		return source.Name{Namespace: ns, Name: own}
	}
	for _, ns := range all {
		at := source.Name{Namespace: ns, Name: name}
		if _, ok := source.Get[*corev1.Secret](c, source.Secret, at); ok {
			return at
		}
	}
	return source.Name{Namespace: namespaces[0], Name: name}
}

// authority is by whom others are verified, in PEM, and which certificates of them are revoked.
type authority struct{ pem, crl string }

// authorityOf reads the authority that a Secret holds, if it does: under the names of a Secret of type
// kubernetes.io/tls, or of a generic one.
func authorityOf(c *memo.Ctx, name source.Name) authority {
	s, ok := source.Get[*corev1.Secret](c, source.Secret, name)
	if !ok {
		return authority{}
	}
	one := func(names ...string) string {
		for _, n := range names {
			if v := s.Data[n]; len(v) > 0 {
				return string(v)
			}
		}
		return ""
	}
	return authority{pem: one("ca.crt", "cacert"), crl: one("ca.crl", "crl")}
}
