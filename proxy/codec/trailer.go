// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"strings"

	"weir.dev/weir/proxy/header"
)

// notInTrailers has the well-known fields that RFC 9110 §6.5.1 keeps out of
// trailer sections: framing, routing, request modifiers, authentication,
// response control and content format; and those that a proxy puts its own
// trust in.
var notInTrailers = buildNotInTrailers()

func buildNotInTrailers() (t [256]bool) {
	for _, n := range []header.Name{
		header.Host, header.Connection, header.KeepAlive, header.ProxyConnection, header.TransferEncoding,
		header.TE, header.Trailer, header.Upgrade, header.HTTP2Settings, header.ContentLength,
		header.ContentType, header.ContentEncoding, header.ContentRange, header.Expect, header.Date,
		header.Cookie, header.SetCookie, header.Location, header.Authorization, header.ProxyAuthorization,
		header.ProxyAuthenticate, header.WWWAuthenticate, header.CacheControl, header.Age, header.Vary,
		header.Range, header.Expires, header.IfMatch, header.IfNoneMatch, header.IfModifiedSince,
		header.Pragma, header.RetryAfter, header.StrictTransportSecurity, header.Forwarded,
		header.XRealIP, header.XRequestID, header.Origin,
	} {
		t[n.ID()] = true
	}
	return t
}

// TrailerAllowed reports whether a received trailer may be kept. Codecs drop the
// others.
func TrailerAllowed(n header.Name) bool {
	if notInTrailers[n.ID()] {
		return false
	}
	switch s := n.String(); s {
	case "max-forwards", "if-unmodified-since", "if-range", "authentication-info", "proxy-authentication-info", "warning":
		return false
	default:
		return !strings.HasPrefix(s, "x-forwarded-") && !strings.HasPrefix(s, "x-envoy-") && s[0] != ':'
	}
}
