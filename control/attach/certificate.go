// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"crypto/tls"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// The keys of generic Secrets, as Istio reads them.
const (
	genericCert = "cert"
	genericKey  = "key"
)

// KeyPair returns what a Secret has for a certificate and its key, of type kubernetes.io/tls or
// generic.
func KeyPair(s *corev1.Secret) (cert, key []byte) {
	if len(s.Data[corev1.TLSCertKey])+len(s.Data[corev1.TLSPrivateKeyKey]) == 0 {
		return s.Data[genericCert], s.Data[genericKey]
	}
	return s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
}

// DataOf returns all that a ConfigMap has, of texts and of bytes.
func DataOf(m *corev1.ConfigMap) map[string][]byte {
	out := maps.Clone(m.BinaryData)
	if out == nil {
		out = map[string][]byte{}
	}
	for k, v := range m.Data {
		out[k] = []byte(v)
	}
	return out
}

// KeyOf returns under which key a Secret or ConfigMap has what is sought: the first of keys that
// it has, or else its only one. This is how Envoy Gateway finds authorities.
func KeyOf[V any](data map[string]V, keys ...string) (key string, ok bool) {
	for _, k := range keys {
		if _, ok := data[k]; ok {
			return k, true
		}
	}
	if len(data) == 1 {
		for k := range data {
			return k, true
		}
	}
	return "", false
}

// GenericCertificate returns what is wrong with a Secret as a certificate with its key, or "". One that has
// them as cert and key is right, too.
func GenericCertificate(c *memo.Ctx, name source.Name) string {
	if s, ok := source.Get[*corev1.Secret](c, source.Secret, name); ok {
		cert, key := KeyPair(s)
		if _, err := tls.X509KeyPair(cert, key); err == nil {
			return ""
		}
	}
	return Certificate(c, name)
}

// Certificate returns what is wrong with a Secret as a certificate with its key, or "".
func Certificate(c *memo.Ctx, name source.Name) string {
	s, ok := source.Get[*corev1.Secret](c, source.Secret, name)
	key := source.Key{Kind: source.Secret, Name: name}
	switch {
	case !ok:
		return fmt.Sprintf("there is no %s", key)
	case len(s.Data[corev1.TLSCertKey]) == 0 || len(s.Data[corev1.TLSPrivateKeyKey]) == 0:
		return fmt.Sprintf("%s lacks %s or %s: make it with kubectl create secret tls", key, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return fmt.Sprintf("%s is not a certificate with its key: %s", key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return ""
}
