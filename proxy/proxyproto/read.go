// SPDX-License-Identifier: Apache-2.0

package proxyproto

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"

	"weir.dev/weir/proxy/address"
)

// LengthV1 returns the length of the version 1 header that b begins with, its
// CRLF included, or 0 if its end has not arrived. A header that does not end
// within 107 bytes is an error.
func LengthV1(b []byte) (int, error) {
	if i := bytes.IndexByte(b[:min(len(b), MaxV1)], '\n'); i >= 0 {
		if i == 0 || b[i-1] != '\r' {
			return 0, malformed("a line feed without a carriage return")
		}
		return i + 1, nil
	}
	if len(b) >= MaxV1 {
		return 0, malformed("no end of line within %d bytes", MaxV1)
	}
	return 0, nil
}

// ParseV1 reads a version 1 header, of which b is all.
func ParseV1(b []byte) (Header, error) {
	h := Header{Version: 1}
	line, ok := strings.CutSuffix(string(b), "\r\n")
	if !ok || len(b) > MaxV1 {
		return Header{}, malformed("no end of line")
	}
	rest, ok := strings.CutPrefix(line, signature1)
	if !ok {
		return Header{}, ErrNoHeader
	}
	if rest == "UNKNOWN" || strings.HasPrefix(rest, "UNKNOWN ") {
		h.Local = true // What follows is to be ignored.
		return h, nil
	}
	f := strings.Split(rest, " ")
	if len(f) != 5 || f[0] != "TCP4" && f[0] != "TCP6" {
		return Header{}, malformed("%.120q", line)
	}
	var err error
	if h.Source, err = endV1(f[0], f[1], f[3]); err != nil {
		return Header{}, err
	}
	h.Destination, err = endV1(f[0], f[2], f[4])
	return h, err
}

func endV1(family, ip, port string) (address.Addr, error) {
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Zone() != "" || a.Is4() != (family == "TCP4") {
		return address.Addr{}, malformed("%.60q is not an address of %s", ip, family)
	}
	n := 0
	for _, c := range []byte(port) {
		if c < '0' || c > '9' || n > 65535 {
			return address.Addr{}, malformed("%.10q is not a port", port)
		}
		n = 10*n + int(c-'0')
	}
	if port == "" || len(port) > 1 && port[0] == '0' || n > 65535 {
		return address.Addr{}, malformed("%.10q is not a port", port)
	}
	return end(a, uint16(n))
}

// end checks that an address can be one end of a TCP connection.
func end(a netip.Addr, port uint16) (address.Addr, error) {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if u := a.Unmap(); u.IsUnspecified() || u.IsMulticast() || u == broadcast {
		return address.Addr{}, malformed("%s is no unicast address", a)
	}
	return address.IP(netip.AddrPortFrom(a, port)), nil
}

// Families and transports of version 2.
const (
	familyUnspec = 0
	familyInet   = 1
	familyInet6  = 2
	familyUnix   = 3

	commandLocal = 0
	commandProxy = 1

	transportStream = 1
	transportDgram  = 2

	lenInet  = 12
	lenInet6 = 36
	lenUnix  = 216
	unixPath = 108
)

// LengthV2 returns the length of the version 2 header that b begins with, of
// which the first [PrefixV2] bytes must be there. It judges those bytes, so that
// nothing is waited for that would be refused.
func LengthV2(b []byte) (int, error) {
	if len(b) < PrefixV2 || string(b[:len(signature2)]) != signature2 {
		return 0, ErrNoHeader
	}
	command, family := b[12], b[13]>>4
	if command>>4 != 2 {
		return 0, malformed("version %d", command>>4)
	}
	n := int(binary.BigEndian.Uint16(b[14:]))
	switch command & 15 {
	case commandLocal:
		return PrefixV2 + n, nil
	case commandProxy:
	default:
		return 0, malformed("command %d", command&15)
	}
	if family == familyUnspec {
		return PrefixV2 + n, nil
	}
	if t := b[13] & 15; t != transportStream && t != transportDgram {
		return 0, malformed("transport %d", t)
	}
	size := addressesV2(family)
	if size == 0 {
		return 0, malformed("address family %d", family)
	}
	if n < size {
		return 0, malformed("%d bytes do not hold the addresses of family %d", n, family)
	}
	return PrefixV2 + n, nil
}

func addressesV2(family byte) int {
	switch family {
	case familyInet:
		return lenInet
	case familyInet6:
		return lenInet6
	case familyUnix:
		return lenUnix
	}
	return 0
}

// ParseV2 reads a version 2 header, of which b is all. The values of its TLVs
// are parts of b. What follows LOCAL or an unspecified family is ignored, since
// nothing says where addresses end and TLVs begin.
func ParseV2(b []byte) (Header, error) {
	n, err := LengthV2(b)
	if err != nil {
		return Header{}, err
	}
	if n != len(b) {
		return Header{}, malformed("%d bytes instead of %d", len(b), n)
	}
	h := Header{Version: 2}
	family, rest := b[13]>>4, b[PrefixV2:]
	if b[12]&15 == commandLocal || family == familyUnspec {
		h.Local = true
		return h, nil
	}
	size := addressesV2(family)
	if h.Source, h.Destination, err = endsV2(family, rest[:size]); err != nil {
		return Header{}, err
	}
	if h.TLVs, err = parseTLVs(rest[size:]); err != nil {
		return Header{}, err
	}
	return h, checkCRC(b, h.TLVs)
}

func endsV2(family byte, b []byte) (source, destination address.Addr, err error) {
	if family == familyUnix {
		return unixAddress(b[:unixPath]), unixAddress(b[unixPath:]), nil
	}
	n := 4
	if family == familyInet6 {
		n = 16
	}
	src, _ := netip.AddrFromSlice(b[:n])
	dst, _ := netip.AddrFromSlice(b[n : 2*n])
	if source, err = end(src, binary.BigEndian.Uint16(b[2*n:])); err != nil {
		return source, destination, err
	}
	destination, err = end(dst, binary.BigEndian.Uint16(b[2*n+2:]))
	return source, destination, err
}

// unixAddress reads a path that ends with its first NUL; one that begins with it
// is of the abstract name space, or none at all.
func unixAddress(b []byte) address.Addr {
	prefix := ""
	if b[0] == 0 {
		prefix, b = "@", b[1:]
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return address.Unix(prefix + string(b))
}

// parseTLVs splits the values; they must fill b exactly.
func parseTLVs(b []byte) ([]TLV, error) {
	var out []TLV
	for len(b) > 0 {
		if len(b) < 3 {
			return nil, malformed("%d bytes after the last TLV", len(b))
		}
		n := int(binary.BigEndian.Uint16(b[1:]))
		if len(b)-3 < n {
			return nil, malformed("TLV 0x%02x of %d bytes, of which %d are there", b[0], n, len(b)-3)
		}
		out = append(out, TLV{b[0], b[3 : 3+n : 3+n]})
		b = b[3+n:]
	}
	return out, nil
}

// checkCRC checks PP2_TYPE_CRC32C (§2.2.3): the CRC32C of the whole header with
// the value itself taken as zero.
func checkCRC(b []byte, tlvs []TLV) error {
	found := false
	for _, t := range tlvs {
		if t.Type != TypeCRC32C {
			continue
		}
		if len(t.Value) != 4 || found {
			return malformed("there must be one checksum, of 4 bytes")
		}
		found = true
		want := binary.BigEndian.Uint32(t.Value)
		clear(t.Value)
		got := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		binary.BigEndian.PutUint32(t.Value, want)
		if got != want {
			return malformed("the checksum is 0x%08x, not 0x%08x", got, want)
		}
	}
	return nil
}
