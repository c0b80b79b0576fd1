// SPDX-License-Identifier: Apache-2.0

// Package othername reads what crypto/x509 does not: the OtherName entries among a
// certificate's alternative names (RFC 5280 §4.2.1.6).
package othername

import (
	"crypto/x509"
	"encoding/asn1"
)

// Name is one OtherName entry whose value is of a universal type.
type Name struct {
	// OID says what the name is, such as "1.3.6.1.4.1.311.20.2.3".
	OID string
	// Tag is the ASN.1 type of the value, which is its content.
	Tag   int
	Value string
}

var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// Of returns the entries of a certificate in their order. What is malformed is left out.
func Of(c *x509.Certificate) []Name {
	var out []Name
	for _, e := range c.Extensions {
		if !e.Id.Equal(subjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if _, err := asn1.Unmarshal(e.Value, &names); err != nil {
			continue
		}
		for _, n := range names {
			if o, ok := parse(n); ok {
				out = append(out, o)
			}
		}
	}
	return out
}

func parse(n asn1.RawValue) (Name, bool) {
	if n.Class != asn1.ClassContextSpecific || n.Tag != 0 || !n.IsCompound {
		return Name{}, false
	}
	var id asn1.ObjectIdentifier
	rest, err := asn1.Unmarshal(n.Bytes, &id)
	if err != nil {
		return Name{}, false
	}
	var wrapped, value asn1.RawValue
	if _, err := asn1.Unmarshal(rest, &wrapped); err != nil || wrapped.Class != asn1.ClassContextSpecific {
		return Name{}, false
	}
	if _, err := asn1.Unmarshal(wrapped.Bytes, &value); err != nil || value.Class != asn1.ClassUniversal {
		return Name{}, false
	}
	return Name{OID: id.String(), Tag: value.Tag, Value: string(value.Bytes)}, true
}
