// SPDX-License-Identifier: Apache-2.0

package dnscache

import (
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Compile compiles a cache's configuration, which stands at path: errors begin with
// it, and so does what warn gets to know, the fields without effect.
func Compile(m *dfpcommonv3.DnsCacheConfig, path string, warn func(path, reason string)) (Config, error) {
	var c Config
	if m == nil {
		return c, errors.New(path + ": is required")
	}
	if err := supported.Apply(m, path, warn); err != nil {
		return c, err
	}
	if err := m.ValidateAll(); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	key, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	c = Config{
		Name: m.GetName(), Key: string(key), HostTTL: duration(m.GetHostTtl(), 5*time.Minute),
		QueryTimeout: duration(m.GetDnsQueryTimeout(), 5*time.Second), MaxHosts: 1024, ForgetFailures: m.GetDisableDnsRefreshOnFailure(),
		DNS: upstream.DNSConfig{
			Refresh: duration(m.GetDnsRefreshRate(), time.Minute), MinRefresh: duration(m.GetDnsMinRefreshRate(), 5*time.Second),
			FailureBase: duration(m.GetDnsFailureRefreshRate().GetBaseInterval(), 0),
			FailureMax:  duration(m.GetDnsFailureRefreshRate().GetMaxInterval(), 0),
			Family:      family(m.GetDnsLookupFamily()),
		},
	}
	if c.DNS.FailureMax > 0 && c.DNS.FailureMax < c.DNS.FailureBase {
		return c, errors.New(path + ".dns_failure_refresh_rate.max_interval: is below base_interval: raise it")
	}
	if v := m.GetMaxHosts(); v != nil {
		c.MaxHosts = int(v.GetValue())
	}
	c.MaxPending = int(m.GetDnsCacheCircuitBreaker().GetMaxPendingRequests().GetValue())
	if f := m.GetResolvedAddressFilter(); f != nil {
		a, err := match.CompileAddress(f)
		if err != nil {
			return c, fmt.Errorf("%s.resolved_address_filter: %w", path, err)
		}
		c.Allow = func(ip netip.Addr) bool { return a.Match(ip) }
	}
	r, problems := upstream.CompileResolver(m.GetTypedDnsResolverConfig())
	for _, p := range problems {
		if p.Severity == xds.Error {
			return c, fmt.Errorf("%s.%s: %s", path, p.Path, p.Reason)
		}
	}
	c.DNS.Resolver = r
	for _, s := range m.GetPreresolveHostnames() {
		c.Preresolve = append(c.Preresolve, Name{strings.ToLower(s.GetAddress()), uint16(s.GetPortValue())})
	}
	return c, nil
}

func duration(d *durationpb.Duration, or time.Duration) time.Duration {
	if d == nil {
		return or
	}
	return d.AsDuration()
}

func family(f clusterv3.Cluster_DnsLookupFamily) upstream.DNSFamily {
	switch f {
	case clusterv3.Cluster_V4_ONLY:
		return upstream.FamilyV4Only
	case clusterv3.Cluster_V6_ONLY:
		return upstream.FamilyV6Only
	case clusterv3.Cluster_V4_PREFERRED:
		return upstream.FamilyV4Preferred
	case clusterv3.Cluster_ALL:
		return upstream.FamilyAll
	default:
		return upstream.FamilyAuto
	}
}
