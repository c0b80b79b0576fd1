// SPDX-License-Identifier: Apache-2.0

package build

import (
	"net/netip"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	dfpclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	snidfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// DynamicHosts returns a cluster whose hosts are those that requests name, once the
// filter DynamicForwardProxy has found them, or those that TLS clients ask for, once
// SNIDynamicForwardProxy has. If guarded, none of them is local.
func DynamicHosts(name string, guarded bool) *clusterv3.Cluster {
	return provided(name, "envoy.clusters.dynamic_forward_proxy", &dfpclusterv3.ClusterConfig{
		ClusterImplementationSpecifier: &dfpclusterv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: dnsCache(guarded)},
		AllowInsecureClusterOptions:    true, // Whose names TLS asks for is the Backend's to say.
	})
}

// DynamicFilter looks up the hosts of DynamicHosts, guarded as they are.
func DynamicFilter(guarded bool) *dfpv3.FilterConfig {
	return &dfpv3.FilterConfig{ImplementationSpecifier: &dfpv3.FilterConfig_DnsCacheConfig{DnsCacheConfig: dnsCache(guarded)}}
}

// httpsPort is where hosts are that TLS clients ask for: a server name has no port.
const httpsPort = 443

// DynamicSNI looks up the hosts of DynamicHosts by the server names of TLS, guarded as
// they are. Their port is 443.
func DynamicSNI(guarded bool) *snidfpv3.FilterConfig {
	return &snidfpv3.FilterConfig{
		DnsCacheConfig: dnsCache(guarded), PortSpecifier: &snidfpv3.FilterConfig_PortValue{PortValue: httpsPort},
	}
}

// dnsCache is the one that filters and clusters share: by its name, and they have to
// say the same of it.
func dnsCache(guarded bool) *dfpcommonv3.DnsCacheConfig {
	m := &dfpcommonv3.DnsCacheConfig{Name: "weir"}
	if guarded {
		m.ResolvedAddressFilter = &matcherv3.AddressMatcher{InvertMatch: true}
		for _, p := range local {
			m.ResolvedAddressFilter.Ranges = append(m.ResolvedAddressFilter.Ranges, &xdscorev3.CidrRange{
				AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits())),
			})
		}
	}
	return m
}

// local are the addresses of the machine that asks them, and of those that are only
// reached from it, such as a cloud's of the machine's credentials.
var local = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"),
}

// IsLocal reports whether a host, a name or an address, is of the machine that asks it.
func IsLocal(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap().WithZone("")
		return slices.ContainsFunc(local, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
