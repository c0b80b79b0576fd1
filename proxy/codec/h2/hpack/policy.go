// SPDX-License-Identifier: Apache-2.0

package hpack

import "weir.dev/weir/proxy/header"

// policy is what the encoder does with a field that is not in the tables. The zero
// policy inserts it when it is sent for the second time within a short while: what
// differs in each message never costs an insertion.
type policy uint8

const (
	_ policy = iota
	// now inserts at once: names with few values.
	now
	// literal never inserts: values that do not come again.
	literal
	// ifShort is the zero policy for values of at most longPath bytes, else literal.
	ifShort
	// never is never indexed, by no hop: credentials (RFC 7541 §7.1.3).
	never
	// neverShort is never for values that are short enough to be guessed, else the
	// zero policy.
	neverShort
)

const (
	// longPath is the longest :path that is inserted: those of RPCs are short
	// and come again.
	longPath = 128
	// shortSecret is how long a cookie must be not to be guessed byte by byte.
	shortSecret = 20
)

// policies has the policy of each well-known name. At 0, for other names, it is the
// zero policy.
var policies = buildPolicies()

func buildPolicies() (t [256]policy) {
	for p, names := range map[policy][]header.Name{
		now: {
			header.Method, header.Scheme, header.Status, header.Protocol, header.Server, header.Via, header.Vary,
			header.ContentType, header.ContentEncoding, header.TE, header.AcceptRanges, header.AcceptEncoding,
			header.GRPCStatus, header.GRPCEncoding, header.GRPCAcceptEncoding, header.StrictTransportSecurity,
			header.AltSvc, header.XForwardedProto, header.AccessControlAllowMethods,
			header.AccessControlAllowHeaders, header.AccessControlAllowCredentials,
		},
		literal: {
			header.ContentLength, header.ContentRange, header.SetCookie, header.Age, header.XRequestID,
			header.Traceparent, header.XB3TraceID, header.XB3SpanID, header.GRPCTimeout, header.GRPCMessage,
			header.XEnvoyExpectedRqTimeoutMs,
		},
		ifShort:    {header.Path},
		never:      {header.Authorization, header.ProxyAuthorization},
		neverShort: {header.Cookie},
	} {
		for _, n := range names {
			t[n.ID()] = p
		}
	}
	return t
}
