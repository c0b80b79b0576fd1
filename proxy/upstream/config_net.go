// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
)

// targets compiles the endpoints of a load assignment.
func (k *compiler) targets(path string, a *endpointv3.ClusterLoadAssignment) []Target {
	var out []Target
	type place struct {
		priority uint32
		locality streaminfo.Locality
	}
	seen, weights, localities := map[place]bool{}, map[uint32]uint64{}, map[uint32]uint64{}
	for i, g := range a.GetEndpoints() {
		at := fmt.Sprintf("%s.endpoints[%d]", path, i)
		l := g.GetLocality()
		where := place{g.GetPriority(), streaminfo.Locality{Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()}}
		if seen[where] && where.locality != (streaminfo.Locality{}) {
			k.fail(at+".locality", fmt.Sprintf("priority %d has this locality twice", where.priority), "join the two groups")
		}
		seen[where] = true
		if localities[where.priority] += uint64(g.GetLoadBalancingWeight().GetValue()); localities[where.priority] > math.MaxUint32 {
			k.fail(at+".load_balancing_weight", "the weights of the localities of one priority add up to more than 4294967295", "lower them")
		}
		for j, e := range g.GetLbEndpoints() {
			t, ok := k.target(fmt.Sprintf("%s.lb_endpoints[%d]", at, j), e)
			if !ok {
				continue
			}
			t.Locality, t.LocalityWeight = where.locality, g.GetLoadBalancingWeight().GetValue()
			t.LocalityMetadata, t.Priority = metadata(g.GetMetadata()), int(where.priority)
			if weights[where.priority] += uint64(t.Weight); weights[where.priority] > math.MaxUint32 {
				k.fail(at, "the weights of the endpoints of one priority add up to more than 4294967295", "lower them")
			}
			out = append(out, t)
		}
	}
	return out
}

func (k *compiler) target(path string, e *endpointv3.LbEndpoint) (Target, bool) {
	ep := e.GetEndpoint()
	if ep == nil {
		k.fail(path+".endpoint", "is missing", "give an endpoint with an address")
		return Target{}, false
	}
	t := Target{Path: path + ".endpoint.address"}
	t.Weight, t.Status = value(e.GetLoadBalancingWeight(), 1), healthStatus(e.GetHealthStatus())
	if t.Weight == 0 {
		k.fail(path+".load_balancing_weight", "must be at least 1", "remove the endpoint to give it no traffic")
	}
	t.Metadata, t.Hostname = metadata(e.GetMetadata()), ep.GetHostname()
	var ok bool
	if t.Address, t.Name, t.Port, ok = k.address(t.Path, ep.GetAddress()); !ok {
		return Target{}, false
	}
	for i, x := range ep.GetAdditionalAddresses() {
		p := fmt.Sprintf("%s.endpoint.additional_addresses[%d].address", path, i)
		addr, name, _, ok := k.address(p, x.GetAddress())
		switch {
		case !ok:
		case name != "" || addr.IsUnix() || t.Name != "" || t.Address.IsUnix():
			k.fail(p, "additional addresses are of IP addresses only", "give IP addresses")
		default:
			t.Addresses = append(t.Addresses, addr)
		}
	}
	k.checkTarget(path+".endpoint.health_check_config", &t, ep.GetHealthCheckConfig())
	return t, true
}

func (k *compiler) checkTarget(path string, t *Target, c *endpointv3.Endpoint_HealthCheckConfig) {
	t.Check.Hostname, t.Check.Disabled = c.GetHostname(), c.GetDisableActiveHealthCheck()
	if a := c.GetAddress(); a != nil {
		addr, name, _, ok := k.address(path+".address", a)
		if ok && name != "" {
			k.fail(path+".address", fmt.Sprintf("%q is not an IP address", name), "give an IP address")
		}
		t.Check.Address = addr
	}
	if port := c.GetPortValue(); port != 0 {
		t.CheckPort = uint16(port)
		base := t.Address
		if t.Check.Address.IsValid() {
			base = t.Check.Address
		}
		if base.Addr().IsValid() {
			t.Check.Address = address.IP(netip.AddrPortFrom(base.Addr(), t.CheckPort))
		}
	}
}

// address compiles an address; name is set if it is to be resolved.
func (k *compiler) address(path string, a *corev3.Address) (addr address.Addr, name string, port uint16, ok bool) {
	switch v := a.GetAddress().(type) {
	case *corev3.Address_Pipe:
		return address.Unix(v.Pipe.GetPath()), "", 0, true
	case *corev3.Address_SocketAddress:
		s := v.SocketAddress
		port = uint16(s.GetPortValue())
		if ip, err := netip.ParseAddr(s.GetAddress()); err == nil {
			return address.IP(netip.AddrPortFrom(ip, port)), "", port, true
		}
		return address.Addr{}, s.GetAddress(), port, true
	}
	k.fail(path, "this kind of address is not supported", "use socket_address or pipe")
	return address.Addr{}, "", 0, false
}

// network compiles where connections come from and how their sockets are set up.
func (k *compiler) network() {
	o, u := &k.out.Settings, k.cluster.GetUpstreamConnectionOptions()
	if t := u.GetTcpKeepalive(); t != nil {
		o.KeepAlive = KeepAlive{
			Enabled:  true,
			Probes:   int(t.GetKeepaliveProbes().GetValue()),
			Time:     time.Duration(t.GetKeepaliveTime().GetValue()) * time.Second,
			Interval: time.Duration(t.GetKeepaliveInterval().GetValue()) * time.Second,
		}
	}
	h := u.GetHappyEyeballsConfig()
	o.HappyEyeballs.FirstCount = value(h.GetFirstAddressFamilyCount(), 1)
	switch h.GetFirstAddressFamilyVersion() {
	case clusterv3.UpstreamConnectionOptions_V4:
		o.HappyEyeballs.First = FamilyV4Only
	case clusterv3.UpstreamConnectionOptions_V6:
		o.HappyEyeballs.First = FamilyV6Only
	}
	path, b := "upstream_bind_config", k.cluster.GetUpstreamBindConfig()
	if b == nil {
		path, b = "cluster_manager.upstream_bind_config", k.cx.Bind
		if b != nil {
			k.check(supported, path, b)
		}
	}
	k.bind(path, b)
}

func (k *compiler) bind(path string, b *corev3.BindConfig) {
	o := &k.out.Bind
	if a := b.GetSourceAddress(); a != nil {
		o.Source = k.source(path+".source_address", a)
	}
	o.FreeBind = b.GetFreebind().GetValue()
	o.Options = k.socketOptions(path+".socket_options", b.GetSocketOptions())
	for i, x := range b.GetExtraSourceAddresses() {
		p := fmt.Sprintf("%s.extra_source_addresses[%d]", path, i)
		s := BindSource{Source: k.source(p+".address", x.GetAddress())}
		if x.GetSocketOptions() != nil {
			s.OwnOptions = true
			s.Options = k.socketOptions(p+".socket_options.socket_options", x.GetSocketOptions().GetSocketOptions())
		}
		o.Extra = append(o.Extra, s)
	}
	for i, x := range b.GetAdditionalSourceAddresses() { //nolint:staticcheck // deprecated, still read
		o.Extra = append(o.Extra, BindSource{Source: k.source(fmt.Sprintf("%s.additional_source_addresses[%d]", path, i), x)})
	}
	k.selector(path+".local_address_selector", b.GetLocalAddressSelector())
	if len(o.Extra) == 0 {
		return
	}
	// Envoy's default selector knows one source per IP version.
	switch {
	case !o.Source.IsValid():
		k.fail(path+".source_address", "is missing although there are extra source addresses", "give the first address here")
	case len(o.Extra) > 1:
		k.fail(path+".extra_source_addresses", "more than one is given", "give one, of the other IP version")
	case o.Extra[0].Source.Addr().Is4() == o.Source.Addr().Is4():
		k.fail(path+".extra_source_addresses[0]", "is of the same IP version as source_address", "give one of the other IP version")
	}
}

// selector takes the one selector of source addresses there is, which is the default.
func (k *compiler) selector(path string, s *corev3.TypedExtensionConfig) {
	if a := s.GetTypedConfig(); a != nil && a.MessageName() != "envoy.config.upstream.local_address_selector.v3.DefaultLocalAddressSelector" {
		k.fail(path, fmt.Sprintf("%s is not known", a.MessageName()), "remove it: the default goes by IP version")
	}
}

func (k *compiler) source(path string, a *corev3.SocketAddress) netip.AddrPort {
	ip, err := netip.ParseAddr(a.GetAddress())
	if err != nil {
		k.fail(path+".address", fmt.Sprintf("%q is not an IP address", a.GetAddress()), "give an IP address")
		return netip.AddrPort{}
	}
	if a.GetProtocol() != corev3.SocketAddress_TCP {
		k.fail(path+".protocol", "connections are bound for TCP", "use TCP")
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.GetPortValue()))
}

func (k *compiler) socketOptions(path string, list []*corev3.SocketOption) []SocketOption {
	var out []SocketOption
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		v := SocketOption{
			Description: s.GetDescription(), Level: int(s.GetLevel()), Name: int(s.GetName()),
			Int: int(s.GetIntValue()), Bytes: s.GetBufValue(),
		}
		if t := s.GetType(); t.GetDatagram() != nil && t.GetStream() == nil {
			continue // Connections are streams.
		}
		switch s.GetIpVersion() {
		case corev3.SocketOption_SOCKET_IP_VERSION_IPV4:
			v.Family = FamilyV4Only
		case corev3.SocketOption_SOCKET_IP_VERSION_IPV6:
			v.Family = FamilyV6Only
		}
		switch s.GetState() {
		case corev3.SocketOption_STATE_PREBIND:
		case corev3.SocketOption_STATE_BOUND:
			v.State = AfterBind
		case corev3.SocketOption_STATE_LISTENING:
			k.fail(at+".state", "an upstream socket never listens", "use STATE_PREBIND or STATE_BOUND")
		}
		out = append(out, v)
	}
	return out
}
