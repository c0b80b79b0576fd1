// SPDX-License-Identifier: Apache-2.0

package udpproxy_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

func TestRefused(t *testing.T) {
	// match is a matcher of one input and one action.
	match := func(input, action string) string {
		return `matcher:
  matcher_tree:
    input: {name: in, typed_config: {"@type": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.` + input + `}}
    exact_match_map:
      map: {a: {action: {name: route, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.` + action + `}}}}`
	}
	const writer = `{name: a, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route, cluster: up}}`
	tests := map[string]struct {
		edge proxytest.UDPEdge
		want string
	}{
		"no route":         {proxytest.UDPEdge{Route: "idle_timeout: 1s"}, "none of cluster, matcher is given"},
		"no idle time":     {proxytest.UDPEdge{Proxy: "idle_timeout: 0s"}, "must be more than 0, or every session would end at once"},
		"two hashes":       {proxytest.UDPEdge{Proxy: "hash_policies: [{source_ip: true}, {key: a}]"}, "hash_policies: must contain no more than 1"},
		"no hash":          {proxytest.UDPEdge{Proxy: "hash_policies: [{}]"}, "hash_policies[0]: none of source_ip, key is given"},
		"no source":        {proxytest.UDPEdge{Proxy: "hash_policies: [{source_ip: false}]"}, "hash_policies[0].source_ip: must equal true"},
		"session filters":  {proxytest.UDPEdge{Proxy: "session_filters: [{name: a}]"}, "session_filters: is not supported: session filters are not supported yet"},
		"a tunnel":         {proxytest.UDPEdge{Proxy: "tunneling_config: {proxy_host: a, target_host: b, default_target_port: 1}"}, "tunneling_config: is not supported: datagrams are not tunnelled"},
		"tunnel records":   {proxytest.UDPEdge{Proxy: "access_log_options: {flush_access_log_on_tunnel_connected: true}"}, "flush_access_log_on_tunnel_connected: is not supported: there are no tunnels"},
		"a short interval": {proxytest.UDPEdge{Proxy: "access_log_options: {access_log_flush_interval: 0.0001s}"}, "access_log_flush_interval: must be at least 1ms"},
		"datagrams of 0":   {proxytest.UDPEdge{Proxy: "upstream_socket_config: {max_rx_datagram_size: 0}"}, "max_rx_datagram_size: must be in the range (0, 65536)"},
		"another input":    {proxytest.UDPEdge{Route: match("ServerNameInput", "Route, cluster: up")}, "ServerNameInput is nothing that a datagram tells"},
		"another action":   {proxytest.UDPEdge{Route: match("SourceIPInput", "UdpProxyConfig, cluster: up, stat_prefix: a")}, "a UDP proxy knows only envoy.extensions.filters.udp.udp_proxy.v3.Route"},
		"an empty route":   {proxytest.UDPEdge{Route: match("SourceIPInput", "Route")}, "action.typed_config.cluster: must not be empty"},
		"QUIC":             {proxytest.UDPEdge{Listener: "udp_listener_config: {quic_options: {}}"}, "udp_listener_config.quic_options: is not supported: HTTP/3 is not served yet"},
		"a writer":         {proxytest.UDPEdge{Listener: "udp_listener_config: {udp_packet_packet_writer_config: " + writer + "}"}, "there is nothing to choose"},
		"chains":           {proxytest.UDPEdge{Listener: "filter_chains: [{}]"}, "filter_chains: datagrams have no connections"},
		"a TCP address":    {proxytest.UDPEdge{Listener: "additional_addresses: [{address: {socket_address: {address: 127.0.0.1, port_value: 0}}}]"}, "additional_addresses[0].address.protocol: TCP does not fit: use UDP"},
		"a pipe":           {proxytest.UDPEdge{Listener: "additional_addresses: [{address: {pipe: {path: /tmp/x}}}]"}, "additional_addresses[0].address.pipe: the listener's other addresses are of UDP"},
		"no reuse of port": {proxytest.UDPEdge{Listener: "enable_reuse_port: false"}, "enable_reuse_port: false is not possible for UDP with more than one event loop"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := proxytest.TryStart(t, tt.edge.YAML(), proxytest.Options{
				Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:9"}, Concurrency: 2,
			})
			if err == nil {
				p.Close()
				t.Fatal("it was taken")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("refused with %v, want %s", err, tt.want)
			}
		})
	}
}

// TestOneLoop: with one loop a listener may have its address to itself.
func TestOneLoop(t *testing.T) {
	up := proxytest.NewUDPUpstream(t, nil)
	p := start(t, proxytest.UDPEdge{Listener: "enable_reuse_port: false"}, map[string]string{"up": up.Addr()})
	p.DialUDP().Echo("x")
	text := strings.ReplaceAll(proxytest.UDPEdge{}.YAML(), "port_value: 0, }", "port_value: "+p.Addr()[strings.LastIndex(p.Addr(), ":")+1:]+"}")
	if other, err := proxytest.TryStart(t, text, proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}}); err == nil {
		other.Close()
		t.Error("a second proxy has bound the same address")
	}
}
