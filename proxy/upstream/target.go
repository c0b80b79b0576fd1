// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"net/netip"
	"time"

	"weir.dev/weir/proxy/address"
)

// A Target is one endpoint as configured: a finished Endpoint, or one whose address
// is to be found by name.
type Target struct {
	// Endpoint is complete but for its Address if Name is given.
	Endpoint
	// Name is the host name to resolve, "" for an endpoint with an address. Port is
	// that of its addresses.
	Name string
	Port uint16
	// CheckPort is the port for health checks, 0 for the same.
	CheckPort uint16
	// Path is the field of the configuration, for messages.
	Path string
}

// DNSFamily says which addresses of a name are used (dns_lookup_family).
type DNSFamily uint8

// DNS families.
const (
	// FamilyAuto takes IPv6 addresses, IPv4 ones only if there are none.
	FamilyAuto DNSFamily = iota
	FamilyV4Only
	FamilyV6Only
	// FamilyV4Preferred takes IPv4 addresses, IPv6 ones only if there are none.
	FamilyV4Preferred
	FamilyAll
)

// DNSConfig is how names are resolved.
type DNSConfig struct {
	Family DNSFamily
	// Refresh is 5 s by default; Jitter adds up to that much to each wait.
	Refresh, Jitter time.Duration
	// FailureBase and FailureMax are the jittered exponential back-off after
	// failures; without FailureBase, Refresh is used.
	FailureBase, FailureMax time.Duration
	// MinRefresh bounds what a TTL may ask for (dns_min_refresh_rate); 0 is no bound.
	MinRefresh time.Duration
	// RespectTTL takes the smallest TTL of an answer instead of Refresh.
	RespectTTL bool
	Resolver   ResolverConfig
}

// ResolverConfig is who resolves names. The zero value is the system's resolver.
type ResolverConfig struct {
	// Servers are asked instead of those in resolv.conf.
	Servers []netip.AddrPort
	// FallbackToSystem asks those of resolv.conf first if it names any
	// (use_resolvers_as_fallback).
	FallbackToSystem bool
	TCP              bool
	NoSearch         bool
	// Rotate spreads queries over the servers.
	Rotate bool
	// RoutableOnly takes no addresses of an IP version that no interface beside the
	// loopback has (filter_unroutable_families).
	RoutableOnly bool
	// Timeout of one query to one server (5 s), and Tries per server (4).
	Timeout time.Duration
	Tries   int
	// UDPSize is the EDNS buffer size; 0 is 1232.
	UDPSize uint16
	// System asks for the C library's rules, which net.Resolver follows
	// (getaddrinfo).
	System bool
	// Custom tells that servers or options were given.
	Custom bool
}

// AddrPort returns an address with the target's port.
func (t *Target) AddrPort(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, t.Port) }

// At returns the target's endpoint at an address that its name resolved to. Its host
// name is the name unless another is configured, as in Envoy.
func (t *Target) At(a netip.Addr) Endpoint {
	e := t.Endpoint
	e.Address = address.IP(t.AddrPort(a))
	e.Hostname = cmp.Or(e.Hostname, t.Name)
	if t.CheckPort != 0 && !e.Check.Address.IsValid() {
		e.Check.Address = address.IP(netip.AddrPortFrom(a, t.CheckPort))
	}
	return e
}
