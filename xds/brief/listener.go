// SPDX-License-Identifier: Apache-2.0

package brief

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	udpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

func (p *printer) listener(name string, l *listenerv3.Listener) {
	at := []string{address(l.GetAddress())}
	for _, more := range l.GetAdditionalAddresses() {
		at = append(at, address(more.GetAddress()))
	}
	protocol := strings.ToLower(l.GetAddress().GetSocketAddress().GetProtocol().String())
	if l.GetAddress().GetSocketAddress() == nil {
		protocol = ""
	}
	var before []string
	for _, f := range l.GetListenerFilters() {
		name := shortName(f.GetName())
		if m, ok := unpack(f.GetTypedConfig()).(*udpproxyv3.UdpProxyConfig); ok {
			name = strings.TrimSpace(name + " " + hashed(len(m.GetHashPolicies())))
		}
		before = append(before, name)
	}
	filters := ""
	if len(before) > 0 {
		filters = "after " + strings.Join(before, ", ")
	}
	p.line(0, "listener", word(name), protocol, strings.Join(at, ","), filters)
	for _, chain := range l.GetFilterChains() {
		p.chain("chain", chain)
	}
	if chain := l.GetDefaultFilterChain(); chain != nil {
		p.chain("default chain", chain)
	}
	if l.GetApiListener() != nil {
		p.line(1, "api listener")
	}
}

func (p *printer) chain(what string, chain *listenerv3.FilterChain) {
	name := ""
	if chain.GetName() != "" {
		name = word(chain.GetName())
	}
	p.line(1, what, name, chainMatch(chain.GetFilterChainMatch()), transport(chain.GetTransportSocket()))
	for _, f := range chain.GetFilters() {
		p.networkFilter(f)
	}
}

func chainMatch(m *listenerv3.FilterChainMatch) string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+value)
		}
	}
	if m.GetDestinationPort() != nil {
		add("port", fmt.Sprint(m.GetDestinationPort().GetValue()))
	}
	add("to", ranges(m.GetPrefixRanges()))
	add("sni", words(m.GetServerNames()))
	if m.GetTransportProtocol() != "" {
		add("transport", word(m.GetTransportProtocol()))
	}
	add("alpn", words(m.GetApplicationProtocols()))
	add("direct_from", ranges(m.GetDirectSourcePrefixRanges()))
	if t := m.GetSourceType(); t != listenerv3.FilterChainMatch_ANY {
		add("source", strings.ToLower(t.String()))
	}
	add("from", ranges(m.GetSourcePrefixRanges()))
	var ports []string
	for _, port := range m.GetSourcePorts() {
		ports = append(ports, fmt.Sprint(port))
	}
	add("from_port", strings.Join(ports, ","))
	return strings.Join(parts, " ")
}

func ranges(list []*corev3.CidrRange) string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprintf("%s/%d", word(r.GetAddressPrefix()), r.GetPrefixLen().GetValue()))
	}
	return strings.Join(out, ",")
}

// transport tells a transport socket; plain text is not worth a word.
func transport(ts *corev3.TransportSocket) string {
	if ts == nil {
		return ""
	}
	var common *tlsv3.CommonTlsContext
	kind := "tls"
	switch m := unpack(ts.GetTypedConfig()).(type) {
	case *tlsv3.DownstreamTlsContext:
		common = m.GetCommonTlsContext()
		if m.GetRequireClientCertificate().GetValue() {
			kind = "mtls"
		}
	case *tlsv3.UpstreamTlsContext:
		common = m.GetCommonTlsContext()
		if m.GetSni() != "" {
			return kind + "(sni " + word(m.GetSni()) + ")"
		}
	default:
		if name := shortName(ts.GetName()); name != "raw_buffer" {
			return name
		}
		return ""
	}
	var parts []string
	for _, s := range common.GetTlsCertificateSdsSecretConfigs() {
		parts = append(parts, "secret "+word(s.GetName()))
	}
	if n := len(common.GetTlsCertificates()); n > 0 {
		parts = append(parts, fmt.Sprintf("%d inline", n))
	}
	if alpn := common.GetAlpnProtocols(); len(alpn) > 0 {
		parts = append(parts, "alpn "+words(alpn))
	}
	if len(parts) == 0 {
		return kind
	}
	return kind + "(" + strings.Join(parts, ", ") + ")"
}

func (p *printer) networkFilter(f *listenerv3.Filter) {
	switch m := unpack(f.GetTypedConfig()).(type) {
	case *hcmv3.HttpConnectionManager:
		p.connectionManager(m)
	case *tcpproxyv3.TcpProxy:
		to := word(m.GetCluster())
		if w := m.GetWeightedClusters(); w != nil {
			var shares []share
			for _, c := range w.GetClusters() {
				shares = append(shares, share{c.GetName(), c.GetWeight()})
			}
			to = split(shares)
		}
		p.line(2, "tcp", word(m.GetStatPrefix()), "->", to, hashed(len(m.GetHashPolicy())))
	default:
		p.line(2, shortName(f.GetName()))
	}
}

// hashed tells of what clusters are given that choose by a hash.
func hashed(policies int) string {
	if policies == 0 {
		return ""
	}
	return "hash_policy"
}

func (p *printer) connectionManager(m *hcmv3.HttpConnectionManager) {
	var filters []string
	for _, f := range m.GetHttpFilters() {
		name := shortName(f.GetName())
		if f.GetDisabled() {
			name += " (disabled)"
		}
		filters = append(filters, name)
	}
	routes := ""
	switch {
	case m.GetRds() != nil:
		routes = "-> routes " + word(m.GetRds().GetRouteConfigName())
	case m.GetScopedRoutes() != nil:
		routes = "-> scoped routes " + word(m.GetScopedRoutes().GetName())
	}
	traced := ""
	if t := m.GetTracing(); t != nil {
		traced = strings.TrimSpace("traced " + shortName(t.GetProvider().GetName()))
		if r := t.GetRandomSampling(); r != nil {
			traced += fmt.Sprintf(" %g%%", r.GetValue())
		}
	}
	p.line(2, "http", word(m.GetStatPrefix())+":", strings.Join(filters, ", "), routes, traced)
	p.hosts(3, m.GetRouteConfig())
}

// unpack returns the message in an Any, or nil where it has none that is known.
func unpack(a *anypb.Any) any {
	if a == nil {
		return nil
	}
	m, err := a.UnmarshalNew()
	if err != nil {
		return nil
	}
	return m
}
