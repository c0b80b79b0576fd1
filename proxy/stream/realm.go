// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"strings"

	"weir.dev/weir/proxy/header"
)

// maxRealm bounds the path in a realm, in bytes.
const maxRealm = 256

// Realm is the URI that a client asked for, as it stands in the quoted string of a
// www-authenticate field (RFC 9110 §11.6.1).
func Realm(h *header.Map) string {
	path := h.Get(header.XEnvoyOriginalPath)
	if len(path) == 0 {
		path = h.Get(header.Path)
	}
	if len(path) == 0 {
		return ""
	}
	path = path[:min(len(path), maxRealm)]
	scheme := h.Get(header.XForwardedProto)
	if len(scheme) == 0 {
		scheme = h.Get(header.Scheme)
	}
	uri := string(scheme) + "://" + string(h.Get(header.Authority)) + string(path)
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(uri)
}
