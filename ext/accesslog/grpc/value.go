// SPDX-License-Identifier: Apache-2.0

package grpc

import (
	"crypto/x509"

	"weir.dev/weir/internal/wire"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/streaminfo"
)

// Field numbers of TLSProperties and its CertificateProperties.
const (
	tlsVersion, tlsSuite, tlsName, tlsLocal, tlsPeer, tlsSession, tlsJA3 = 1, 2, 3, 4, 5, 6, 7
	certSAN, certSubject, certIssuer, sanURI, sanDNS                     = 1, 2, 3, 1, 2
)

// appendTLS appends what is known of a connection's TLS.
func (k *Sink) appendTLS(dst []byte, c *streaminfo.Connection) []byte {
	t := c.TLS
	if t == nil {
		return dst
	}
	dst, at := wire.Begin(dst, commonTLS)
	for number, name := range [...]string{1: "TLSv1", 2: "TLSv1.1", 3: "TLSv1.2", 4: "TLSv1.3"} {
		if name != "" && t.Version == name {
			dst = wire.Uint(dst, tlsVersion, uint64(number))
		}
	}
	if id, ok := k.suites[t.CipherSuite]; ok {
		dst = wire.Message(dst, tlsSuite, func(dst []byte) []byte { return wire.Uint(dst, 1, uint64(id)) })
	}
	dst = text(dst, tlsName, c.ServerName)
	dst = appendCertificate(dst, tlsLocal, t.LocalCert)
	if len(t.PeerCerts) > 0 {
		dst = appendCertificate(dst, tlsPeer, t.PeerCerts[0])
	}
	dst = text(dst, tlsSession, t.SessionID)
	return wire.End(text(dst, tlsJA3, c.JA3), at)
}

func appendCertificate(dst []byte, field uint64, x *x509.Certificate) []byte {
	if x == nil {
		return dst
	}
	dst, at := wire.Begin(dst, field)
	for _, u := range x.URIs {
		dst = wire.Message(dst, certSAN, func(dst []byte) []byte { return text(dst, sanURI, u.String()) })
	}
	for _, name := range x.DNSNames {
		dst = wire.Message(dst, certSAN, func(dst []byte) []byte { return text(dst, sanDNS, name) })
	}
	var room [256]byte
	dst = text(dst, certSubject, format.AppendSubject(room[:0], x))
	return wire.End(text(dst, certIssuer, format.AppendIssuer(room[:0], x)), at)
}

// Field numbers of google.protobuf.Value.
const valueNull, valueNumber, valueText, valueBool, valueStruct, valueList = 1, 2, 3, 4, 5, 6

// appendMetadata appends envoy.config.core.v3.Metadata.
func appendMetadata(dst []byte, m streaminfo.Metadata) []byte {
	if len(m) == 0 {
		return dst
	}
	dst, at := wire.Begin(dst, commonMetadata)
	for namespace, tree := range m {
		dst = wire.Message(dst, 1, func(dst []byte) []byte {
			return wire.Message(text(dst, mapKey, namespace), mapValue, func(dst []byte) []byte { return appendStruct(dst, tree) })
		})
	}
	return wire.End(dst, at)
}

// appendStruct appends the fields of a google.protobuf.Struct.
func appendStruct(dst []byte, tree map[string]any) []byte {
	for key, v := range tree {
		dst = wire.Message(dst, 1, func(dst []byte) []byte {
			return wire.Message(text(dst, mapKey, key), mapValue, func(dst []byte) []byte { return appendValue(dst, v) })
		})
	}
	return dst
}

// appendValue appends the field of a google.protobuf.Value.
func appendValue(dst []byte, v any) []byte {
	switch x := v.(type) {
	case float64:
		return wire.Double(dst, valueNumber, x)
	case string:
		if x == "" { // A value that is the empty text is none of the others.
			return wire.Bytes(dst, valueText, x)
		}
		return text(dst, valueText, x)
	case bool:
		return wire.Bool(dst, valueBool, x)
	case map[string]any:
		return wire.Message(dst, valueStruct, func(dst []byte) []byte { return appendStruct(dst, x) })
	case []any:
		return wire.Message(dst, valueList, func(dst []byte) []byte {
			for _, e := range x {
				dst = wire.Message(dst, 1, func(dst []byte) []byte { return appendValue(dst, e) })
			}
			return dst
		})
	}
	return wire.Uint(dst, valueNull, 0)
}
