// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"weir.dev/weir/proxy/address"
)

// soOriginalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST of the kernel's
// netfilter headers.
const soOriginalDst = 80

// OriginalDst returns where the client meant to connect to, before a rule of
// the kernel sent it here: by REDIRECT or DNAT, which connection tracking
// remembers, or by TPROXY, which leaves the address on a transparent socket. ok is
// false if the kernel knows of nothing.
func (c *Conn) OriginalDst() (a address.Addr, transparent, ok bool) {
	local := c.LocalAddr()
	if !local.IsValid() || local.IsUnix() {
		return address.Addr{}, false, false
	}
	if c.transparent(local) {
		return local, true, true
	}
	// A dual-stack socket may hold either kind of connection.
	if local.Addr().Is4() {
		// The structure asked for is one of the length of a sockaddr_in.
		m, err := unix.GetsockoptIPv6Mreq(int(c.fd), unix.SOL_IP, soOriginalDst)
		if err != nil {
			return address.Addr{}, false, false
		}
		b := m.Multiaddr
		return address.IP(netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:4]))), false, true
	}
	m, err := unix.GetsockoptIPv6MTUInfo(int(c.fd), unix.SOL_IPV6, soOriginalDst)
	if err != nil {
		return address.Addr{}, false, false
	}
	return address.IP(netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), swap(m.Addr.Port))), false, true
}

func (c *Conn) transparent(local address.Addr) bool {
	level, name := unix.SOL_IP, unix.IP_TRANSPARENT
	if !local.Addr().Is4() {
		level, name = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	on, err := unix.GetsockoptInt(int(c.fd), level, name)
	return err == nil && on != 0
}
