// SPDX-License-Identifier: Apache-2.0

package proxyproto

import "testing"

// FuzzHeader: what is taken can be written and is read again as the same.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "PROXY UNKNOWN\r\n", "PROXY TCP6 ::1 ::2 1 2\r\n",
		v2(0x21, 0x11, inet), v2(0x21, 0x11, inet+"\xea\x00\x02ab\x04\x00\x00"), v2(0x20, 0, ""), v2(0x21, 0x31, string(make([]byte, lenUnix))),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		version, err := Detect(in)
		if err != nil || version == 0 {
			return
		}
		var h, again Header
		if version == 1 {
			n, err := LengthV1(in)
			if err != nil || n == 0 {
				return
			}
			if h, err = ParseV1(in[:n]); err != nil {
				return
			}
			if again, err = ParseV1(AppendV1(nil, h.Source, h.Destination)); err != nil {
				t.Fatalf("%q: %v", in, err)
			}
		} else {
			if len(in) < PrefixV2 {
				return
			}
			n, err := LengthV2(in)
			if err != nil || n > len(in) {
				return
			}
			if h, err = ParseV2(in[:n]); err != nil {
				return
			}
			var tlvs []TLV
			for _, v := range h.TLVs {
				if v.Type != TypeCRC32C { // It would be that of another header.
					tlvs = append(tlvs, v)
				}
			}
			b, _ := AppendV2(nil, h.Source, h.Destination, tlvs)
			if again, err = ParseV2(b); err != nil {
				t.Fatalf("%q: %v", in, err)
			}
		}
		if h.Source != again.Source || h.Destination != again.Destination || h.Local != again.Local {
			t.Fatalf("%v became %v", h, again)
		}
	})
}
