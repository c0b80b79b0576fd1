// SPDX-License-Identifier: Apache-2.0

// Package address names the end of a connection: an IP address and port, or a
// Unix domain socket path.
package address

import (
	"net/netip"
	"strconv"
	"strings"
)

// Addr is one end of a connection. The zero Addr is no address. Addrs compare
// with ==.
type Addr struct {
	// ip is the address; that of a Unix domain socket has its path as its
	// zone, so that an Addr is small: each connection keeps several.
	ip   netip.Addr
	port uint16
	unix bool
}

// IP returns the address of an IP and port; a v4-mapped v6 address becomes v4.
func IP(ap netip.AddrPort) Addr {
	return Addr{ip: ap.Addr().Unmap(), port: ap.Port()}
}

// Unix returns the address of a Unix domain socket; a leading '@' names the
// abstract name space.
func Unix(path string) Addr { return Addr{ip: netip.IPv6Unspecified().WithZone(path), unix: true} }

// IsValid reports whether a is an address at all.
func (a Addr) IsValid() bool { return a.ip.IsValid() }

// IsUnix reports whether a is a Unix domain socket.
func (a Addr) IsUnix() bool { return a.unix }

// AddrPort returns the IP address and port; invalid for a Unix domain socket.
func (a Addr) AddrPort() netip.AddrPort {
	if a.unix {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.ip, a.port)
}

// Addr returns the IP address; invalid for a Unix domain socket.
func (a Addr) Addr() netip.Addr {
	if a.unix {
		return netip.Addr{}
	}
	return a.ip
}

// Port returns the port, or 0.
func (a Addr) Port() uint16 { return a.port }

// WithPort returns the same IP address with another port; a Unix domain socket as
// it is.
func (a Addr) WithPort(port uint16) Addr {
	if !a.unix {
		a.port = port
	}
	return a
}

// Path returns the path of a Unix domain socket, or "".
func (a Addr) Path() string {
	if !a.unix {
		return ""
	}
	return a.ip.Zone()
}

// String returns the address as Envoy prints it: 10.0.0.1:80, [::1]:80 or the
// socket's path.
func (a Addr) String() string { return string(a.Append(nil)) }

// Append appends String to dst.
func (a Addr) Append(dst []byte) []byte {
	switch {
	case a.unix:
		return append(dst, a.ip.Zone()...)
	case !a.ip.IsValid():
		return dst
	}
	return a.AddrPort().AppendTo(dst)
}

// AppendIP appends the address without its port.
func (a Addr) AppendIP(dst []byte) []byte {
	switch {
	case a.unix:
		return append(dst, a.ip.Zone()...)
	case !a.ip.IsValid():
		return dst
	}
	return a.ip.AppendTo(dst)
}

// AppendPort appends the port without the address; nothing for a Unix domain
// socket.
func (a Addr) AppendPort(dst []byte) []byte {
	if a.unix || !a.ip.IsValid() {
		return dst
	}
	return strconv.AppendUint(dst, uint64(a.port), 10)
}

// Parse reads what String prints.
func Parse(s string) (Addr, error) {
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "@") {
		return Unix(s), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return Addr{}, err
	}
	return IP(ap), nil
}
