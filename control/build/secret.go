// SPDX-License-Identifier: Apache-2.0

package build

import (
	"crypto/hkdf"
	"crypto/sha256"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// SecretText returns a secret that is a text.
func SecretText(name string, text []byte) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
		Secret: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}},
	}}}
}

// CookieKey returns the secret that cookies of sessions are signed with, derived of the
// client's by HKDF (RFC 5869): all replicas of a control plane, now and after a restart,
// come to the same without telling each other. It is as hard to guess as the client's.
func CookieKey(name string, client []byte) *tlsv3.Secret {
	key, err := hkdf.Key(sha256.New, client, nil, "weir.dev cookies of OpenID Connect", sha256.Size)
	if err != nil {
		panic("BUG: HKDF of one block: " + err.Error())
	}
	return SecretText(name, key)
}
