// SPDX-License-Identifier: Apache-2.0

package proxyproto

import (
	"encoding/binary"
	"net/netip"

	"weir.dev/weir/proxy/address"
)

// AppendV1 appends a version 1 header. Ends of which one is not an IP address
// are UNKNOWN.
func AppendV1(b []byte, source, destination address.Addr) []byte {
	src, dst := source.Addr(), destination.Addr()
	switch {
	case !src.IsValid() || !dst.IsValid():
		return append(b, "PROXY UNKNOWN\r\n"...)
	case src.Is4() && dst.Is4():
		b = append(b, "PROXY TCP4 "...)
	default:
		src, dst = as6(src), as6(dst)
		b = append(b, "PROXY TCP6 "...)
	}
	b = append(src.AppendTo(b), ' ')
	b = append(dst.AppendTo(b), ' ')
	b = append(source.AppendPort(b), ' ')
	return append(destination.AppendPort(b), "\r\n"...)
}

// as6 gives an address in 16 bytes, without a zone: of ends of two families the
// one of version 4 is mapped.
func as6(a netip.Addr) netip.Addr { return netip.AddrFrom16(a.As16()) }

// AppendLocalV2 appends a version 2 header that says the sender speaks for
// itself.
func AppendLocalV2(b []byte) []byte {
	return append(append(b, signature2...), 2<<4|commandLocal, 0, 0, 0)
}

// AppendV2 appends a version 2 header. Ends that are not of one family, or none,
// are unspecified. TLVs that no longer fit into its 65535 bytes are left out,
// which complete tells.
func AppendV2(b []byte, source, destination address.Addr, tlvs []TLV) (out []byte, complete bool) {
	start := len(b)
	b = append(append(b, signature2...), 2<<4|commandProxy, 0, 0, 0)
	family := byte(familyUnspec)
	src, dst := source.Addr(), destination.Addr()
	switch {
	case source.IsUnix() && destination.IsUnix() && len(source.Path()) <= unixPath && len(destination.Path()) <= unixPath:
		family = familyUnix<<4 | transportStream
		b = appendPath(appendPath(b, source.Path()), destination.Path())
	case !src.IsValid() || !dst.IsValid():
	case src.Is4() && dst.Is4():
		family = familyInet<<4 | transportStream
		b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	default:
		family = familyInet6<<4 | transportStream
		b = append(append(b, as6(src).AsSlice()...), as6(dst).AsSlice()...)
	}
	if src.IsValid() && dst.IsValid() {
		b = binary.BigEndian.AppendUint16(b, source.Port())
		b = binary.BigEndian.AppendUint16(b, destination.Port())
	}
	complete = true
	for _, t := range tlvs {
		if len(b)-start+3+len(t.Value) > MaxV2 {
			complete = false
			continue
		}
		b = append(b, t.Type, byte(len(t.Value)>>8), byte(len(t.Value)))
		b = append(b, t.Value...)
	}
	b[start+13] = family
	binary.BigEndian.PutUint16(b[start+14:], uint16(len(b)-start-PrefixV2))
	return b, complete
}

// appendPath appends a path and fills the rest of its room with NUL.
func appendPath(b []byte, path string) []byte {
	at := len(b)
	b = append(b, path...)
	if path != "" && path[0] == '@' {
		b[at] = 0 // The abstract name space.
	}
	return append(b, make([]byte, unixPath-len(path))...)
}
