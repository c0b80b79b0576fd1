// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"strings"

	"weir.dev/weir/control/source"
)

// Names of secrets that are not a certificate's. A Secret's own name, which is that of its
// certificate, has no "#", and a key no "/".

// SecretValue is the name of the secret that is what a Secret has under a key.
func SecretValue(of source.Name, key string) string { return of.String() + "#" + key }

// CookieKey is the name of the secret that cookies are signed with: it is made of what a
// Secret has under a key, so that all who have that make the same.
func CookieKey(of source.Name, key string) string { return SecretValue(of, key) + cookieKey }

const cookieKey = "/cookies"

// ParseSecret reads a name of SecretValue or, if cookies is true, of CookieKey.
func ParseSecret(name string) (of source.Name, key string, cookies, ok bool) {
	object, key, ok := strings.Cut(name, "#")
	if !ok {
		return source.Name{}, "", false, false
	}
	key, cookies = strings.CutSuffix(key, cookieKey)
	of.Namespace, of.Name, _ = strings.Cut(object, "/")
	return of, key, cookies, true
}
