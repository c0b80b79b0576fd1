// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dnsclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	providedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/cluster_provided/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	addrinfov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/typedstruct"
)

// policy compiles load_balancing_policy, or the older lb_policy and its configuration,
// to the same extensions.
func (k *compiler) policy() {
	c := k.cluster
	list := c.GetLoadBalancingPolicy()
	if k.clusterProvided() {
		return // See discovery.
	}
	if list == nil {
		if c.GetLbPolicy() == clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG {
			k.fail("load_balancing_policy", "is missing although lb_policy is LOAD_BALANCING_POLICY_CONFIG", "give it")
			return
		}
		k.legacyPolicy()
		return
	}
	l := c.GetCommonLbConfig()
	if l.GetLocalityConfigSpecifier() != nil || l.GetConsistentHashingLbConfig() != nil {
		k.fail("common_lb_config", "load_balancing_policy cannot be combined with zone_aware_lb_config, locality_weighted_lb_config or consistent_hashing_lb_config",
			"configure them in the policy")
	}
	if c.GetLbConfig() != nil || c.GetLbSubsetConfig() != nil {
		k.warn("load_balancing_policy", "overrules the lb_config and lb_subset_config given beside it", "remove those")
	}
	k.out.PolicyName, k.out.policy = k.choose("load_balancing_policy", list)
}

// ahead tells whether hosts can be picked before there is a request for them.
func (k *compiler) ahead() {
	i := slices.IndexFunc(k.cx.Policies, func(f PolicyFactory) bool { return f.Name == k.out.PolicyName })
	k.out.Blind = i >= 0 && k.cx.Policies[i].Blind
	if k.out.Preconnect.PredictiveRatio > 1 && !k.out.Blind && !k.failed() {
		k.warn("preconnect_policy.predictive_preconnect_ratio",
			"has no effect: "+k.out.PolicyName+" chooses by the request", "remove it, or use round_robin, random or least_request")
	}
}

// choose compiles the first policy of a list that is supported; it returns nil if
// there is none, or a problem with it.
func (k *compiler) choose(at string, list *clusterv3.LoadBalancingPolicy) (string, Policy) {
	var names []string
	for i, p := range list.GetPolicies() {
		e := p.GetTypedExtensionConfig()
		name := e.GetTypedConfig().MessageName()
		f := k.policyFor(string(name))
		if f == nil {
			names = append(names, fmt.Sprintf("%q", e.GetName()))
			continue
		}
		path := fmt.Sprintf("%s.policies[%d].typed_extension_config.typed_config", at, i)
		m := f.Config.ProtoReflect().New().Interface()
		if err := e.GetTypedConfig().UnmarshalTo(m); err != nil {
			k.fail(path, err.Error(), "")
			return "", nil
		}
		return f.Name, k.buildPolicy(path, f, m)
	}
	k.fail(at+".policies", "none of these is supported: "+strings.Join(names, ", "), "known are "+k.knownPolicies())
	return "", nil
}

// clusterProvided tells whether the cluster's type is to bring the policy.
func (k *compiler) clusterProvided() bool {
	list := k.cluster.GetLoadBalancingPolicy()
	if list == nil {
		return k.cluster.GetLbPolicy() == clusterv3.Cluster_CLUSTER_PROVIDED
	}
	return slices.ContainsFunc(list.GetPolicies(), func(p *clusterv3.LoadBalancingPolicy_Policy) bool {
		return p.GetTypedExtensionConfig().GetTypedConfig().MessageIs((*providedv3.ClusterProvided)(nil))
	})
}

func (k *compiler) policyFor(message string) *PolicyFactory {
	i := slices.IndexFunc(k.cx.Policies, func(f PolicyFactory) bool {
		return string(f.Config.ProtoReflect().Descriptor().FullName()) == message
	})
	if i < 0 {
		return nil
	}
	return &k.cx.Policies[i]
}

func (k *compiler) knownPolicies() string {
	var names []string
	for _, f := range k.cx.Policies {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// buildPolicy compiles a message; it returns nil after a problem.
func (k *compiler) buildPolicy(path string, f *PolicyFactory, m proto.Message) Policy {
	before := len(k.problems)
	k.out.Sticky = k.out.Sticky || f.Sticky
	k.check(f.Fields, path, m)
	k.validate(path, m)
	if xds.HasErrors(k.problems[before:]) {
		return nil
	}
	var p Policy
	var err error
	if f.Nest != nil {
		p, err = f.Nest(m, &Nesting{Cluster: k.cluster.GetName(), k: k, path: path})
	} else {
		p, err = f.New(m)
	}
	switch {
	case errors.Is(err, ErrReported):
		return nil
	case err != nil:
		k.failErr(path, err)
		return nil
	}
	return p
}

// discovery finds the factory for the cluster's type.
func (k *compiler) discovery() {
	c := k.cluster
	in := &DiscoveryConfig{Cluster: c.GetName(), Targets: k.targets("load_assignment", c.GetLoadAssignment()), DNS: k.dns(),
		OriginalDst: c.GetOriginalDstLbConfig(), Cleanup: duration(c.GetCleanupInterval(), 5*time.Second), Caller: k.cx.Caller, Log: k.cx.Log, Warn: k.ignored, Stats: k.cx.Stats, StatName: cmp.Or(c.GetAltStatName(), c.GetName()),
		EDS: c.GetEdsClusterConfig(), Resources: k.cx.Resources}
	path, name := "type", c.GetType().String()
	if t := c.GetClusterType(); t != nil {
		path, in.Typed = "cluster_type", t.GetTypedConfig()
		name = k.customType(t, in)
	}
	if name == "" || k.failed() {
		return
	}
	i := slices.IndexFunc(k.cx.Discoveries, func(f DiscoveryFactory) bool { return f.Name == name })
	if i < 0 {
		var known []string
		for _, f := range k.cx.Discoveries {
			known = append(known, f.Name)
		}
		k.fail(path, name+" is not supported", "known are "+strings.Join(known, ", "))
		return
	}
	f := &k.cx.Discoveries[i]
	k.out.DiscoveryName, k.out.Sticky, k.out.sleeps = name, k.out.Sticky || f.Sticky, f.Sleeps
	switch provided := k.clusterProvided(); {
	case provided && f.Provided == nil:
		k.fail("lb_policy", "CLUSTER_PROVIDED has no meaning for "+name, "choose one of "+k.knownPolicies())
		return
	case !provided && f.Provided != nil:
		k.fail("lb_policy", name+" chooses hosts by itself", "set CLUSTER_PROVIDED")
		return
	}
	var err error
	if f.Provided != nil {
		if in.Policy, err = f.Provided(in); err != nil {
			k.failErr("", err)
			return
		}
		k.out.PolicyName, k.out.policy = "envoy.load_balancing_policies.cluster_provided", in.Policy
	}
	if k.out.discovery, err = f.New(in); err != nil {
		k.failErr("", err)
	}
}

// customType names the discovery that cluster_type asks for. DnsCluster is both strict
// and logical DNS.
func (k *compiler) customType(t *clusterv3.Cluster_CustomClusterType, in *DiscoveryConfig) string {
	const path = "cluster_type.typed_config"
	if t.GetTypedConfig() == nil {
		return strings.ToUpper(strings.TrimPrefix(strings.TrimPrefix(t.GetName(), "envoy.cluster."), "envoy.clusters."))
	}
	s, err := typedstruct.From(t.GetTypedConfig())
	if err != nil {
		k.fail(path, err.Error(), "")
		return ""
	}
	if s != nil {
		return string(typedstruct.Name(s))
	}
	d := &dnsclusterv3.DnsCluster{}
	if t.GetTypedConfig().MessageName() != d.ProtoReflect().Descriptor().FullName() {
		return string(t.GetTypedConfig().MessageName())
	}
	if err := t.GetTypedConfig().UnmarshalTo(d); err != nil {
		k.fail(path, err.Error(), "")
		return ""
	}
	k.check(supported, path, d)
	k.validate(path, d)
	// The enums share their numbers but for an UNSPECIFIED in front.
	in.DNS = DNSConfig{
		Refresh: duration(d.GetDnsRefreshRate(), 5*time.Second), Jitter: duration(d.GetDnsJitter(), 0),
		MinRefresh: duration(d.GetDnsMinRefreshRate(), 0), RespectTTL: d.GetRespectDnsTtl(),
		FailureBase: duration(d.GetDnsFailureRefreshRate().GetBaseInterval(), 0),
		FailureMax:  duration(d.GetDnsFailureRefreshRate().GetMaxInterval(), 0),
		Family:      family(strings.TrimPrefix(d.GetDnsLookupFamily().String(), "UNSPECIFIED")),
	}
	in.DNS.Resolver = k.resolver(path+".typed_dns_resolver_config", d.GetTypedDnsResolverConfig())
	k.checkDNS(path, &in.DNS)
	if d.GetAllAddressesInSingleEndpoint() {
		return "LOGICAL_DNS"
	}
	return "STRICT_DNS"
}

func family(name string) DNSFamily {
	switch name {
	case "V4_ONLY":
		return FamilyV4Only
	case "V6_ONLY":
		return FamilyV6Only
	case "V4_PREFERRED":
		return FamilyV4Preferred
	case "ALL":
		return FamilyAll
	}
	return FamilyAuto
}

//nolint:staticcheck // Most of the fields are deprecated, and still read by Envoy.
func (k *compiler) dns() DNSConfig {
	c := k.cluster
	d := DNSConfig{
		Refresh: duration(c.GetDnsRefreshRate(), 5*time.Second), Jitter: duration(c.GetDnsJitter(), 0),
		RespectTTL:  c.GetRespectDnsTtl(),
		FailureBase: duration(c.GetDnsFailureRefreshRate().GetBaseInterval(), 0),
		FailureMax:  duration(c.GetDnsFailureRefreshRate().GetMaxInterval(), 0),
		Family:      family(c.GetDnsLookupFamily().String()),
	}
	switch {
	case c.GetTypedDnsResolverConfig() != nil:
		d.Resolver = k.resolver("typed_dns_resolver_config", c.GetTypedDnsResolverConfig())
		for name, set := range map[string]bool{
			"dns_resolution_config": c.GetDnsResolutionConfig() != nil, "dns_resolvers": len(c.GetDnsResolvers()) > 0,
			"use_tcp_for_dns_lookups": c.GetUseTcpForDnsLookups(),
		} {
			if set {
				k.warn(name, "has no effect: typed_dns_resolver_config overrules it", "remove it")
			}
		}
	case c.GetDnsResolutionConfig() != nil:
		r := c.GetDnsResolutionConfig()
		d.Resolver = ResolverConfig{
			Servers: k.servers("dns_resolution_config.resolvers", r.GetResolvers()), Custom: true,
			TCP: r.GetDnsResolverOptions().GetUseTcpForDnsLookups(), NoSearch: r.GetDnsResolverOptions().GetNoDefaultSearchDomain(),
		}
	case len(c.GetDnsResolvers()) > 0 || c.GetUseTcpForDnsLookups():
		d.Resolver = ResolverConfig{
			Servers: k.servers("dns_resolvers", c.GetDnsResolvers()), Custom: true, TCP: c.GetUseTcpForDnsLookups(),
		}
	}
	k.checkDNS("", &d)
	return d
}

// checkDNS tells what does not go together.
func (k *compiler) checkDNS(path string, d *DNSConfig) {
	if d.RespectTTL && d.Resolver.System {
		k.warn(joinPath(path, "respect_dns_ttl"), "has no effect: getaddrinfo tells no TTL", "use the cares resolver")
	}
	if d.FailureMax > 0 && d.FailureMax < d.FailureBase {
		k.fail(joinPath(path, "dns_failure_refresh_rate.max_interval"), "is below base_interval", "raise it")
	}
}

// CompileResolver compiles a typed_dns_resolver_config; the paths of problems begin
// with that name. Nil is the system's resolver.
func CompileResolver(e *corev3.TypedExtensionConfig) (ResolverConfig, []xds.Problem) {
	k := &compiler{cluster: &clusterv3.Cluster{}}
	r := k.resolver("typed_dns_resolver_config", e)
	return r, k.problems
}

func (k *compiler) resolver(path string, e *corev3.TypedExtensionConfig) ResolverConfig {
	if e == nil {
		return ResolverConfig{}
	}
	cares, addrinfo := &caresv3.CaresDnsResolverConfig{}, &addrinfov3.GetAddrInfoDnsResolverConfig{}
	path += ".typed_config"
	switch name := e.GetTypedConfig().MessageName(); name {
	case cares.ProtoReflect().Descriptor().FullName():
		if err := e.GetTypedConfig().UnmarshalTo(cares); err != nil {
			k.fail(path, err.Error(), "")
			break
		}
		k.check(supported, path, cares)
		k.validate(path, cares)
		return ResolverConfig{
			Custom: true, Servers: k.servers(path+".resolvers", cares.GetResolvers()),
			FallbackToSystem: cares.GetUseResolversAsFallback(), Rotate: cares.GetRotateNameservers(),
			TCP:          cares.GetDnsResolverOptions().GetUseTcpForDnsLookups(),
			RoutableOnly: cares.GetFilterUnroutableFamilies(),
			NoSearch:     cares.GetDnsResolverOptions().GetNoDefaultSearchDomain(),
			Timeout:      time.Duration(min(cares.GetQueryTimeoutSeconds().GetValue(), 3600)) * time.Second,
			Tries:        int(min(cares.GetQueryTries().GetValue(), 100)),
			UDPSize:      uint16(min(cares.GetEdns0MaxPayloadSize().GetValue(), 4096)),
		}
	case addrinfo.ProtoReflect().Descriptor().FullName():
		if err := e.GetTypedConfig().UnmarshalTo(addrinfo); err != nil {
			k.fail(path, err.Error(), "")
			break
		}
		k.check(supported, path, addrinfo)
		k.validate(path, addrinfo)
		return ResolverConfig{System: true}
	default:
		k.fail(path, fmt.Sprintf("resolver %q is not supported", name), "use the cares or the getaddrinfo resolver")
	}
	return ResolverConfig{}
}

func (k *compiler) servers(path string, list []*corev3.Address) []netip.AddrPort {
	var out []netip.AddrPort
	for i, a := range list {
		s := a.GetSocketAddress()
		ip, err := netip.ParseAddr(s.GetAddress())
		if s == nil || err != nil {
			k.fail(fmt.Sprintf("%s[%d]", path, i), "a resolver is an IP address and a port", "give a socket_address")
			continue
		}
		port := s.GetPortValue()
		if port == 0 {
			port = 53
		}
		out = append(out, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return out
}
