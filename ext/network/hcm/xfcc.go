// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"crypto/sha256"
	"encoding/hex"

	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// xfcc is what is done with x-forwarded-client-cert.
type xfcc struct {
	mode xfccMode
	// What is told of the client's certificate besides its hash
	// (set_current_client_cert_details).
	cert, chain, subject, uri, dns, issuer bool
}

type xfccMode uint8

// Envoy's ForwardClientCertDetails, with its numbers.
const (
	xfccSanitize xfccMode = iota
	xfccForwardOnly
	xfccAppendForward
	xfccSanitizeSet
	xfccAlwaysForward
)

// apply keeps the header from those who may not send it, and tells the connection's
// own client certificate. A connection without one has nothing to tell. told is the
// connection's element, made at the first request and kept.
func (x *xfcc) apply(h *header.Map, c *streaminfo.Connection, told **string) {
	mutual := c.TLS != nil && len(c.TLS.PeerCerts) > 0
	switch {
	case x.mode == xfccAlwaysForward, x.mode == xfccForwardOnly && mutual:
		return
	case x.mode == xfccSanitize || !mutual:
		h.Del(header.XForwardedClientCert)
		return
	}
	if *told == nil {
		s := string(x.element(nil, c.TLS))
		*told = &s
	}
	if x.mode == xfccAppendForward && h.Has(header.XForwardedClientCert) {
		all, _ := h.AppendJoined(nil, header.XForwardedClientCert)
		h.SetBytes(header.XForwardedClientCert, append(append(all, ','), **told...))
		return
	}
	h.Set(header.XForwardedClientCert, **told)
}

// element appends what is told of a client, in Envoy's order.
func (x *xfcc) element(b []byte, t *streaminfo.TLS) []byte {
	leaf := t.PeerCerts[0]
	sep := func(key string) {
		if len(b) > 0 {
			b = append(b, ';')
		}
		b = append(b, key...)
	}
	if t.LocalCert != nil {
		for _, u := range t.LocalCert.URIs {
			sep("By=")
			b = append(b, u.String()...)
		}
	}
	sep("Hash=")
	sum := sha256.Sum256(leaf.Raw)
	b = hex.AppendEncode(b, sum[:])
	if x.cert {
		sep(`Cert="`)
		b = append(format.AppendPEM(b, leaf), '"')
	}
	if x.chain {
		sep(`Chain="`)
		for _, c := range t.PeerCerts {
			b = format.AppendPEM(b, c)
		}
		b = append(b, '"')
	}
	if x.subject {
		sep(`Subject="`)
		b = append(format.AppendSubject(b, leaf), '"')
	}
	if x.uri {
		for _, u := range leaf.URIs {
			sep("URI=")
			b = append(b, u.String()...)
		}
		if len(leaf.URIs) == 0 {
			sep("URI=") // The key is there even so.
		}
	}
	if x.dns {
		for _, n := range leaf.DNSNames {
			sep("DNS=")
			b = append(b, n...)
		}
	}
	if x.issuer {
		sep(`Issuer="`)
		b = append(format.AppendIssuer(b, leaf), '"')
	}
	return b
}
