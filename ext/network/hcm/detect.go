// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"bytes"
	"net/netip"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
)

// A detector finds the client's address where the connection's peer is not the
// client (Envoy's original IP detection extensions).
type detector interface {
	// detect returns the address, an invalid one if it cannot tell, whether it
	// may be believed to be internal, and a status if the request is refused.
	detect(h *header.Map, remote address.Addr) (ip address.Addr, trusted bool, status int)
	// appends reports whether the peer is then to be told of in x-forwarded-for.
	appends() bool
}

// xffDetector takes the address from x-forwarded-for
// (envoy.http.original_ip_detection.xff).
type xffDetector struct {
	hops int
	// trusted, if set, are the proxies that may be believed: the address is
	// the last that is none of them.
	trusted []netip.Prefix
	recurse bool
	// append is skip_xff_append: false; Envoy's default is not to append here.
	append bool
}

func (d *xffDetector) appends() bool { return d.append }

func (d *xffDetector) detect(h *header.Map, remote address.Addr) (address.Addr, bool, int) {
	if len(d.trusted) > 0 {
		return d.byProxies(h, remote), false, 0
	}
	ip, single, ok := forwarded(h, d.hops)
	return ip, ok && single, 0
}

func (d *xffDetector) byProxies(h *header.Map, remote address.Addr) address.Addr {
	if !within(d.trusted, remote) {
		return address.Addr{}
	}
	for skip := 0; ; skip++ {
		ip, ok := lastForwarded(h, skip)
		if !ok {
			if skip == 0 {
				return address.Addr{}
			}
			ip, _ = lastForwarded(h, skip-1)
			return ip
		}
		if !within(d.trusted, ip) || !d.recurse {
			return ip
		}
	}
}

func within(ps []netip.Prefix, a address.Addr) bool {
	for _, p := range ps {
		if p.Contains(a.Addr()) {
			return true
		}
	}
	return false
}

// headerDetector takes the address from a header
// (envoy.http.original_ip_detection.custom_header).
type headerDetector struct {
	name    header.Name
	trusted bool
	reject  int // status if there is no address; 0 goes on
}

func (d *headerDetector) appends() bool { return false }

func (d *headerDetector) detect(h *header.Map, _ address.Addr) (address.Addr, bool, int) {
	ip, ok := parseIP(bytes.TrimSpace(h.Get(d.name)))
	if !ok {
		return address.Addr{}, false, d.reject
	}
	return ip, d.trusted, 0
}
