// SPDX-License-Identifier: Apache-2.0

package othername

import (
	"encoding/asn1"
	"testing"
)

var named = []byte{0xa0, 15, 6, 3, 42, 3, 4, 0xa0, 8, 12, 6, 'n', 'a', 'm', 'e', 'd', '!'}

func TestParse(t *testing.T) {
	var v asn1.RawValue
	if _, err := asn1.Unmarshal(named, &v); err != nil {
		t.Fatal(err)
	}
	want := Name{OID: "1.2.3.4", Tag: asn1.TagUTF8String, Value: "named!"}
	if got, ok := parse(v); !ok || got != want {
		t.Errorf("%+v %v, want %+v", got, ok, want)
	}
}

// FuzzParse reads an alternative name that crypto/x509 does not.
func FuzzParse(f *testing.F) {
	f.Add(named)
	f.Fuzz(func(_ *testing.T, b []byte) {
		var v asn1.RawValue
		if _, err := asn1.Unmarshal(b, &v); err == nil {
			parse(v)
		}
	})
}
