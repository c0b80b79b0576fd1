// SPDX-License-Identifier: Apache-2.0

package build

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	udpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Refused is the name of a cluster that has no hosts: who is sent there is refused.
const Refused = "weir.dev/refused"

// RefusedCluster returns it.
func RefusedCluster() *clusterv3.Cluster {
	c := bare(Refused)
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	return c
}

// A Share is a part of the connections of a TCP listener.
type Share struct {
	Cluster string
	Weight  uint32
}

// Manager is the connection manager of HTTP, without its filters, with the routes
// called routes.
func Manager(statPrefix, routes string) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix: statPrefix,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource: ADS(), RouteConfigName: routes,
		}},
		UseRemoteAddress: yes(),
		// What a path means must not depend on how it is written: rules of a more specific
		// path could else be gone around.
		NormalizePath:                yes(),
		MergeSlashes:                 true,
		PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT,
		ServerHeaderTransformation:   hcmv3.HttpConnectionManager_PASS_THROUGH,
		UpgradeConfigs:               []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
}

// TCPProxy forwards bytes. There is at least one share. Clusters that choose hosts by a hash
// are given, if bySource is so, that of the client's address.
func TCPProxy(statPrefix string, shares []Share, bySource bool) *tcpproxyv3.TcpProxy {
	m := &tcpproxyv3.TcpProxy{StatPrefix: statPrefix}
	if bySource {
		m.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
	if len(shares) == 1 {
		m.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: shares[0].Cluster}
		return m
	}
	weighted := &tcpproxyv3.TcpProxy_WeightedCluster{}
	for _, s := range shares {
		weighted.Clusters = append(weighted.Clusters, &tcpproxyv3.TcpProxy_WeightedCluster_ClusterWeight{Name: s.Cluster, Weight: s.Weight})
	}
	m.ClusterSpecifier = &tcpproxyv3.TcpProxy_WeightedClusters{WeightedClusters: weighted}
	return m
}

// NetworkFilter is a network filter with its configuration.
func NetworkFilter(name string, m proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: Any(m)}}
}

// ListenerFilter is a listener filter with its configuration.
func ListenerFilter(name string, m proto.Message) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: Any(m)}}
}

// udpIdle is how long a UDP session lasts without a datagram.
const udpIdle = 60 * time.Second

// UDPFilter forwards datagrams to a cluster; bySource is as of TCPProxy.
func UDPFilter(statPrefix, cluster string, bySource bool) *listenerv3.ListenerFilter {
	m := &udpproxyv3.UdpProxyConfig{
		StatPrefix: statPrefix, RouteSpecifier: &udpproxyv3.UdpProxyConfig_Cluster{Cluster: cluster}, IdleTimeout: duration(udpIdle),
	}
	if bySource {
		m.HashPolicies = []*udpproxyv3.UdpProxyConfig_HashPolicy{{PolicySpecifier: &udpproxyv3.UdpProxyConfig_HashPolicy_SourceIp{SourceIp: true}}}
	}
	return ListenerFilter("envoy.filters.udp_listener.udp_proxy", m)
}

// maxAnswer is the size, in bytes, of the largest body that a route can answer with: that
// of the largest ConfigMap.
const maxAnswer = 1 << 20

// RouteConfiguration returns the route configuration of a table. Its virtual hosts are
// delivered by themselves: see xds.Whole for who does not take them so. Hosts are compared
// without ports: a client that names the port asks for the same host.
func RouteConfiguration(name string) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: name, Vhds: &routev3.Vhds{ConfigSource: ADS()}, IgnorePortInHostMatching: true, MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(maxAnswer),
	}
}
