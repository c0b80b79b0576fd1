// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"unsafe"
)

// hostChar has the bytes of a registered name (RFC 3986 §3.2.2) without the
// comma, which in a Host is the mark of two fields joined to one.
var hostChar = buildHostChar()

func buildHostChar() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+;=%") {
		t[c] = true
	}
	return t
}

// ValidAuthority reports whether b is uri-host [ ":" port ] with a host that is
// not empty and a port that is empty or up to 65535.
func ValidAuthority(b []byte) bool {
	i := 0
	if len(b) > 0 && b[0] == '[' {
		if i = bytes.IndexByte(b, ']'); i < 0 || !validIPv6(b[1:i]) {
			return false
		}
		i++
	} else {
		for i < len(b) && hostChar[b[i]] {
			if b[i] == '%' && (i+2 >= len(b) || !isHex(b[i+1]) || !isHex(b[i+2])) {
				return false
			}
			i++
		}
	}
	return i > 0 && (i == len(b) || b[i] == ':' && parsePort(b[i+1:]) >= 0)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func validIPv6(b []byte) bool {
	if len(b) < 2 || len(b) > 45 {
		return false
	}
	for _, c := range b {
		if !isHex(c) && c != ':' && c != '.' {
			return false
		}
	}
	a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(b), len(b)))
	return err == nil && a.Is6()
}

// Port returns the port of a valid authority, 0 if there is none.
func Port(b []byte) int {
	i := bytes.LastIndexByte(b, ':')
	if i < 0 || b[len(b)-1] == ']' {
		return 0
	}
	return parsePort(b[i+1:])
}

// parsePort returns the number of a port, 0 for an empty one and -1 for what is
// no port.
func parsePort(digits []byte) int {
	if len(digits) > 5 {
		return -1
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	if n > 65535 {
		return -1
	}
	return n
}

// ValidTarget reports whether b holds only visible ASCII and no '#': what a
// path and query may be made of here. RFC 3986 allows less, Envoy as much.
func ValidTarget(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	below := func(x, c uint64) uint64 { return (x - c*ones) &^ x & highs }
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		if x&highs|below(x, 0x21)|below(x^0x7f*ones, 1)|below(x^'#'*ones, 1) != 0 {
			return false
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c <= 0x20 || c >= 0x7f || c == '#' {
			return false
		}
	}
	return true
}
