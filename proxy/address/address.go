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
	ip   netip.AddrPort
	path string
}

// IP returns the address of an IP and port; a v4-mapped v6 address becomes v4.
func IP(ap netip.AddrPort) Addr {
	return Addr{ip: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}
}

// Unix returns the address of a Unix domain socket; a leading '@' names the
// abstract name space.
func Unix(path string) Addr { return Addr{path: path} }

// IsValid reports whether a is an address at all.
func (a Addr) IsValid() bool { return a.path != "" || a.ip.IsValid() }

// IsUnix reports whether a is a Unix domain socket.
func (a Addr) IsUnix() bool { return a.path != "" }

// AddrPort returns the IP address and port; invalid for a Unix domain socket.
func (a Addr) AddrPort() netip.AddrPort { return a.ip }

// Addr returns the IP address; invalid for a Unix domain socket.
func (a Addr) Addr() netip.Addr { return a.ip.Addr() }

// Port returns the port, or 0.
func (a Addr) Port() uint16 { return a.ip.Port() }

// Path returns the path of a Unix domain socket, or "".
func (a Addr) Path() string { return a.path }

// String returns the address as Envoy prints it: 10.0.0.1:80, [::1]:80 or the
// socket's path.
func (a Addr) String() string { return string(a.Append(nil)) }

// Append appends String to dst.
func (a Addr) Append(dst []byte) []byte {
	if a.path != "" {
		return append(dst, a.path...)
	}
	if !a.ip.IsValid() {
		return dst
	}
	return a.ip.AppendTo(dst)
}

// AppendIP appends the address without its port.
func (a Addr) AppendIP(dst []byte) []byte {
	if a.path != "" {
		return append(dst, a.path...)
	}
	if !a.ip.Addr().IsValid() {
		return dst
	}
	return a.ip.Addr().AppendTo(dst)
}

// AppendPort appends the port without the address; nothing for a Unix domain
// socket.
func (a Addr) AppendPort(dst []byte) []byte {
	if !a.ip.IsValid() {
		return dst
	}
	return strconv.AppendUint(dst, uint64(a.ip.Port()), 10)
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
